"""What small commands share: exit codes, optional packages, and folders that are whole or not there."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparse_model.disk_errors import disk_problem
from sparse_model.errors import RunError, UserError
from sparse_model.system_lock import taken


def exit_code(work: Callable[[], int | None]) -> int:
    """What `work` returns (None: 0); 2 for a mistake of the user's, 1 for a run that cannot go on, both told."""
    try:
        return work() or 0
    except (UserError, RunError, OSError) as error:
        problem = disk_problem(error) or error
        text = str(problem)
        print(f"error:\n{text}" if "\n" in text else f"error: {text}", file=sys.stderr)
        return 1 if isinstance(problem, RunError) else 2


def needed(package: str, pip: str) -> Any:
    """An optional package, imported; UserError with the pip line where it is not installed."""
    if find_spec(package) is None:
        raise UserError(f"{package} is needed and not installed: pip install {pip}")
    return import_module(package)


def require_new(folder: Path) -> None:
    """UserError if something lies there already: nothing is written over."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something already; name a folder that is new or empty.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside it, which takes its name once all is written; UserError where another writes it."""
    require_new(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    handle = os.open(partial, os.O_RDONLY)
    try:
        if not taken(handle, folder):
            raise UserError(f"{folder}: another command is writing it; wait for it, or name another folder.")
        for left in partial.iterdir():  # by a command that was killed
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        try:
            yield partial
            if folder.is_dir():
                folder.rmdir()
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(handle)
