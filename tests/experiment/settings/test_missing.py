"""Missing data are said with the command that makes them."""

from pathlib import Path

import pytest

from experiment.run.evaluate import run_evaluation
from experiment.run.train import train
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import load_settings
from experiment.sweep import sweep
from sparse_model.errors import UserError

MAKES = "python make.py"
KEYS = f"model_name_or_path: m\ntrain_file: t.jsonl\ndata_type: kd\nbeir_dir: sets\ndata_command: {MAKES}\n"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base that names data and their command, and a config on it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("base: base.yaml\n")
    path = tmp_path / "base.yaml"
    path.write_text(KEYS + "beir_datasets: [mine]\n")
    return path


def mistake_of_training(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        train(load_settings(["run.yaml", *words], for_training=True))
    return str(caught.value)


def test_training_data(base: Path) -> None:
    assert mistake_of_training() == f"train_file: there is no t.jsonl; make it: {MAKES}"
    of_a_folder = KEYS.replace("train_file: t.jsonl", "train_file_dir: rows")
    base.write_text(of_a_folder)
    assert mistake_of_training().endswith(f"; make it: {MAKES}")


def test_a_file_beside_of_nearly_the_name(base: Path) -> None:
    (base.parent / "rows.jsonl").touch()
    assert mistake_of_training("train_file=row.jsonl") == (
        "train_file: there is no row.jsonl. Did you mean rows.jsonl?"
    )


def test_other_data_than_the_commands(base: Path) -> None:
    """The command makes what its own file names, not what stands on the command line or in another file."""
    assert mistake_of_training("train_file=other.jsonl") == "train_file: there is no other.jsonl."
    (base.parent / "run.yaml").write_text("base: base.yaml\ntrain_file: other.jsonl\n")
    assert mistake_of_training() == "train_file: there is no other.jsonl."


def test_data_sets(base: Path) -> None:
    for words in ([], ["baseline=bm25"]):
        with pytest.raises(UserError, match=f"beir_datasets: mine not in sets; make it: {MAKES}"):
            run_evaluation(load_settings(["run.yaml", *words]))
    with pytest.raises(UserError, match="unknown data set") as caught:
        run_evaluation(load_settings(["run.yaml", "baseline=bm25", "beir_dir=elsewhere"]))
    assert MAKES not in str(caught.value)


def test_a_sweep_says_it_too(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--dry-run", "run.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"missing for 1 of 1: training data t.jsonl is missing; make it: {MAKES}" in lines
    assert f"missing for 1 of 1: data sets not in sets: mine; make it: {MAKES}" in lines
    assert sweep.main(["--dry-run", "run.yaml", "--", "beir_datasets=scifact"]) == 0
    assert "data sets not in sets: scifact\n" in capsys.readouterr().out, "it is downloaded"


def test_everything_that_is_missing_is_said_at_once(base: Path, tmp_path: Path) -> None:
    """With mistakes of other kinds, and without loading anything; a name that could be a hub's is not looked for."""
    words = ["temperature=0", "seeds=[1, 2]", "model_name_or_path=./model", "tokenizer_name=a/b/c", "idf_path=idf.json"]
    words += ["eval_beir_datasets=theirs,scifact"]
    with pytest.raises(Mistakes) as caught:
        load_settings(["run.yaml", *words], for_training=True, for_one_run=True)
    found = {mistake.key: mistake.text for mistake in caught.value.found}
    missing = {"train_file", "model_name_or_path", "tokenizer_name", "idf_path", "eval_beir_datasets"}
    assert set(found) == {"temperature", "seeds", *missing}
    assert found["train_file"] == f"there is no t.jsonl; make it: {MAKES}"
    assert found["eval_beir_datasets"].startswith("theirs not in sets")
    load_settings(["run.yaml", "model_name_or_path=org/model", "train_file=" + str(base)], True, for_one_run=True)
    with pytest.raises(Mistakes) as caught:
        load_settings(["run.yaml", *words], for_training=True)
    assert [mistake.key for mistake in caught.value.found] == ["temperature"], "a sweep says what is missing itself"


def test_a_dry_run_looks_for_what_the_evaluation_reads(base: Path) -> None:
    (base.parent / "t.jsonl").touch()
    load_settings(["run.yaml"], for_training=True, for_one_run=True)
    with pytest.raises(Mistakes, match=f"beir_datasets: mine not in sets; make it: {MAKES}"):
        load_settings(["run.yaml", "dry_run=true"], for_training=True, for_one_run=True)
    with pytest.raises(Mistakes, match="command line: beir_datasets: nope not in sets"):
        load_settings(["run.yaml", "dry_run=true", "beir_datasets=nope,scifact"], for_training=True, for_one_run=True)


@pytest.mark.parametrize("name", ["flops", "scifact", "bm25"])
def test_the_quickstart_says_what_makes_its_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh clone, or after the smoke test alone."""
    config = Path(__file__).parents[3] / "config" / "quickstart" / f"{name}.yaml"
    monkeypatch.chdir(tmp_path)
    settings = load_settings([str(config)])
    with pytest.raises(UserError, match="make it: python -m pairs."):
        train(settings) if settings.trains else run_evaluation(settings)
