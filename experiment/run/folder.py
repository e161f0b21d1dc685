"""The folder of a run: what was asked for and with what, so that the same command continues and another does not.

config.yaml holds the resolved keys, run.json what they were run with (processes, data, versions, commit) and, once
it is trained to its end, the number of steps.
"""

import fcntl
import json
import logging
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

from experiment.settings.settings import without_credentials
from retrieval.files import move_aside as move_aside
from retrieval.files import read_json as read_json
from retrieval.files import write_atomically as write_atomically
from retrieval.files import write_json as write_json
from retrieval.fingerprint import hash_of as hash_of
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

SWEEP_LOG = "sweep.log"
FAILED = "failed.json"


class FolderInUse(UserError):
    """Another process writes to the folder; `owner` says which."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.owner = owner
        super().__init__(f"output_dir: {owner} is writing to {folder}; wait, or give another.")


def lock_path(folder: Path) -> Path:
    """The folder's lock: it lies beside the folder, which may be moved aside."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing to the folder meanwhile; to be entered by the main process.

    The system gives the lock back when its owner ends, however it ends, so there are no stale ones.

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


def make_writable(folder: Path) -> None:
    """Create the folder and try to write in it.

    Raises:
        UserError: if that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be written ({error.strerror}); give another.") from None


def yaml_text(values: dict[str, Any]) -> str:
    """Plain YAML; what YAML has no type for becomes text."""
    return yaml.safe_dump(json.loads(json.dumps(values, default=str)), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file; {} if there is none.

    Raises:
        UserError: if it holds something else.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged; restore it, or give overwrite=true to move the run aside.")
    return value


def command_line() -> str:
    """The command as typed, but for the values of secrets."""
    return shown(["python", *sys.argv])


def shown(words: Sequence[str]) -> str:
    """A command's words as one line, but for the values of secrets."""
    return re.sub(r"((?:token|password)[=\s])\S+", r"\1***", without_credentials(shlex.join(words)))


def versions() -> dict[str, str]:
    """Python's and the main libraries' versions; those of extras where they are installed."""
    names = ("torch", "transformers", "accelerate", "datasets", "numpy", "scipy", "tokenizers", "opensearch-py")
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def git_commit() -> str | None:
    """The commit of the program's own checkout, with "+changes" if files differ from it; None outside git."""
    here = Path(__file__).resolve().parents[2]
    try:
        options = {"cwd": here, "capture_output": True, "text": True, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()  # type: ignore[call-overload]
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **options).stdout.strip()  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")
