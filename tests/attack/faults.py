"""A command in a process whose file operations fail, or end it, at a chosen place.

Python announces every opening, renaming, removing and making of a file to audit hooks before it happens: there the
process is killed, or the operation raises. What libraries write by themselves (safetensors, torch, Arrow) is not
announced; a limit on the size of files stops that, as a full disk would.
"""

import errno
import inspect
import json
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests import processes

CHANGING = {f"os.{name}" for name in "rename remove rmdir mkdir link symlink truncate".split()}
READING = {"os.listdir", "os.scandir"}
TOOLKIT = f"{processes.ROOT}/"
NOT_OURS = (f"{TOOLKIT}.venv", f"{TOOLKIT}tests")


class Fault(NamedTuple):
    """What happens, and at which of the operations that it can happen to, from 0; for "limit" bytes of a file."""

    kind: str
    """kill, ENOSPC (what changes files), EIO (what reads them, too), limit, or none: operations are counted"""
    at: int = -1


class Ended(NamedTuple):
    """How the command ended, how many operations it was about to make, and which were the first of their place."""

    code: int | None
    output: str
    operations: int
    places: list[int]
    """numbers of operations; a place is a kind of operation with the lines of the toolkit that led to it"""


def faulted(script: str, *words: str, folder: Path, fault: Fault) -> Ended:
    """Run a command with a fault in the operations on files below `folder`; `folder` must not hold its output."""
    scratch = folder.with_name(f"{folder.name}.output")
    scratch.mkdir(exist_ok=True)
    output = str(scratch / "command")
    printed: list[str] = []
    for number in (1, 2):  # pipes: a limit on files does not stop them
        Path(f"{output}.{number}").unlink(missing_ok=True)
        os.mkfifo(f"{output}.{number}")
    count = scratch / "operations"
    count.unlink(missing_ok=True)
    process = processes._SERVER.Process(target=_run, args=(script, words, str(folder), fault, output, str(count)))
    readers = [threading.Thread(target=_read, args=(f"{output}.{n}", printed), daemon=True) for n in (1, 2)]
    for reader in readers:
        reader.start()
    process.start()
    process.join(processes.PATIENCE_S)
    assert process.exitcode is not None, f"{fault} at {script}: it hangs"
    for reader in readers:
        reader.join(5)
    counted = json.loads(count.read_text()) if count.is_file() else (-1, [])
    return Ended(process.exitcode, "".join(printed), *counted)


def _read(path: str, printed: list[str]) -> None:
    with open(path, encoding="utf-8", errors="replace") as pipe:
        printed.append(pipe.read())


def _run(script: str, words: tuple[str, ...], folder: str, fault: Fault, output: str, count: str) -> None:
    hook = _Hook(folder, fault)
    sys.addaudithook(hook)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if fault.kind == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, most))
    try:
        processes._as_rank(script, words, {}, output)
    finally:
        hook.is_over = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        Path(count).write_text(json.dumps([hook.operations, list(hook.places.values())]))


class _Hook:
    def __init__(self, folder: str, fault: Fault) -> None:
        self.folder, self.fault = os.path.realpath(folder), fault
        self.operations, self.is_over, self.process = 0, False, os.getpid()
        self.places: dict[tuple[str, ...], int] = {}

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_over or not self._counts(event, arguments) or os.getpid() != self.process:
            return
        number, self.operations = self.operations, self.operations + 1
        self.places.setdefault((event, *_lines()), number)
        if number != self.fault.at or self.fault.kind == "limit":
            return
        if self.fault.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, self.fault.kind)
        raise OSError(code, os.strerror(code), str(arguments[0]))

    def _counts(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            changes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if arguments[2] is not None else False
        elif event in CHANGING or event in READING:
            changes = event in CHANGING
        else:
            return False
        return (changes or self.fault.kind == "EIO") and self._is_below(event, arguments)

    def _is_below(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return False
        path = os.fsdecode(arguments[0])
        if event in ("os.remove", "os.rmdir", "os.mkdir") and not os.path.isabs(path):
            descriptor = arguments[-1]
            path = os.path.join(os.readlink(f"/proc/self/fd/{descriptor}") if descriptor >= 0 else os.getcwd(), path)
        return f"{os.path.abspath(path)}/".startswith(f"{self.folder}/")  # its output has a longer name


def _lines() -> Iterator[str]:
    """Those of the toolkit's files that are being executed, the innermost first."""
    frame = inspect.currentframe()
    while frame := frame and frame.f_back:
        path = frame.f_code.co_filename
        if path.startswith(TOOLKIT) and not path.startswith(NOT_OURS):
            yield f"{path}:{frame.f_lineno}"


def is_clear(output: str) -> bool:
    """Whether a failed command ended with a sentence: what, where; no exception of Python's."""
    sentence = output[output.rfind("error:") :] if "error:" in output else ""
    raw = re.search(r"Traceback|\[Errno|[A-Z]\w+Error:|enforce fail|Exception", sentence)
    return bool(sentence) and raw is None
