"""Why a command failed, told to whoever started it: a file that the parent names in the environment.

The parent reads a sentence and an exit code instead of guessing them from the last lines of an output that a launcher
adds to.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from retrieval.files import read_json, write_json

VARIABLE = "SPARSE_ERROR_FILE"


def write_error(place: str, message: str, code: int) -> None:
    """Write the record if the parent asked for one; of several processes' the first one stays."""
    path = os.environ.get(VARIABLE)
    if not path or Path(path).exists():
        return
    record = {"place": place, "message": message, "exit code": code, "time": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):  # a full disk: the message is on the screen
        write_json(Path(path), record)


def read_error(path: Path) -> dict[str, Any]:
    """The record; {} if the command ended without one."""
    return read_json(path)
