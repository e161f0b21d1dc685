"""Files that are whole or absent: atomic writing, moving aside, room on the disk.

What is made of several files is whole once the file that makes it count is there, which is written last; a folder
without such a file is made `in_steps`.
"""

import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparse_model.errors import UserError
from sparse_model.system_lock import taken

logger = logging.getLogger(__name__)


def move_aside(path: Path) -> Path:
    """Rename a file or folder to <name>.<time stamp>, so that nothing is lost; returns the new path."""
    aside = _stamped(path)
    path.rename(aside)
    return aside


def set_aside(folder: Path, paths: Iterable[Path]) -> None:
    """Move some files of a folder to <folder>.<time stamp>/; the others stay."""
    aside = None
    for path in paths:
        if aside is None:
            aside = _stamped(folder)
            aside.mkdir()
        path.rename(aside / path.name)


def _stamped(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = itertools.chain([stamp], (f"{stamp}-{i}" for i in itertools.count(2)))
    return next(p for name in names if not (p := path.with_name(f"{path.name}.{name}")).exists())


def read_json(path: Path) -> dict[str, Any]:
    """A mapping from a JSON file; {} if there is none or it holds something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Any) -> None:
    """Write atomically: a reader finds the old content or the new one."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


PARTIAL = ".partial"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; when that is on the disk, it takes the name `path`.

    So a kill, a full disk or an error leaves the old file, or none; what a killed process left beside it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # a write does not know its file's name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_left(path: Path) -> None:
    beginning = f".{path.name}."
    for found in path.parent.iterdir():
        number = found.name.removeprefix(beginning).removesuffix(PARTIAL)
        if found.name == f"{beginning}{number}{PARTIAL}" and number.isdecimal() and has_ended(int(number)):
            found.unlink(missing_ok=True)


def has_ended(process: int) -> bool:
    """Whether there is no process of this number on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # somebody else's
        pass
    return False


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Makes a folder, and keeps others who ask for it waiting; the lock goes with its owner, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not taken(handle, folder):
            logger.warning("%s: another command is writing there; waiting for it", folder)
            taken(handle, folder, waits=True)
        yield
    finally:
        os.close(handle)


UNFINISHED = ".unfinished"


@contextmanager
def in_steps(folder: Path) -> Iterator[None]:
    """Around all that is written to a folder: where that is cut short, `is_unfinished` tells, and it is made again."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    yield
    (folder / UNFINISHED).unlink(missing_ok=True)


def is_unfinished(folder: Path) -> bool:
    """Whether what lies there was begun by this program and cut short."""
    return (folder / UNFINISHED).is_file()


def made_once(
    folder: Path, record: str, needed: str, made_of: dict[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Fill a folder by `make`, unless it was filled with the same `made_of` before; the record, as JSON brings it.

    Args:
        record: the file of the folder that holds `made_of` and what `make` returned; written last.
        needed: a file without which the folder is of no use.

    Raises:
        UserError: the folder holds something else.
    """
    recorded = read_json(folder / record)
    if recorded.get("made of") == made_of and (folder / needed).is_file():
        return recorded
    has_files = folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir())
    if recorded or (has_files and not is_unfinished(folder)):
        how = "of something else, or otherwise" if recorded else "by something else"
        raise UserError(f"{folder}: holds data made {how}; name another folder, or remove it.")
    with in_steps(folder):
        made = {"made of": made_of, **make()}
        write_json(folder / record, made)
    return made


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a `whole` file."""
    with whole(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def existing_parent(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(part for part in (path.absolute(), *path.absolute().parents) if part.exists())


def require_disk(folder: Path, needed: int, what: str, key: str = "output_dir") -> None:
    """Raise a UserError if the disk that holds `folder` (or will) has fewer than `needed` bytes free for `what`.

    Args:
        key: what names the folder.
    """
    place = existing_parent(folder)
    disk = os.statvfs(place)
    if disk.f_flag & os.ST_RDONLY or not disk.f_blocks:
        raise UserError(f"{key}: {folder}: {place} is on no disk that can be written; give another.")
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{key}: {folder}: {_size(free)} are free where it lies, {what} needs {_size(needed)}; "
            "free some, or give another."
        )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
