"""What every command does around its work: several processes, what is logged, exit codes."""

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from retrieval.error_record import write_error
from retrieval.launcher import end_with_launcher, say_when_it_has_ended
from retrieval.plain import PlainFormatter, plain
from sparse_model.disk_errors import disk_told
from sparse_model.errors import RunError, UserError

# Rank 0 searches and writes while the others wait.
PATIENCE = timedelta(days=7)
# tqdm's: the seconds between two states of a bar.
TICKS = "TQDM_MININTERVAL"
INTERRUPTED = "interrupted; the same command continues"


def run_command(
    name: str,
    about: str | None,
    add_options: Callable[[argparse.ArgumentParser], None],
    work: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None = None,
) -> int:
    """A command without settings, from its command line to its exit code (see `exit_code`).

    Args:
        name: what is typed, such as "python -m retrieval.encode".
        about: the docstring of its module, which is its help.
    """
    parser = argparse.ArgumentParser(prog=name, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--use-cpu", action="store_true", help="not the GPU")
    parser.add_argument("--traceback", nargs="?", const=True, default=False, help="show where an error happened")
    arguments = parser.parse_args(argv)

    def run() -> None:
        end_with_launcher()
        quiet_libraries()
        work(arguments)

    return exit_code(name, run, lambda: arguments.traceback)


def exit_code(name: str, work: Callable[[], None], shows_traceback: Callable[[], bool] = lambda: False) -> int:
    """Do the work of a command: 0 done, 2 a mistake of the user's, 1 anything else, told in a sentence.

    Args:
        shows_traceback: asked only where something went wrong.
    """
    rank = launched_rank()
    try:
        with disk_told("the output folder"):
            work()
    except (UserError, RunError) as error:
        if rank:
            # Rank 0 usually raises the same, and its launcher then ends this process. Where it does not, the
            # message must not be lost.
            time.sleep(15)
        text = f"process {rank}: {error}" if rank else str(error)
        return fail(name, text, 2 if isinstance(error, UserError) else 1, shows_traceback())
    except BrokenPipeError:  # as of | head; what is still to be written has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return fail(name, "what reads the output has ended", 1, shows_traceback())
    except KeyboardInterrupt:
        if rank == 0:
            say_when_it_has_ended(INTERRUPTED)
            fail(name, INTERRUPTED, 1, shows_traceback())
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence turns everything into an exit code
        text = f"{type(error).__name__}: {error}\n(--traceback true shows where it happened)"
        # Every process says so: it may have happened to one alone.
        return fail(name, text if rank == 0 else f"process {rank}: {text}", 1, shows_traceback())
    return 0


def together(name: str, use_cpu: bool, work: Callable[[], None], folder: Path) -> None:
    """Do the work in all processes that torchrun started; what a disk refuses becomes a sentence.

    Args:
        folder: where the work writes, named where an error of the disk names no file.
    """
    start_processes(name, use_cpu)
    with disk_told(folder):
        work()
    _close_processes()


def launched_rank() -> int:
    """This process's number as the launcher gave it, before the processes have met."""
    return int(os.environ.get("RANK", "0"))


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


def _close_processes() -> None:
    """Leave the group together. After an error it is not left: others may wait in it until the launcher ends them."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        time.sleep(0.5)  # gloo's threads free their last tensors; older versions hang if closed before
        torch.distributed.destroy_process_group()


def quiet_libraries() -> None:
    """Warnings of libraries only, ours from INFO on, both on rank 0; bars that say nothing off."""
    rank = launched_rank()
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it would show every request that is repeated, twice
    if not sys.stderr.isatty():  # a file would hold every tick of a bar
        os.environ.setdefault(TICKS, "30")
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(PlainFormatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.ERROR, handlers=[terminal])
    for library in ("httpx", "urllib3", "datasets", "transformers", "accelerate", "torch", "matplotlib"):
        logging.getLogger(library).setLevel(logging.WARNING if rank == 0 else logging.ERROR)
    logging.getLogger("opensearch").setLevel(logging.ERROR)  # it would show every request that is repeated
    # What cannot be read is told by us, with its line.
    logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)


def fail(place: str, message: str, code: int, show_traceback: bool) -> int:
    """Tell a mistake on a line of its own, and where error files are asked for there too; returns the code."""
    from tqdm import tqdm

    if show_traceback:
        traceback.print_exc()
    message = plain(message)
    write_error(place, message, code)
    # tqdm's, which puts it on a line of its own where a progress bar stands.
    tqdm.write(f"error: {message}" if "\n" not in message else f"error:\n{message}", file=sys.stderr)
    return code
