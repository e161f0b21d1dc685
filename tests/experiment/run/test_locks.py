"""Locks of folders: by what a path resolves to, who shares them, who waits for whom."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from experiment.run import locks
from experiment.run.done import planned_length
from experiment.run.evaluate import run_evaluation
from experiment.run.locks import FolderInUse, holder, lock_path, locked
from experiment.run.prepare import _writing
from experiment.run.scorers import Bm25Scorer
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model.system_lock import taken
from tests.training.runs import words_for


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "A_LOOK_S", 0.05)


@pytest.mark.parametrize("purpose", ["writers", "users", "sweep"])
def test_a_folder_has_one_lock_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, purpose: locks.Purpose
) -> None:
    """Through a link to it, a link above it, a way around and from within; whether or not it is there yet."""
    (tmp_path / "real").mkdir()
    (tmp_path / "above").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    for name in ("../link", "../above/real", "../real/../link", ".", str(tmp_path / "real")):
        with locked(tmp_path / "real", purpose=purpose), pytest.raises(FolderInUse), locked(Path(name), 0, purpose):
            pass
    with locked(Path("../above/new")), pytest.raises(FolderInUse), locked(Path("../new")):
        pass


def test_who_shares_does_not_keep_the_others_out(tmp_path: Path) -> None:
    """The message names those that are there, not one that has gone."""
    folder = tmp_path / "run"
    path = lock_path(folder, "users")
    with locked(folder, purpose="users", shared=True), locked(folder, purpose="users", shared=True):
        with path.open("a") as file:
            file.write(f"process 999999999 on {os.uname().nodename}\nprocess 7 on another\n")
        with pytest.raises(FolderInUse, match=f"process {os.getpid()} on .*process 7 on another") as error:
            with locked(folder, purpose="users"):
                pass
        assert "999999999" not in str(error.value)
        with locked(folder):  # another purpose
            pass
    with locked(folder, purpose="users"), pytest.raises(FolderInUse):
        with locked(folder, purpose="users", shared=True):
            pass


def test_a_look_refuses_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`holder` must hold a lock to see whether it is free; who comes at that moment waits it out."""
    monkeypatch.setattr(locks, "A_LOOK_S", 0.5)
    with locked(tmp_path / "run"):
        assert holder(tmp_path / "run") == f"process {os.getpid()} on {os.uname().nodename}"
    looking = open(lock_path(tmp_path / "run"))
    taken(looking, tmp_path, shared=True)
    threading.Timer(0.1, looking.close).start()
    with locked(tmp_path / "run"):
        pass
    assert holder(tmp_path / "run") is None


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Act while an evaluation scores its first data set."""
    score = Bm25Scorer.score

    def scored(self: Bm25Scorer, data: object) -> object:
        act()
        return score(self, data)  # type: ignore[arg-type]

    monkeypatch.setattr(Bm25Scorer, "score", scored)


def test_nobody_moves_or_goes_on_with_what_is_evaluated(
    tiny_model: Path, posnegs_file: Path, beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run under evaluation, through a link; another evaluation of it may start, and a training that is done may ask.

    Else the figures of the old model would be filed under the new one.
    """
    run = tmp_path / "run"
    (tmp_path / "link").symlink_to(run)
    words = words_for(tiny_model, posnegs_file, run, "max_steps=1")
    train(load_settings(words))
    results = run / "evaluation" / "bm25" / "tiny.json"
    scoring = [f"output_dir={tmp_path / 'link'}", "baseline=bm25", f"beir_datasets={beir_folder}"]
    refused: list[str] = []

    def act() -> None:
        monkeypatch.undo()
        monkeypatch.setattr(locks, "A_LOOK_S", 0.05)
        for more in (["overwrite=true"], ["max_steps=2"]):
            with pytest.raises(FolderInUse, match="process") as error:
                train(load_settings([*words, *more]))
            refused.append(str(error.value))
        train(load_settings(words))
        run_evaluation(load_settings([*scoring, "evaluation_name=other"]))

    meanwhile(monkeypatch, act)
    run_evaluation(load_settings([*scoring, "evaluation_name=bm25"]))
    assert len(refused) == 2 and results.is_file() and (run / "evaluation" / "other" / "tiny.json").is_file()
    train(load_settings([*words, "overwrite=true"]))
    assert not (run / "evaluation").exists() and len(list(tmp_path.glob("run.*/evaluation/bm25/tiny.json"))) == 1


def test_an_evaluation_waits_for_no_training(
    tiny_model: Path, posnegs_file: Path, beir_folder: Path, tmp_path: Path
) -> None:
    """A checkpoint is scored while its run goes on."""
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", "max_steps=1")))
    with locked(tmp_path / "run"):
        words = [f"output_dir={tmp_path / 'run'}", "baseline=bm25", f"beir_datasets={beir_folder}"]
        run_evaluation(load_settings(words))
    assert list((tmp_path / "run" / "evaluation").rglob("tiny.json"))


def test_nobody_prepares_anew_what_is_trained_on(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set under a training, which another training may read too; and under a preparation, which none may."""
    rows = tmp_path / "rows"
    datasets.Dataset.from_list(list(map(json.loads, posnegs_file.read_text().splitlines()))).save_to_disk(rows)
    words = words_for(tiny_model, rows, tmp_path / "run", "max_steps=1")
    held: list[bool] = []

    def act(value: Callable) -> object:
        monkeypatch.setattr("experiment.run.train.planned_length", planned_length)
        for overwrite in (True, False):
            with pytest.raises(FolderInUse, match=f"process .* {rows}"), _writing(rows, overwrite):
                pass
            held.append((rows / "state.json").is_file())
        train(load_settings([*words, f"output_dir={tmp_path / 'other'}"]))
        return planned_length(value)

    monkeypatch.setattr("experiment.run.train.planned_length", act)
    train(load_settings(words))
    assert held == [True, True] and (tmp_path / "other" / "model.safetensors").is_file()
    with _writing(rows, False), pytest.raises(FolderInUse, match=f"^train_file: process .* {rows}"):
        train(load_settings([*words, f"output_dir={tmp_path / 'third'}"]))
    with _writing(rows, True):
        assert not (rows / "state.json").exists()
    assert len(list(tmp_path.glob("rows.*/state.json"))) == 1
