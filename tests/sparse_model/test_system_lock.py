"""Locks of the system: who gets one, who is told to wait, and a disk that has none."""

import errno
import fcntl
import logging
import os
from pathlib import Path

import pytest

from experiment.run.locks import holder, locked
from retrieval.files import alone
from sparse_model.commands import new_folder
from sparse_model.system_lock import taken


def test_one_holds_it_or_all_who_share_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open() as second, path.open() as third:
        assert taken(first, path, shared=True) and taken(second, path, shared=True)
        assert not taken(third, path)
        first.close()
        second.close()
        assert taken(third, path, waits=True)
    handle = os.open(tmp_path, os.O_RDONLY)
    with alone(tmp_path):
        assert not taken(handle, tmp_path)
    assert taken(handle, tmp_path)
    os.close(handle)


def test_where_a_disk_has_none_it_is_said_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(file: object, kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with caplog.at_level(logging.WARNING):
        with locked(tmp_path / "run"), alone(tmp_path / "vectors"), new_folder(tmp_path / "model") as folder:
            (folder / "file").touch()
        assert holder(tmp_path / "run") is None
    assert (tmp_path / "model" / "file").is_file()
    assert [record.args[0].name for record in caplog.records] == ["run", "vectors", "model", "run"]
