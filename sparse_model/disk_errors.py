"""What a disk refuses, as a sentence: where, why, what helps. One place for all of them, asked by every command."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparse_model.errors import RunError, UserError

AGAIN = " The same call or command then goes on from what is there."
PROBLEMS: dict[int, tuple[type[UserError] | type[RunError], str]] = {
    errno.ENOSPC: (RunError, "the disk of {} is full; free some, or move the folder to a larger one."),
    errno.EDQUOT: (RunError, "the quota of the disk of {} is used up; free some, or move the folder."),
    errno.EFBIG: (RunError, "{} may not become larger (ulimit -f); raise the limit."),
    errno.EIO: (RunError, "the disk of {} cannot be read or written (an I/O error); look after the disk."),
    errno.EROFS: (UserError, "{} lies on a read-only file system; name another folder."),
    errno.EACCES: (UserError, "{} may not be read or written by this user; change its permissions, or name another."),
    errno.EPERM: (UserError, "{} may not be read or written by this user; change its permissions, or name another."),
    errno.ENAMETOOLONG: (UserError, "{} is longer than the name of a file may be; name another."),
    errno.EEXIST: (UserError, "{} is a file, or a dead link, where a folder is needed; name another."),
    errno.ENOTDIR: (UserError, "{} lies in, or is, a file where a folder is needed; name another."),
    errno.EISDIR: (UserError, "{} is a folder where a file is needed; name another."),
    errno.ELOOP: (UserError, "{} is a link that leads to itself; name another."),
}
# torch.save names no cause where a write falls short.
_SHORT_WRITE = re.compile(r"inline_container|PytorchStreamWriter|file write failed")
_NUMBER = re.compile(r"(?:errno |os error |code: )(\d+)", re.IGNORECASE)


def disk_problem(error: BaseException, folder: Path | str = "the output folder") -> UserError | RunError | None:
    """The error as a sentence if it is the disk's; None if it is another, or told already.

    Args:
        folder: what is named where the error names no file.
    """
    if isinstance(error, (UserError, RunError)):
        return None
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # safetensors and Arrow write the system's number into their text
        found = _NUMBER.search(str(error))
        number = int(found[1]) if found else errno.ENOSPC if _SHORT_WRITE.search(str(error)) else None
    if number not in PROBLEMS:
        return None
    kind, sentence = PROBLEMS[number]
    named = sentence.format(getattr(error, "filename", None) or folder)
    return kind(named + AGAIN if kind is RunError else named)


@contextmanager
def disk_told(folder: Path | str) -> Iterator[None]:
    """Raises a `disk_problem` as that."""
    try:
        yield
    except Exception as error:
        if problem := disk_problem(error, folder):
            raise problem from error
        raise


def usable_folder(folder: Any, key: str) -> Path:
    """A folder that may be written to, which need not be there.

    Raises:
        UserError: beginning with `key`, if it is the name of none, or of a file, or nothing can be written there.
    """
    if not isinstance(folder, (str, os.PathLike)) or not str(folder).strip() or "\0" in str(folder):
        raise UserError(f"{key}: {str(folder)!r} names no folder.")
    path = Path(folder)
    for part in (path, *path.parents):
        if os.path.lexists(part) and not os.path.isdir(part):
            raise UserError(f"{key}: {part} is no folder; name another.")
    there = next(part for part in (path.absolute(), *path.absolute().parents) if os.path.exists(part))
    try:
        tempfile.TemporaryFile(dir=there).close()  # which no kill leaves behind
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be written ({there}: {error.strerror}); name another.") from None
    return path
