"""What run_reproduce.sh does: train, evaluate and report a list of configs, from wherever an earlier start got to.

    python -m experiment.sweep [--dry-run] [--only PATTERN] [--name NAME] [CONFIG or FOLDER]… [-- key=value…]

Each step is a command of its own, with its output on the screen and in sweep.log of the run's folder. A run that
fails leaves failed.json there, and the rest goes on. Several sweeps may be at work on the same runs: each run is
locked by the one that works on it.
"""

import argparse
import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiment.run.folder import FAILED, SWEEP_LOG, make_writable, shown
from experiment.run.locks import FolderInUse, locked
from experiment.sweep.child import run_teed
from experiment.sweep.data import check_preparations, preparations
from experiment.sweep.progress import (
    Lacking,
    is_finished,
    is_trained,
    results_folder,
    state,
)
from experiment.sweep.report_options import report_options
from experiment.sweep.runs import (
    PAPER_FOLDERS,
    PlannedRun,
    count_processes,
    find_configs,
    launch,
    read_runs,
    report_folder,
    select,
    training_processes,
)
from experiment.sweep.time_left import Estimate
from retrieval.error_record import read_error
from retrieval.files import write_json
from retrieval.plain import plain
from retrieval.tables import text_table
from sparse_model.disk_errors import disk_problem
from sparse_model.errors import RunError, UserError

# What a killed sweep started ends soon after it; so long it is waited for.
ORPHAN_S = 60


class StepFailed(Exception):
    """A command that did not end well; `record` is what failed.json holds.

    Args:
        said: the command's own record; {} if it ended without one.
        lines: the last ones that it printed.
    """

    def __init__(
        self, step: str, code: int, command: Sequence[str], said: Mapping[str, Any], lines: Sequence[str]
    ) -> None:
        message = said.get("message")
        reason = str(message).partition("\n")[0] if message else _without_a_word(code, lines)
        self.record = {
            "step": step,
            "exit code": code,
            "reason": reason,
            "command": shown(command),
            "time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "last lines": str(message).splitlines() if message else list(lines),
        }
        super().__init__(f"{step}: {reason}")


def _without_a_word(code: int, lines: Sequence[str]) -> str:
    """What can be said of a command that did not say why it failed."""
    try:
        ended = f"ended by {signal.Signals(code - 128).name}"
    except ValueError:
        ended = f"ended with code {code}"
    return f"{ended}; its last line: {lines[-1]}" if lines else f"{ended}, without a word"


@dataclass
class Sweep:
    """Works through `runs`; the report is over every evaluated one of `reported`."""

    runs: Sequence[PlannedRun]
    reported: Sequence[PlannedRun]
    report: str
    processes: int
    failures: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    _unprepared: dict[Path, StepFailed] = field(default_factory=dict)

    def go(self) -> int:
        """The exit code: 0 if nothing failed, else 1."""
        for i, run in enumerate(self.runs, 1):
            try:
                with locked(run.folder, patience=1, purpose="sweep"):
                    self._run(run, f"[{i}/{len(self.runs)}] {run.name}")
            except FolderInUse as busy:
                print(f"=== {run.name}: left to {busy.owner}, which is at it", flush=True)
            except (StepFailed, UserError) as error:
                self.failures.append(f"{run.name}: {error}")
        self._write_report()
        evaluated = sum(is_finished(run) for run in self.runs)
        print(f"=== {evaluated} of {len(self.runs)} runs are evaluated, after {_duration(self._elapsed)}", flush=True)
        if self.failures:
            print(plain("\n".join(["failed:", *self.failures])), file=sys.stderr)
        return 1 if self.failures else 0

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _run(self, run: PlannedRun, title: str) -> None:
        """Everything that is missing of one run."""
        make_writable(run.folder)
        failed = run.folder / FAILED
        failed.unlink(missing_ok=True)
        try:
            if run.trains and not is_trained(run):
                self._prepare(run)
                n = training_processes(run, self.processes)
                self._step(run, "train", n, run.folder, title)
            if not is_finished(run):
                self._step(run, "evaluate", self.processes, results_folder(run), title)
        except StepFailed as error:
            write_json(failed, error.record)
            raise

    def _step(self, run: PlannedRun, step: str, processes: int, writes_to: Path, title: str) -> None:
        estimate = Estimate(self.reported, self.processes)
        left = sum(estimate.remaining(other) for other in self.runs)
        print(
            f"=== {title}: {step}, {processes} process{'es' if processes > 1 else ''} "
            f"({_duration(self._elapsed)} so far{_left(left)})",
            flush=True,
        )
        used = locked(run.folder, ORPHAN_S, "users", shared=step == "evaluate")
        with used, locked(writes_to, patience=ORPHAN_S):
            pass
        self._execute(step, run.command(step, processes), run.folder / SWEEP_LOG)

    def _prepare(self, run: PlannedRun) -> None:
        """Each set of training data once; a second sweep waits for the first one's."""
        for config, data in preparations(run).items():
            if config in self._unprepared:
                raise self._unprepared[config]
            print(f"=== {data} is missing and prepared first, by {config}", flush=True)
            with locked(data, math.inf, "sweep"):
                if config not in preparations(run):
                    continue
                try:
                    command = launch("data_preparation.py", config, [], self.processes)
                    self._execute("prepare data", command, data.with_name(f"{data.name}.log"))
                except StepFailed as error:
                    self._unprepared[config] = error
                    raise

    def _execute(self, step: str, command: list[str], log: Path | None) -> None:
        with TemporaryDirectory() as folder:
            error_file = Path(folder, "error.json")
            code, lines = run_teed(command, log, shown(command), error_file)
            said = read_error(error_file)
        if code:
            raise StepFailed(step, code, command, said, lines)

    def _write_report(self) -> None:
        """Over the runs that have figures and those that failed."""
        if not any(is_finished(run) for run in self.reported):
            return
        runs = [run for run in self.reported if is_finished(run) or _has_failed(run)]
        try:
            options = report_options(runs)
            folders = [str(run.folder) for run in runs]
            command = [sys.executable, "-m", "experiment.report", "--output", self.report, *options, *folders]
            with locked(Path(self.report), patience=math.inf):
                self._execute("report", command, None)
        except (StepFailed, UserError) as error:
            self.failures.append(str(error))


