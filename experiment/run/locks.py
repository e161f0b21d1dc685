"""Locks: one process writes to a folder at a time, and another can say which one it is.

A folder is what its path resolves to, whatever it is called. It has a lock for each `Purpose`:

    writers   one at a time: a training, a data preparation, an evaluation in its own folder, a report
    users     any number of evaluations at once; whoever moves the run or goes on with it must be alone for that moment.
              Of prepared data: any number of trainings on it, or the preparation alone
    sweep     which sweep sees to the run

The library filelock is not used: it cannot say who holds a lock, and where a disk has none it falls back to files that
outlive a killed owner.
"""

import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from experiment.run.folder import make_writable
from retrieval.files import has_ended
from sparse_model.errors import UserError
from sparse_model.system_lock import taken

Purpose = Literal["writers", "users", "sweep"]
A_LOOK_S = 0.5  # `holder` holds a lock for a moment, which is to refuse nobody


class FolderInUse(UserError):
    """Another process works in the folder, which `key` names; `owner` says which."""

    def __init__(self, folder: Path, owner: str, key: str = "output_dir") -> None:
        self.folder, self.owner, self.key = folder, owner, key
        super().__init__(f"{key}: {owner} is working in {folder}; wait, or give another.")

    def __reduce__(self) -> tuple[type["FolderInUse"], tuple[Path, str, str]]:
        """Rank 0 sends it to the other processes."""
        return FolderInUse, (self.folder, self.owner, self.key)


def lock_path(folder: Path, purpose: Purpose = "writers") -> Path:
    """A lock of the folder: it lies beside the folder, which may be moved aside."""
    folder = folder.resolve()
    return folder.with_name(f".{folder.name}{'' if purpose == 'writers' else f'.{purpose}'}.lock")


@contextmanager
def locked(
    folder: Path,
    patience: float = 0.0,
    purpose: Purpose = "writers",
    shared: bool = False,
    key: str = "output_dir",
) -> Iterator[None]:
    """Keep other processes away from the folder meanwhile; to be entered by the main process.

    On a disk without locks a warning is logged, and nothing is kept away.

    Args:
        patience: seconds to wait for the owner.
        shared: with others that share it.
        key: what names the folder, for the message.

    Raises:
        FolderInUse: if another process holds it (two runs would mix their files).
        UserError: if nothing can be written there.
    """
    path = lock_path(folder, purpose)
    if shared and folder.is_dir() and not os.access(path.parent, os.W_OK):
        yield  # nobody can move what lies there
        return
    make_writable(path.parent)
    with open(path, "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + max(patience, A_LOOK_S)
        while not taken(file, folder, shared):
            if time.monotonic() >= deadline:
                raise FolderInUse(folder, _owner(file), key)
            time.sleep(0.1)
        if not shared:
            file.truncate(0)
        print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
        yield


def holder(folder: Path, purpose: Purpose = "writers") -> str | None:
    """Which process has locked the folder; None if none has. Nothing is written."""
    try:
        with open(lock_path(folder, purpose), encoding="utf-8") as file:
            return None if taken(file, folder, shared=True) else _owner(file)
    except OSError:
        return None


def _owner(file: IO[str]) -> str:
    """Who holds the lock: of those who took it, who is not known to have ended."""
    file.seek(0)
    return ", ".join(line for line in file.read().splitlines() if line and not _has_ended(line)) or "another process"


def _has_ended(owner: str) -> bool:
    process = re.fullmatch(r"process (\d+) on (.*)", owner)
    return process is not None and process[2] == platform.node() and has_ended(int(process[1]))
