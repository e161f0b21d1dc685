"""What the commands that read settings do around their work: help, settings, a log in the run's folder."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from experiment.settings.settings import Settings, load_settings
from retrieval.command import exit_code, fail, quiet_libraries, together
from retrieval.launcher import GONE, end_with_launcher, launcher_is_gone
from retrieval.plain import PlainFormatter
from sparse_model.errors import UserError


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
    end_with_launcher()
    shown = any(word.replace("--", "").startswith("traceback") for word in argv)

    def run() -> None:
        nonlocal shown
        settings = load_settings(argv, for_one_run=True, **options)
        shown = settings.run.traceback
        quiet_libraries()
        if not (is_done and _function(is_done)(settings)):
            use_cpu = bool(settings.value("use_cpu"))
            together(name, use_cpu, lambda: _function(work)(settings), settings.output_dir)

    return exit_code(name, run, lambda: shown)


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
        return fail(name, str(error), 2, show_traceback=False)
    except BrokenPipeError:  # | head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


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
