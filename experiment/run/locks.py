"""Locks: one process writes to a folder at a time, and another can say which one it is.

The system's own locks (flock): they go when their owner ends, however it ends. The library filelock is not used: it
cannot say who holds a lock, and where a disk has none it falls back to files that outlive a killed owner.
"""

import fcntl
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from experiment.run.folder import make_writable
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)


class FolderInUse(UserError):
    """Another process writes to the folder; `owner` says which."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder, self.owner = folder, owner
        super().__init__(f"output_dir: {owner} is writing to {folder}; wait, or give another.")

    def __reduce__(self) -> tuple[type["FolderInUse"], tuple[Path, str]]:
        """Rank 0 sends it to the other processes."""
        return FolderInUse, (self.folder, self.owner)


def lock_path(folder: Path) -> Path:
    """The folder's lock: it lies beside the folder, which may be moved aside."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing to the folder meanwhile; to be entered by the main process.

    On a disk without locks a warning is logged, and nothing is kept away.

    Args:
        patience: seconds to wait for the owner.

    Raises:
        FolderInUse: if another process holds it (two runs would mix their files).
        UserError: if nothing can be written there.
    """
    make_writable(folder.parent)
    with open(lock_path(folder), "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + patience
        try:
            while not _take(file):
                if time.monotonic() >= deadline:
                    raise FolderInUse(folder, _owner(file))
                time.sleep(0.1)
            file.truncate(0)
            print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
        except OSError as error:
            logger.warning("%s: this disk has no locks (%s); do not start two runs there", folder, error.strerror)
        yield


def holder(folder: Path) -> str | None:
    """Which process has locked the folder; None if none has. Nothing is written."""
    try:
        with open(lock_path(folder), encoding="utf-8") as file:
            return None if _take(file, fcntl.LOCK_SH) else _owner(file)
    except OSError:
        return None


def _take(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "another process"
