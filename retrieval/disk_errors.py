"""What a disk refuses, as a sentence: where, why, what helps. One place for all of them, asked by every command."""

import errno
import re
from pathlib import Path

from sparse_model.errors import RunError, UserError

AGAIN = "The same command goes on from what is there."
FULL = f"the disk of {{}} is full; free some, or move the folder to a larger one. {AGAIN}"
PROBLEMS: dict[int, tuple[type[UserError] | type[RunError], str]] = {
    errno.ENOSPC: (RunError, FULL),
    errno.EDQUOT: (RunError, f"the quota of the disk of {{}} is used up; free some, or move the folder. {AGAIN}"),
    errno.EFBIG: (RunError, f"{{}} may not become larger (ulimit -f); raise the limit. {AGAIN}"),
    errno.EIO: (RunError, f"the disk of {{}} cannot be read or written (an I/O error); look after the disk. {AGAIN}"),
    errno.EROFS: (UserError, "{} lies on a read-only file system; name another folder."),
    errno.EACCES: (UserError, "{} may not be read or written by this user; change its permissions, or name another."),
    errno.EPERM: (UserError, "{} may not be read or written by this user; change its permissions, or name another."),
}
# torch.save names no cause where a write falls short.
_SHORT_WRITE = re.compile(r"inline_container|PytorchStreamWriter|file write failed")
_NUMBER = re.compile(r"(?:errno |os error |code: )(\d+)", re.IGNORECASE)


def disk_problem(error: BaseException, folder: Path | str = "the output folder") -> UserError | RunError | None:
    """The error as a sentence if it is the disk's; None if it is another.

    Args:
        folder: what is named where the error names no file.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None:  # safetensors and Arrow write the system's number into their text
        found = _NUMBER.search(str(error))
        number = int(found[1]) if found else errno.ENOSPC if _SHORT_WRITE.search(str(error)) else None
    if number not in PROBLEMS:
        return None
    kind, sentence = PROBLEMS[number]
    return kind(sentence.format(getattr(error, "filename", None) or folder))
