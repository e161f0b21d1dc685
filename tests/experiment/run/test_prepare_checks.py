"""What data preparation refuses before it reads a text."""

from pathlib import Path

import pytest

from experiment.run.command import logged_to
from experiment.run.prepare import prepare
from experiment.run.prepare_checks import preparation_mistakes, require_room_and_engine
from experiment.run.prepare_estimate import Stage
from experiment.settings.help import help_text
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import Settings, load_settings
from sparse_model import UserError
from tests.mining.models import make_dense


def _settings(folder: Path, *words: str) -> Settings:
    return load_settings([f"output_dir={folder}", "split=test", *words])


def _mistakes(settings: Settings) -> list[str]:
    keys = settings.preparation
    places = (settings.output_dir, settings.run.overwrite, keys.dataset, settings.evaluation)
    return list(map(str, preparation_mistakes(*places, keys.teachers)))


def _teacher(path: Path | str, *more: str) -> str:
    return f"teachers=[{{{', '.join(['type: dense', f'model_name_or_path: {path}', 'max_length: 16', *more])}}}]"


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    settings = _settings(tmp_path / "file", "dataset=/no/data", _teacher("/no/model"), "train_file=rows.jsonl")
    with pytest.raises(Mistakes) as caught:
        prepare(settings)
    found = list(map(str, caught.value.found))
    found = [line.removeprefix("command line: ") for line in found]
    assert [line.split(":")[0] for line in found] == [
        *("train_file", "output_dir", "dataset", "teachers", "model_name_or_path")
    ]


def test_only_its_own_folders_are_written_to(tmp_path: Path, beir_folder: Path) -> None:
    teacher, folder = _teacher(make_dense(tmp_path / "dense", pooling="mean")), tmp_path / "out"
    words = [f"dataset={beir_folder}", teacher]
    assert _mistakes(_settings(folder, *words)) == []
    folder.mkdir()
    (folder / ".hidden").touch()
    assert _mistakes(_settings(folder, *words)) == []
    (folder / "model.safetensors").touch()
    assert "not empty" in _mistakes(_settings(folder, *words))[0]
    assert _mistakes(_settings(folder, *words, "overwrite=true")) == []
    (folder / "preparation.log").touch()
    assert _mistakes(_settings(folder, *words)) == []


def test_a_dry_run_names_a_full_disk_and_a_missing_node(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "engine=opensearch", f"opensearch_home={tmp_path}")
    with pytest.raises(UserError, match=r"(?s)output_dir: .* GB are free.*opensearch_home: "):
        require_room_and_engine(tmp_path, 10**18, settings.evaluation, settings.opensearch)
    settings = _settings(tmp_path)
    require_room_and_engine(tmp_path, 1, settings.evaluation, settings.opensearch)


def test_mistakes_within_a_teacher_are_named() -> None:
    with pytest.raises(UserError, match="teachers: 1, max_lenght: unknown key; did you mean max_length?"):
        load_settings([_teacher("m", "max_lenght: 3")])
    with pytest.raises(UserError, match="teachers: 1, weight: .*finite"):
        load_settings([_teacher("m", "weight: .inf")])
    with pytest.raises(UserError, match="teachers: 1: keys and their values are needed"):
        load_settings(["teachers=[m]"])
    assert "\n  query_prefix (str" in help_text("data_preparation.py", "all")


def test_hours_are_shared_by_the_processes() -> None:
    stage = Stage("scores", 72_000, "pairs", speed=10.0, size=0.0)
    assert stage.cells(1)[-1] == "2.00" and stage.cells(8)[-1] == "0.25"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_log_that_cannot_be_written_hides_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="the mistake"), logged_to(Path("/dev/full")):
        raise UserError("the mistake")
    assert "Traceback" not in capsys.readouterr().err
