"""What a disk refuses, as a sentence with path, cause and remedy."""

import errno
import os
import resource
from pathlib import Path

import pytest

from retrieval.files import write_atomically
from sparse_model.disk_errors import PROBLEMS, disk_problem
from sparse_model.errors import RunError, UserError


@pytest.mark.parametrize("number", PROBLEMS)
def test_every_problem_names_the_place(number: int) -> None:
    for error in (
        OSError(number, os.strerror(number), "out/x"),
        RuntimeError(f"IoError(Os {{ code: {number}, kind }})"),
    ):
        problem = disk_problem(error, Path("out/x"))
        assert problem is not None and "out/x" in str(problem)


def test_a_short_write_of_torch_is_a_full_disk_and_other_errors_are_others() -> None:
    told = UserError("--texts notes cannot be read: [Errno 21] Is a directory: 'notes'")
    said = "[enforce fail at inline_container.cc:672] . unexpected pos 2107456 vs 2107348"
    problem = disk_problem(RuntimeError(said), Path("out"))
    assert isinstance(problem, RunError) and "the disk of out is full" in str(problem)
    for error in (ValueError("size 28"), KeyError("x"), FileNotFoundError(errno.ENOENT, "no such file", "x"), told):
        assert disk_problem(error, Path("out")) is None
    assert isinstance(disk_problem(OSError(errno.EROFS, "", "x")), UserError)


def test_a_write_that_falls_short_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real limit of the system's; what was there stays, nothing else is left."""
    path = tmp_path / "figures.json"
    write_atomically(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError) as error:
            write_atomically(path, "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    problem = disk_problem(error.value)
    assert str(path) in str(problem) and "ulimit" in str(problem)
    assert [file.name for file in tmp_path.iterdir()] == ["figures.json"] and path.read_text() == "old"
