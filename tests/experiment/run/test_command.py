"""How a command ends: what stands on the screen."""

import os
from pathlib import Path

import pytest
from tqdm import tqdm

from retrieval.command import INTERRUPTED, TICKS, fail, quiet_libraries
from retrieval.row_files import read_rows
from sparse_model import UserError


def test_an_error_beside_a_bar_has_a_line_of_its_own(capsys: pytest.CaptureFixture) -> None:
    with tqdm(total=3):
        assert fail("train_ir.py", INTERRUPTED, 1, show_traceback=False) == 1
    on_screen = [line.rpartition("\r")[2] for line in capsys.readouterr().err.split("\n")]
    assert f"error: {INTERRUPTED}" in on_screen


def test_a_broken_row_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By its line; datasets says nothing beside it."""
    (tmp_path / "rows.jsonl").write_text('{"query": "a", "pos": "b"\n')
    quiet_libraries()
    with pytest.raises(UserError, match="rows.jsonl:1: not valid JSON"):
        read_rows(tmp_path / "rows.jsonl")
    assert not caplog.records


def test_a_file_holds_no_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a bar moves; in a file each state would stay."""
    for is_terminal, expected in ((True, None), (False, "30")):
        monkeypatch.delenv(TICKS, raising=False)
        monkeypatch.setattr("sys.stderr.isatty", lambda found=is_terminal: found)
        quiet_libraries()
        assert os.environ.get(TICKS) == expected
    monkeypatch.setenv(TICKS, "0.1")  # a sweep's that shows it on its terminal
    quiet_libraries()
    assert os.environ[TICKS] == "0.1"
