"""Whole files, and what a kill leaves of them; room on the disk: what is too little is said with its size and place."""

import os
import subprocess
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from retrieval.files import alone, require_disk, write_json
from sparse_model.errors import UserError

Usage = namedtuple("Usage", "total used free")


def test_sizes_are_said_in_units_that_show_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(9e9, 9e9, 400_000))
    require_disk(tmp_path / "run", 300_000, "one checkpoint")
    with pytest.raises(UserError, match=r"0.4 MB are free where it lies, one checkpoint needs 2.5 GB"):
        require_disk(tmp_path / "run", 2_500_000_000, "one checkpoint")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="has no /proc")
def test_what_is_no_disk_is_said_to_be_none() -> None:
    with pytest.raises(UserError, match="output_dir: /proc/x/y: /proc is on no disk that can be written"):
        require_disk(Path("/proc/x/y"), 1, "one checkpoint")


def test_one_at_a_time(tmp_path: Path) -> None:
    """The second enters once the first has left."""
    order = []

    def second() -> None:
        with alone(tmp_path / "folder"):
            order.append("second")

    with alone(tmp_path / "folder"):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """Its own pattern alone, of this file, of no process that runs."""
    process = subprocess.Popen(["true"])
    process.wait()
    left = tmp_path / f".scores.json.{process.pid}.partial"
    others = [
        f".scores.json.{os.getppid()}.partial",
        f".scores.json.{process.pid}",
        ".scores.json.20260301",
        f".totals.json.{process.pid}.partial",
        f"scores.json.{process.pid}.partial",
        ".scores.json.x.partial",
        ".scores.json..partial",
    ]
    for name in (left.name, *others):
        (tmp_path / name).touch()
    write_json(tmp_path / "scores.json", {"a": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"scores.json", *others}
