"""What a training reads beside its keys: recorded by content, compared, and looked at again once it is read."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiment.run import train as training
from experiment.run.evaluate import run_evaluation
from experiment.run.inputs import require_unchanged, training_inputs
from experiment.run.models import Chosen
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import SparseEncoder, UserError
from tests.conftest import make_model, write_jsonl
from tests.training.runs import words_for


@pytest.fixture(scope="module")
def trained(tiny_model: Path, kd_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model, a tokenizer, query weights, rows, and a run of two steps over all of them."""
    place = tmp_path_factory.mktemp("inputs")
    shutil.copytree(tiny_model, place / "base")
    shutil.copytree(tiny_model, place / "tokenizer", ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    shutil.copy(kd_file, place / "kd.jsonl")
    (place / "idf.json").write_text(json.dumps({"rain": 2.0, "snow": 3.0}))
    train(load_settings(_words(place)))
    return place


def _words(place: Path, *more: str) -> list[str]:
    words = words_for(place / "base", place / "kd.jsonl", place / "run", "max_steps=2", "save_strategy=steps")
    return [*words, "save_steps=2", f"tokenizer_name={place}/tokenizer", f"idf_path={place}/idf.json", *more]


def _moved(trained: Path, place: Path) -> Path:
    """A copy; the run's config names the inputs by the paths of the copy."""
    shutil.copytree(trained, place)
    config = place / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(trained), str(place)))
    return place


@pytest.mark.xdist_group("inputs")
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("base/config.json", "model hash"),
        ("tokenizer/tokenizer_config.json", "tokenizer hash"),
        ("idf.json", "idf hash"),
        ("kd.jsonl", "data hash"),
    ],
)
def test_an_input_that_was_changed_in_place(name: str, what: str, trained: Path, tmp_path: Path) -> None:
    """Its time put back: the run is another one; a run that has not recorded the input cannot tell."""
    place = _moved(trained, tmp_path / "copy")
    path = place / name
    times = path.stat()
    path.write_text(path.read_text().replace("2.0", "1.0") if name == "idf.json" else path.read_text() + "\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UserError, match=rf"other settings:\s+{what}: \w+ before, \w+ now\nGive the old"):
        train(load_settings(_words(place)))
    if what != "data hash":
        record = json.loads((place / "run" / "run.json").read_text())
        del record[what]
        (place / "run" / "run.json").write_text(json.dumps(record))
        train(load_settings(_words(place)))


def test_of_what_is_not_on_this_disk(tiny_model: Path, kd_file: Path, tmp_path: Path, beir_folder: Path) -> None:
    """A hub's id is a key; teachers and, where they choose the best checkpoint, data sets count by content."""
    teacher = make_model(tmp_path / "teacher", seed=3)
    teachers = f"kd_ensemble_teacher_kwargs={{types: [sparse, sparse], model_ids: [{teacher}, some/one]}}"
    best = ["load_best_model_at_end=true", f"eval_beir_datasets={beir_folder}"]
    settings = load_settings(["model_name_or_path=some/one", f"train_file={kd_file}", "data_type=kd", teachers, *best])
    before = training_inputs(settings)
    assert {name for name, value in before.items() if value is None} == {"model hash", "tokenizer hash", "idf hash"}
    (teacher / "config.json").write_text((teacher / "config.json").read_text() + " ")
    after = training_inputs(settings)
    assert [name for name in before if before[name] != after[name]] == ["teachers hash"]
    plain = training_inputs(load_settings([f"train_file={kd_file}", "data_type=kd", *best[1:]]))
    assert plain["evaluation data hash"] is None


def test_a_file_named_corpus_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """idf_path: corpus stands for the texts."""
    monkeypatch.chdir(tmp_path)
    Path("corpus").write_text("something")
    assert training_inputs(load_settings(["idf_path=corpus"]))["idf hash"] is None


@pytest.mark.parametrize("name", ["kd.jsonl", "idf.json", "base/config.json"])
def test_changed_while_a_training_reads_it(
    name: str, tiny_model: Path, kd_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows which content was read: there is no model of it."""
    shutil.copytree(tiny_model, tmp_path / "base")
    shutil.copy(kd_file, tmp_path / "kd.jsonl")
    (tmp_path / "idf.json").write_text(json.dumps({"rain": 2.0, "snow": 3.0}))
    read = training.load_examples

    def meanwhile(*arguments: Any) -> Any:
        (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
        return read(*arguments)

    monkeypatch.setattr(training, "load_examples", meanwhile)
    words = words_for(tmp_path / "base", tmp_path / "kd.jsonl", tmp_path / "run", f"idf_path={tmp_path}/idf.json")
    with pytest.raises(UserError, match=r"trained on \((data|idf|model) hash\) changed while it was read; start again"):
        train(load_settings(words))
    assert not (tmp_path / "run" / "modules.json").exists()


def test_changed_while_an_evaluation_reads_it(
    tiny_model: Path, beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are replaced once they are loaded, before the result is filed under their hash."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    other = make_model(tmp_path / "other", seed=9)
    load: Callable[[Chosen], SparseEncoder] = Chosen.load

    def meanwhile(self: Chosen) -> SparseEncoder:
        encoder = load(self)
        shutil.copy(other / "model.safetensors", model / "model.safetensors")
        return encoder

    monkeypatch.setattr(Chosen, "load", meanwhile)
    words = [f"model_name_or_path={model}", f"beir_datasets={beir_folder}", f"output_dir={tmp_path}/out"]
    with pytest.raises(UserError, match=r"the model \(config hash\) changed while it was read"):
        run_evaluation(load_settings(words))
    assert not (tmp_path / "out" / "evaluation" / "tiny.json").exists()
    monkeypatch.setattr(Chosen, "load", load)
    run_evaluation(load_settings(words))
    assert (tmp_path / "out" / "evaluation" / "tiny.json").is_file()


def test_equal_hashes_are_not_complained_of() -> None:
    require_unchanged("it", {"a": "1"}, {"a": "1"})
    require_unchanged("it", None, None)
    with pytest.raises(UserError, match="^it changed while"):
        require_unchanged("it", "1", "2")


def test_a_resumed_run_reads_by_its_checkpoints_tokenizer(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub's tokenizer may be another one by now; the checkpoint's is what the run began with."""
    place = _moved(trained, tmp_path / "copy")
    build, seen = training._build_trainer, []

    def noting(settings: Any, encoder: SparseEncoder, *rest: Any) -> Any:
        seen.append(encoder.tokenizer.name_or_path)
        return build(settings, encoder, *rest)

    monkeypatch.setattr(training, "_build_trainer", noting)
    train(load_settings(_words(place, "max_steps=3")))
    assert seen == [str(place / "run" / "checkpoint-2")]


def test_rows_of_a_folder_are_all_counted(tmp_path: Path) -> None:
    """Of train_file_dir, each file."""
    for name in ("a", "b"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"query": name}])
    settings = load_settings([f"train_file_dir={tmp_path}", "data_type=kd"])
    before = training_inputs(settings)["data hash"]
    write_jsonl(tmp_path / "b.jsonl", [{"query": "c"}])
    assert before and training_inputs(settings)["data hash"] != before