def _has_failed(run: PlannedRun) -> bool:
    return (run.folder / FAILED).is_file()


def table(runs: Sequence[PlannedRun], processes: int) -> str:
    """One line a run: its name, about how long it still takes, how it stands; then what they miss on this machine."""
    estimate, lacking = Estimate(runs, processes), Lacking()
    left = [estimate.remaining(run) for run in runs]
    rows = [[run.name, _duration(seconds), state(run)] for run, seconds in zip(runs, left, strict=True)]
    rows = [["run", "left", "state"], *rows, ["together", _duration(sum(left)), estimate.basis]]
    missed = Counter(item for run in runs if not is_finished(run) for item in lacking(run))
    missing = (f"missing for {count} of {len(runs)}: {item}" for item, count in missed.items())
    return "\n".join([text_table(rows, align="<><"), *missing])


def _duration(seconds: float) -> str:
    """In the unit that fits: 75 s, 12 min, 9.1 h; a question mark for NaN."""
    if math.isnan(seconds):
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.{1 if seconds < 36000 else 0}f} h"


def _left(seconds: float) -> str:
    return "" if math.isnan(seconds) else f", about {_duration(seconds)} left"


def read_arguments(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """(the options, the overrides after --)."""
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="run_reproduce.sh",
        description="Train, evaluate, report. After --, key=value overrides a key in every config. NPROC sets the "
        "processes of a run (else one for each GPU), PYTHON the interpreter.",
        allow_abbrev=False,
    )
    parser.add_argument("configs", nargs="*", metavar="CONFIG or FOLDER", help="default: the paper's seven sweeps")
    parser.add_argument("--dry-run", action="store_true", help="check the configs and show how each run stands")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="runs whose family/name fits")
    parser.add_argument("--name", help="results go to output/NAME and output/report/NAME")
    return parser.parse_args(words[:split]), list(words[split + 1 :])


def end_on_signals() -> None:
    """Being told to end ends what was started, too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments, overrides = read_arguments(sys.argv[1:] if argv is None else argv)
    try:
        return _main(arguments, overrides)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    except (UserError, RunError, OSError) as error:
        problem = disk_problem(error, "the folder of the results") or error
        print(f"error: {plain(problem)}", file=sys.stderr)
        return 2 if isinstance(problem, UserError) else 1


def _main(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    if arguments.name and Path(arguments.name).name != arguments.name:
        raise UserError(f"--name {arguments.name}: a plain folder name is needed.")
    names = arguments.configs or [f"config/{folder}" for folder in PAPER_FOLDERS]
    every = read_runs(find_configs(names), overrides, arguments.name)
    runs, processes = select(every, arguments.only), count_processes()
    check_preparations(runs)
    report_options(every)  # so that a mistake is said now, and not once all is done
    report = report_folder(arguments.configs, arguments.name)
    if arguments.dry_run:
        print(table(runs, processes))
        return 0
    end_on_signals()
    return Sweep(runs, every, report, processes).go()
