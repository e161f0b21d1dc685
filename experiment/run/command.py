"""What every command does around its work: help, processes, logging, exit codes."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import import_module
from typing import Any

from experiment.run.launcher import GONE, end_with_launcher, launcher_is_gone, say_when_it_has_ended
from experiment.settings.settings import Settings, load_settings
from retrieval.error_record import write_error
from retrieval.plain import PlainFormatter, plain
from sparse_model.disk_errors import disk_told
from sparse_model.errors import RunError, UserError

# Rank 0 searches and writes while the others wait.
PATIENCE = timedelta(days=7)
INTERRUPTED = "interrupted; the same command continues"


def run_command(
    name: str, argv: list[str], work: str | Callable[[Settings], None], is_done: str | None = None, **options: bool
) -> int:
    """Read settings, start the processes' group, do the work; the exit code (0 done, 2 a mistake, 1 else).

    Args:
        work: what to do with the settings, or its place as module:function, imported once they are right.
        is_done: the place of what says whether nothing is left to do, asked before anything heavy is imported.
        options: see `load_settings`.
    """
    asked = [number for number, word in enumerate(argv) if word in ("--help", "-h")]
    if asked:
        return _help(name, argv[asked[0] + 1 :])
    rank = int(os.environ.get("RANK", "0"))
    end_with_launcher()
    show_traceback = any(word.replace("--", "").startswith("traceback") for word in argv)
    try:
        settings = load_settings(argv, for_one_run=True, **options)
        show_traceback = settings.run.traceback
        quiet_libraries(rank)
        if is_done and _function(is_done)(settings):
            return 0
        start_processes(name, bool(settings.value("use_cpu")))
        with disk_told(settings.output_dir):
            _function(work)(settings)
        _close_processes()
    except (UserError, RunError) as error:
        if rank:
            # Rank 0 usually raises the same, and its launcher then ends this process. Where it does not, the
            # message must not be lost.
            time.sleep(15)
        text = f"process {rank}: {error}" if rank else str(error)
        return _fail(name, text, 2 if isinstance(error, UserError) else 1, show_traceback)
    except KeyboardInterrupt:
        if rank == 0:
            say_when_it_has_ended(INTERRUPTED)
            _fail(name, INTERRUPTED, 1, show_traceback)
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence turns everything into an exit code
        text = f"{type(error).__name__}: {error}\n(--traceback true shows where it happened)"
        # Every process says so: it may have happened to one alone.
        return _fail(name, text if rank == 0 else f"process {rank}: {text}", 1, show_traceback)
    return 0


def _function(work: str | Callable[[Settings], Any]) -> Callable[[Settings], Any]:
    if callable(work):
        return work
    module, name = work.split(":")
    return getattr(import_module(module), name)


def _help(name: str, topics: list[str]) -> int:
    """Print what --help, --help all or --help KEY… asks for."""
    from experiment.settings.help import help_text

    try:
        print("\n".join(help_text(name, topic) for topic in topics or [""]), flush=True)
    except UserError as error:
        return _fail(name, str(error), 2, show_traceback=False)
    except BrokenPipeError:  # | head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _close_processes() -> None:
    """Leave the group together. After an error it is not left: others may wait in it until the launcher ends them."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        time.sleep(0.5)  # gloo's threads free their last tensors; older versions hang if closed before
        torch.distributed.destroy_process_group()


def start_processes(name: str, use_cpu: bool) -> None:
    """Join the process group that torchrun or accelerate started; say so where devices would lie idle."""
    import torch
    from accelerate import PartialState

    n_devices = torch.cuda.device_count()
    if n_devices > 1 and "LOCAL_RANK" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        print(
            f"one of {n_devices} GPUs is used; all: torchrun --nproc_per_node={n_devices} {name} …",
            file=sys.stderr,
        )
    PartialState(cpu=use_cpu or not torch.cuda.is_available(), timeout=PATIENCE)


def quiet_libraries(rank: int) -> None:
    """Warnings of libraries only, ours from INFO on, both on rank 0; bars that say nothing off."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(PlainFormatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, handlers=[terminal])
    for library in ("httpx", "urllib3", "datasets", "transformers", "accelerate", "torch", "matplotlib"):
        logging.getLogger(library).setLevel(logging.WARNING if rank == 0 else logging.ERROR)
    logging.getLogger("opensearch").setLevel(logging.ERROR)  # it would show every request that is repeated
    # What cannot be read is told by us, with its line.
    logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)


@contextmanager
def logged_to(path: os.PathLike[str] | None) -> Iterator[None]:
    """Write what is logged to a file too (None: not in this process)."""
    if path is None:
        yield
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk: the terminal says so
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    except Exception as error:
        root.error("%s", GONE if launcher_is_gone() else f"{type(error).__name__}: {error}")
        raise
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        with suppress(OSError):  # what it could not write before
            handler.close()


def _fail(place: str, message: str, code: int, show_traceback: bool) -> int:
    from tqdm import tqdm

    if show_traceback:
        traceback.print_exc()
    message = plain(message)
    write_error(place, message, code)
    # tqdm's, which puts it on a line of its own where a progress bar stands.
    tqdm.write(f"error: {message}" if "\n" not in message else f"error:\n{message}", file=sys.stderr)
    return code
