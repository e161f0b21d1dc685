"""The commands: called in this process, as several ranks, or by an interpreter and a launcher of their own.

`call` is the usual way: no import is paid twice. What needs a process (an exit code of the interpreter, a kill, several
ranks) is marked `process` or `distributed`; conftest.py refuses an interpreter that another test starts.
"""

import importlib
import io
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

ROOT = Path(__file__).parents[1]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
PATIENCE_S = 200

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.loaded"])


class Done(NamedTuple):
    """What an ended command left."""

    returncode: int
    stdout: str
    stderr: str


def call(script: str, *words: str) -> Done:
    """`python script words` in this process, from the root of the repository."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with _restored(), redirect_stdout(stdout), redirect_stderr(stderr):
        code = _main(script, words)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def run(*words: str, launcher: list[str] | None = None) -> Done:
    """`python launcher words` in a process of its own."""
    command = [sys.executable, *(launcher or []), *words]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    return Done(done.returncode, done.stdout, done.stderr)


def start(*words: str) -> "subprocess.Popen[bytes]":
    """`python words` in a process of its own that is not waited for."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=_environment(), **quiet)


def begin(script: str, *words: str) -> BaseProcess:
    """`start`, forked from a server that has imported everything already."""
    process = _SERVER.Process(target=_as_rank, args=(script, words, {}, os.devnull))
    process.start()
    return process


def ranks(script: str, *words: str, number: int = 2) -> Done:
    """`torchrun --nproc_per_node=number script words` without the launcher and without imports.

    Returns:
        The first exit code that is not 0; what all ranks printed. When a rank fails the others are ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        port, processes = free_port(), []
        for rank in range(number):
            shared = {"WORLD_SIZE": number, "LOCAL_WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment = {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
            output = os.path.join(folder, str(rank))
            processes.append(_SERVER.Process(target=_as_rank, args=(script, words, environment, output)))
            processes[-1].start()
        code = _wait(processes)
        printed = ["".join(path.read_text() for path in sorted(Path(folder).glob(f"*.{name}"))) for name in ("1", "2")]
    return Done(code, *printed)


def fork(work: Callable[..., None], *arguments: Any, number: int = 2) -> None:
    """`work(rank, *arguments)` in as many processes, forked from the same server; raises if one of them fails."""
    torch.multiprocessing.start_processes(work, arguments, nprocs=number, start_method="forkserver")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def _wait(processes: list[BaseProcess]) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while any(p.is_alive() for p in processes) and not any(p.exitcode for p in processes):
        assert time.monotonic() < deadline, "the ranks wait for each other"
        time.sleep(0.01)
    code = next((p.exitcode for p in processes if p.exitcode), 0)
    for process in processes:
        process.kill()
        process.join()
    return code


def _as_rank(script: str, words: tuple[str, ...], environment: dict[str, str], output: str) -> None:
    os.environ.update(environment)
    for number in (1, 2):
        path = output if output == os.devnull else f"{output}.{number}"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(ROOT)
    sys.exit(_main(script, words))


def _main(script: str, words: tuple[str, ...]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *words])
        return importlib.import_module(script.removesuffix(".py")).main()


@contextmanager
def _restored() -> Iterator[None]:
    """A command changes what belongs to its process: here it is put back."""
    folder, environment = os.getcwd(), dict(os.environ)
    root = logging.getLogger()
    handlers, levels = root.handlers, {logger: logger.level for logger in [root, *_loggers()]}
    os.chdir(ROOT)
    root.handlers = []
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        root.handlers = handlers
        for logger in _loggers():
            logger.setLevel(levels.get(logger, logger.level))
        root.setLevel(levels[root])
        _forget_devices()


def _loggers() -> list[logging.Logger]:
    return [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]


def _forget_devices() -> None:
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
