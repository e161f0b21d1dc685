"""What is done: a data preparation by its record; trainings and evaluations are in the tests of sweeps."""

from pathlib import Path

import pytest

from experiment.run.done import PREPARED, preparation_inputs, preparation_status, training_status
from experiment.run.prepare import open_folder
from experiment.settings.settings import load_settings
from retrieval.files import write_json
from sparse_model.errors import UserError
from tests.retrieval.bag_of_words import write_beir


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A preparation of a small data set with two models."""
    write_beir(tmp_path / "data", [], [], [], split="train")
    for name in ("miner", "teacher"):
        write_json(tmp_path / name / "config.json", {"name": name})
    teacher = f"teachers=[{{type: dense, model_name_or_path: {tmp_path}/teacher}}]"
    return [f"dataset={tmp_path}/data", "split=train", f"model_name_or_path={tmp_path}/miner", teacher]


def test_what_rows_are_made_of(tmp_path: Path, words: list[str]) -> None:
    """Another value of a key that changes rows, other data, another model's file: another hash; else the same."""
    inputs = preparation_inputs(load_settings(words))
    assert inputs == preparation_inputs(load_settings([*words, "shard_size=7", "output_dir=x", "opensearch_threads=2"]))
    others = [preparation_inputs(load_settings([*words, more])) for more in ("num_candidates=7", "engine=opensearch")]
    write_json(tmp_path / "teacher" / "config.json", {"name": "another"})
    others.append(preparation_inputs(load_settings(words)))
    (tmp_path / "data" / "corpus.jsonl").write_text("{}")
    others.append(preparation_inputs(load_settings(words)))
    assert len({inputs, *others}) == 5
    assert preparation_inputs(load_settings(["dataset=nowhere", *words[1:]])) is None


def test_how_far_a_preparation_is(tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    assert preparation_status(rows, "a").state == "fresh"
    (rows / "stages").mkdir(parents=True)
    assert preparation_status(rows, "a").state == "goes on"
    write_json(rows / "state.json", {"_data_files": [{"filename": "data.arrow"}]})
    assert preparation_status(rows, "a").state == "goes on", "a file is missing"
    (rows / "data.arrow").touch()
    assert preparation_status(rows, "a").state == "goes on", "version 0.1 left no record"
    assert preparation_status(rows, None).is_done
    write_json(rows / PREPARED, {"inputs": "a"})
    assert preparation_status(rows, "a").is_done
    assert preparation_status(rows, "b").because == {"inputs": "a before, b now"}


def test_best_checkpoints_decide_weights(tmp_path: Path) -> None:
    """load_best_model_at_end makes another run, and so does, with it, when a checkpoint is looked at."""
    length = {"max_steps": -1, "num_train_epochs": 3.0}
    write_json(tmp_path / "run.json", {"finished": length, "processes": 1, "data hash": "d"})

    def because(*more: str) -> list[str]:
        settings = load_settings([f"output_dir={tmp_path}", *more])
        return list(training_status(settings, {"data hash": "d"}).because)

    with pytest.raises(UserError, match="missing or damaged"):
        because()
    (tmp_path / "config.yaml").write_text("load_best_model_at_end: false\nsave_steps: 5\neval_steps: 5\n")
    assert because("save_steps=7") == []
    assert because("load_best_model_at_end=true", "save_steps=5", "eval_steps=5") == ["load_best_model_at_end"]
    (tmp_path / "config.yaml").write_text("load_best_model_at_end: true\nsave_steps: 5\neval_steps: 5\n")
    assert because("load_best_model_at_end=true", "save_steps=7", "eval_steps=5") == ["save_steps"]
    settings = load_settings([f"output_dir={tmp_path}", "load_best_model_at_end=true", "save_steps=5", "eval_steps=5"])
    assert list(training_status(settings, {"data hash": "e"}).because) == ["data hash"]


def test_what_the_loaded_model_says_is_compared(tmp_path: Path) -> None:
    """Before the model is loaded its own word is taken; afterwards another activation is another training."""
    length = {"max_steps": -1, "num_train_epochs": 3.0}
    write_json(tmp_path / "run.json", {"finished": length, "processes": 1, "data hash": "d"})
    (tmp_path / "config.yaml").write_text("activation_type: l1_relu\nmax_seq_length: 64\n")
    (tmp_path / "model.safetensors").touch()
    settings = load_settings([f"output_dir={tmp_path}"])
    assert training_status(settings, {}).is_done
    told = settings.told({"activation_type": "relu", "inf_free": True, "max_seq_length": 512})
    assert list(training_status(told, {}).because) == ["activation_type", "max_seq_length"]
    assert "activation_type" not in told.written(), "nobody wrote it"
    same = settings.told({"activation_type": "l1_relu", "inf_free": True, "max_seq_length": 64})
    assert training_status(same, {}).is_done


def test_a_record_goes_before_other_rows_come(tmp_path: Path) -> None:
    """Whatever writes to the folder takes the old record away first."""
    write_json(tmp_path / PREPARED, {"inputs": "a"})
    open_folder(tmp_path, overwrite=False)
    assert not (tmp_path / PREPARED).exists()
