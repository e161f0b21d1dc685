"""Which configs prepare the data that a sweep's runs miss."""

from pathlib import Path

import pytest

from experiment.sweep import sweep
from experiment.sweep.data import preparations
from retrieval.files import write_json
from tests.experiment.sweeps import runs_of


def save(folder: Path) -> None:
    """What datasets.save_to_disk leaves, as far as a sweep looks at it."""
    write_json(folder / "state.json", {"_data_files": [{"filename": "data.arrow"}]})
    (folder / "data.arrow").touch()


def test_missing_training_data_are_prepared_by_the_config_that_writes_them(configs: Path) -> None:
    (run,) = runs_of("config/sweep/a.yaml")
    (configs.parent / "data_preparation.yaml").write_text("output_dir: ./t.jsonl\n")
    assert preparations(run) == {Path("config/data_preparation.yaml"): Path("t.jsonl")}
    Path("t.jsonl").mkdir()  # begun: state.json comes last
    assert preparations(run)
    save(Path("t.jsonl"))
    assert not preparations(run)
    (other,) = runs_of("config/sweep/a.yaml", overrides=("train_file=other.jsonl",))
    assert not preparations(other)


def test_a_folder_of_training_data_is_prepared_by_the_configs_in_data(
    configs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (configs / "data").mkdir()
    (configs / "data" / "base.yaml").write_text("model_name_or_path: m\n")
    for name, folder in (("one", "mix/one"), ("two", "mix/two"), ("else", "elsewhere")):
        (configs / "data" / f"{name}.yaml").write_text(f"base: base.yaml\noutput_dir: {folder}\n")
    of_a_folder = ("train_file=null", "train_file_dir=mix")
    (run,) = runs_of("config/sweep/a.yaml", overrides=of_a_folder)
    assert sorted(map(str, preparations(run).values())) == ["mix/one", "mix/two"]
    save(Path("mix/one"))
    assert list(preparations(run)) == [Path("config/sweep/data/two.yaml")], "the other one is there"
    assert sweep.main(["--dry-run", "config/sweep/a.yaml", "--", *of_a_folder]) == 0
    out = capsys.readouterr().out
    assert "training data mix/two is missing; config/sweep/data/two.yaml prepares it first" in out
    assert "training data mix is missing" not in out


def test_configs_of_data_are_checked_before_anything_is_run(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = configs / "data"
    data.mkdir()
    texts = {"a": "output_dir: [", "b": "datasett: x", "c": "output_dir: mix", "d": "output_dir: ./mix/"}
    for name, text in texts.items():
        (data / f"{name}.yaml").write_text(text + "\n")
    assert sweep.main(["config/sweep"]) == 2 and not Path("output").exists()
    message = capsys.readouterr().err
    assert "data/a.yaml: is not valid YAML" in message and "data/b.yaml: datasett: unknown key" in message
    assert "config/sweep/data/d.yaml and config/sweep/data/c.yaml would both write to mix" in message


def test_data_are_found_by_default_names_and_through_links(configs: Path) -> None:
    (configs / "data").mkdir()
    (configs / "data" / "one.yaml").write_text("dataset: one\n")
    (run,) = runs_of("config/sweep/a.yaml", overrides=("train_file=data/one_ft",))
    assert list(preparations(run).values()) == [Path("data/one_ft")]
    Path("mix").mkdir()
    Path("link").symlink_to("mix")
    (configs / "data" / "one.yaml").write_text("dataset: one\noutput_dir: link/one\n")
    (run,) = runs_of("config/sweep/a.yaml", overrides=("train_file=null", "train_file_dir=mix/"))
    assert list(preparations(run).values()) == [Path("link/one")]
