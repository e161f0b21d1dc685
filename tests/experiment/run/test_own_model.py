"""The model that a config's evaluation scores: of a run that has ended, whole, and of the config's own settings."""

import json
import shutil
from pathlib import Path

import pytest

from experiment.run.done import is_evaluated
from experiment.run.evaluate import run_evaluation
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import UserError
from tests.training.runs import words_for
from training.trainer import Trainer


@pytest.fixture(scope="module")
def two_steps(tiny_model: Path, kd_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, to be copied."""
    output = tmp_path_factory.mktemp("two") / "run"
    train(load_settings(words_for(tiny_model, kd_file, output, "max_steps=2", "save_strategy=steps", "save_steps=2")))
    return output


@pytest.fixture
def words(two_steps: Path, tiny_model: Path, kd_file: Path, beir_folder: Path, tmp_path: Path) -> list[str]:
    """What trains and evaluates a copy of the run: a config."""
    output = shutil.copytree(two_steps, tmp_path / "run")
    keys = words_for(tiny_model, kd_file, output, "save_strategy=steps", "save_steps=2", "max_steps=2")
    values = dict(word.split("=", 1) for word in [*keys, f"beir_datasets={beir_folder}"])
    (tmp_path / "c.yaml").write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return [str(tmp_path / "c.yaml")]


def _evaluate(*words: str) -> None:
    run_evaluation(load_settings(list(words), takes_folder=True))


@pytest.mark.xdist_group("two_steps")
def test_a_longer_run_that_was_killed(
    words: list[str], beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder says 4 steps, its weights are those of 2: they are no figures of either; a checkpoint has its own."""
    run, trains = tmp_path / "run", Trainer.train

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr(Trainer, "train", killed)
    with pytest.raises(SystemExit):
        train(load_settings([*words, "max_steps=4"]))
    said = r"has not ended \(max_steps=4\); the model there is that of max_steps=2. python train_ir.py"
    for asked in ([*words, "max_steps=4"], words, [str(run), f"beir_datasets={beir_folder}"]):
        with pytest.raises(UserError, match=said):
            _evaluate(*asked)
    assert not (run / "evaluation").exists()
    _evaluate(str(run / "checkpoint-2"), f"beir_datasets={beir_folder}")
    assert (run / "evaluation" / "checkpoint-2" / "tiny.json").is_file()
    monkeypatch.setattr(Trainer, "train", trains)
    train(load_settings([*words, "max_steps=4"]))
    _evaluate(*words, "max_steps=4")
    assert (run / "evaluation" / "tiny.json").is_file()


@pytest.mark.xdist_group("two_steps")
def test_a_run_of_other_settings_is_said(words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is the run's own figures that are filed; both values are named. What the checkpoint says of itself counts."""
    _evaluate(*words)
    assert "other settings" not in caplog.text
    _evaluate(*words, "max_steps=9")
    assert "max_steps: 2 before, 9 now\npython train_ir.py" in caplog.text and "overwrite" not in caplog.text
    _evaluate(*words, "learning_rate=0.5", "activation_type=relu")
    assert f"{tmp_path}/run holds a run of other settings, and that is what is scored" in caplog.text
    assert "learning_rate: 0.001 before, 0.5 now" in caplog.text and "python evaluate_beir.py" in caplog.text
    assert "c.yaml overwrite=true trains as the config says" in caplog.text and "activation_type" not in caplog.text


@pytest.mark.xdist_group("two_steps")
def test_a_config_that_was_edited_and_the_runs_folder_have_the_same_results(
    words: list[str], beir_folder: Path, tmp_path: Path
) -> None:
    """The checkpoint says its length and activation itself: neither result takes the other's place."""
    edited = Path(words[0])
    edited.write_text(edited.read_text().replace("max_seq_length: 16", "max_seq_length: 9\nactivation_type: l1_relu"))
    for _ in range(2):
        _evaluate(str(tmp_path / "run"), f"beir_datasets={beir_folder}")
        _evaluate(*words)
    assert is_evaluated(load_settings(words))
    assert [path.name for path in (tmp_path / "run" / "evaluation").glob("tiny.json*")] == ["tiny.json"]
    edited.write_text(edited.read_text() + "prune_ratio: 0.9\n")
    assert not is_evaluated(load_settings(words)), "what no checkpoint says counts"
    assert not is_evaluated(load_settings([*words, "activation_type=l1_relu"])), "nor is the command line passed over"


@pytest.mark.xdist_group("two_steps")
@pytest.mark.parametrize("name", ["model.safetensors", "modules.json", "query_0_SparseStaticEmbedding/config.json"])
def test_a_damaged_model_is_made_again_by_the_named_command(name: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run" / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(UserError, match=f"run/{name} is missing or damaged .*python train_ir.py .* writes it again"):
        _evaluate(*words)
    train(load_settings(words))
    assert path.read_bytes() == content
    _evaluate(*words)


@pytest.mark.xdist_group("two_steps")
def test_the_model_of_another_run(words: list[str], two_steps: Path, tmp_path: Path) -> None:
    """A model that was copied over is not what the run left."""
    manifest = tmp_path / "run" / "complete.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"run": "another"}))
    with pytest.raises(UserError, match="holds the model of another run"):
        _evaluate(*words)


@pytest.mark.xdist_group("two_steps")
def test_a_run_of_version_0_1(words: list[str], tmp_path: Path) -> None:
    """Neither manifest nor identity: it is scored as before, goes on as before."""
    run = tmp_path / "run"
    (run / "complete.json").unlink()
    (run / "checkpoint-2" / "complete.json").write_text('{"step": 2}')
    record = json.loads((run / "run.json").read_text())
    kept = ("finished", "processes", "data hash", "command", "started", "versions")
    (run / "run.json").write_text(json.dumps({key: record[key] for key in kept}))
    _evaluate(*words)
    train(load_settings([*words, "max_steps=4"]))
    assert json.loads((run / "complete.json").read_text())["finished"]["max_steps"] == 4
