"""A command with its output both on the screen and in a file; it ends when this process does."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from retrieval.command import TICKS
from retrieval.error_record import VARIABLE
from retrieval.opensearch.host import ends_with_parent

KEPT_LINES = 20
# torchrun gives its workers 30 s to end.
STOP_S = 45


def run_teed(
    command: Sequence[str], log: Path | None, title: str, error_file: Path | None = None
) -> tuple[int, list[str]]:
    """Run a command to its end: its exit code (above 128: ended by a signal) and its last lines.

    Args:
        log: what it says is added here (progress bars as their last state), after a line with time and title.
        error_file: where the command is to write why it failed.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    last: deque[str] = deque(maxlen=KEPT_LINES)
    ticks = {TICKS: "0.1"} if sys.stdout.isatty() else {}  # what it shows goes through a pipe to the screen
    with open(log or os.devnull, "a", encoding="utf-8") as file:
        print(time.strftime("=== %Y-%m-%d %H:%M:%S"), title, file=file, flush=True)
        child = subprocess.Popen(
            [*ends_with_parent(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | ({VARIABLE: str(error_file)} if error_file else {}) | ticks,
        )
        try:
            for line in _shown_lines(child.stdout):  # type: ignore[arg-type]
                print(line, file=file, flush=True)
                last += [line] if line.strip() else []
            code = child.wait()
        except KeyboardInterrupt:
            _wait(child, 15)  # Ctrl-C reaches the child too
            raise
        finally:
            _stop(child)
    return (128 - code if code < 0 else code), list(last)


def _shown_lines(stream: IO[bytes]) -> Iterator[str]:
    """Show everything as it comes; yields whole lines, of one that was written over its last state."""
    rest = b""
    while chunk := os.read(stream.fileno(), 2**16):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(_last_state, lines)
        rest = rest[rest.rfind(b"\r", 0, -1) + 1 :]
    if rest:
        yield _last_state(rest)


def _last_state(line: bytes) -> str:
    return line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode(errors="replace")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a child that is still there, by force if it takes too long."""
    if child.poll() is None:
        child.terminate()
        if not _wait(child, STOP_S):
            child.kill()
            child.wait()


def _wait(child: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        child.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False
