"""Folders in place of a config: what an evaluation takes from a run's, and where results of models go."""

import json
from pathlib import Path

import pytest

from experiment.settings.files import COMMAND_LINE
from experiment.settings.folders import results_of, run_of
from experiment.settings.settings import load_settings
from sparse_model.errors import UserError

GIVEN = {"model_name_or_path": "base", "train_file": "rows.jsonl", "data_type": "kd", "beir_datasets": ["a", "b"]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """output/run, with a checkpoint in it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = Path("output/run")
    (folder / "checkpoint-4").mkdir(parents=True)
    (folder / "config.yaml").write_text("activation_type: l1_relu\n")
    (folder / "run.json").write_text(json.dumps({"given": GIVEN}))
    return folder


def test_a_run_and_its_checkpoints_are_known(run: Path) -> None:
    assert run_of(run) == run_of(run / "checkpoint-4") == run
    assert run_of(run.parent) is run_of(run / "checkpoint-four") is None


def test_a_run_says_what_it_was_started_with(run: Path) -> None:
    settings = load_settings([str(run), "top_k=5"], takes_folder=True)
    assert settings.trains and settings.output_dir == run and settings.evaluation.beir_datasets == ["a", "b"]
    assert set(settings.given) == {*GIVEN, "output_dir", "top_k"} and settings.given["top_k"] == COMMAND_LINE
    assert settings.model.activation_type == "relu", "not given: the checkpoint says it"


def test_results_elsewhere(run: Path) -> None:
    """Then the run is a checkpoint like any other."""
    settings = load_settings([str(run), "output_dir=elsewhere"], takes_folder=True)
    assert not settings.trains and settings.output_dir == Path("elsewhere")
    assert settings.model.model_name_or_path == str(run) and settings.evaluation.beir_datasets == ["a", "b"]


def test_a_run_by_its_path_and_a_folder_of_results(run: Path) -> None:
    """An output_dir of one's own, or a config, says where results go, as ever."""
    settings = load_settings([f"model_name_or_path={run}", "output_dir=elsewhere"], takes_folder=True)
    assert settings.output_dir == Path("elsewhere") and "train_file" not in settings.given
    Path("config.yaml").write_text("beir_datasets: [c]\n")
    settings = load_settings(["config.yaml", f"model_name_or_path={run}"], takes_folder=True)
    assert settings.output_dir == Path("output/config") and settings.evaluation.beir_datasets == ["c"]


def test_a_run_of_version_0_1(run: Path) -> None:
    """It recorded all keys; those with their default's value are as good as not written."""
    (run / "run.json").write_text("{}")
    keys = {"model_name_or_path": "base", "train_file": "rows.jsonl", "inf_free": True, "prune_ratio": 0.2, "seed": 7}
    (run / "config.yaml").write_text(json.dumps({**keys, "learning_rate": 1e-3, "split_batch": 1, "use_l0": False}))
    settings = load_settings([str(run)], takes_folder=True)
    assert set(settings.given) == {"model_name_or_path", "train_file", "prune_ratio", "seed", "output_dir"}
    assert settings.model.prune_ratio == 0.2 and settings.value("seed") == 7


def test_a_models_folder(run: Path) -> None:
    Path("somewhere/best").mkdir(parents=True)
    Path("somewhere/best/config.json").write_text("{}")
    settings = load_settings(["somewhere/best"], takes_folder=True)
    assert settings.model.model_name_or_path == "somewhere/best" and settings.output_dir == Path("output/best")


def test_any_other_folder_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="output: neither a run's folder .* nor a model's"):
        load_settings(["output"], takes_folder=True)
    with pytest.raises(UserError, match="cannot be read"):
        load_settings([str(run)])  # other commands take none


def _evaluated(folder: str, model: str | None) -> None:
    path = Path("output", folder, "evaluation", "split-dev")
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(json.dumps({"model_name_or_path": model}))


def test_where_results_of_a_model_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/best", "b/best"):
        Path(name).mkdir(parents=True)
    assert results_of("a/best") == results_of("b/best") == Path("output/best")
    _evaluated("best", "a/best")
    other = results_of("b/best")
    assert other.parent == Path("output") and other.name.startswith("best-") and len(other.name) == 11
    assert results_of("a/best") == results_of(str(tmp_path / "a" / "best")) == Path("output/best")
    _evaluated("model", "org/model")
    assert results_of("org/model") == Path("output/model") != results_of("another/model")
    _evaluated("scored", None)
    assert results_of("org/scored") == Path("output/scored"), "a baseline is no model"
    (tmp_path / "output" / "scored" / "run.json").touch()
    assert results_of("org/scored") != Path("output/scored"), "a training is something else"
