"""How long the rest of a sweep takes, by what runs of the same kind took."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

from experiment.settings.effects import Changes
from experiment.settings.keys import GROUP_OF, keys_that_change
from experiment.sweep.progress import is_finished, results_folder, training
from experiment.sweep.runs import PlannedRun, training_processes
from retrieval.dataset_names import dataset_name
from retrieval.files import read_json
from training.step_checkpoints import step_of

# What decides the seconds of a step, and of an evaluation.
PACE_OF_TRAINING = [key for key in keys_that_change(Changes.PACE) if GROUP_OF.get(key) != "evaluation"]
PACE_OF_SCORING = ["model_name_or_path", *keys_that_change(Changes.PACE, "evaluation")]


class Estimate:
    """Seconds that runs will take, as measured runs of the same kind did; NaN where none was measured.

    Args:
        runs: where measured times are looked for.
        processes: those of a run that is not begun yet.
    """

    def __init__(self, runs: Sequence[PlannedRun], processes: int) -> None:
        self._processes = processes
        self._pace: dict[Any, list[float]] = defaultdict(list)
        self._scoring: dict[Any, list[float]] = defaultdict(list)
        for run in runs:
            if pace := _measured_pace(run):
                self._pace[self._kind(run)].append(pace)
            for name, seconds in _measured_scoring(run):
                self._scoring[_scoring_kind(run, name)].append(seconds)

    def remaining(self, run: PlannedRun) -> float:
        """Seconds until the run is evaluated; NaN if something of its kind, or its number of steps, is not known."""
        if is_finished(run):
            return 0.0
        seconds = self._training(run) if run.trains else 0.0
        names = map(dataset_name, run.scored.evaluation.beir_datasets)
        return seconds + sum(_mean(self._scoring.get(_scoring_kind(run, name))) for name in names)

    def _training(self, run: PlannedRun) -> float:
        status, planned = training(run), run.settings.value("max_steps")
        if status.is_done:
            return 0.0
        done = step_of(status.checkpoint) if status.checkpoint else 0
        return (planned - done if planned > 0 else math.nan) * _mean(self._pace.get(self._kind(run)))

    @property
    def basis(self) -> str:
        """What the figures are made of."""
        trainings = sum(map(len, self._pace.values()))
        scorings = sum(map(len, self._scoring.values()))
        n = self._processes
        by = f"by {trainings} trainings and {scorings} evaluations that were measured" if trainings + scorings else ""
        return f"{by or 'nothing was measured yet'}; {n} process{'es' if n > 1 else ''}"

    def _kind(self, run: PlannedRun) -> tuple[Any, ...]:
        """Runs of one kind take the same time for a step."""
        return (*(run.settings.value(key) for key in PACE_OF_TRAINING), training_processes(run, self._processes))


def _mean(measured: Sequence[float] | None) -> float:
    return mean(measured) if measured else math.nan


def _measured_pace(run: PlannedRun) -> float | None:
    """Seconds a step so far, by the last line of metrics.jsonl that is whole."""
    path = run.folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8", errors="replace") if run.trains and path.is_file() else ""
    for line in reversed(text.splitlines()):
        try:
            entry = json.loads(line)
            return entry["train_seconds"] / entry["step"]
        except (ValueError, TypeError, KeyError, ZeroDivisionError):
            continue
    return None


def _measured_scoring(run: PlannedRun) -> Iterator[tuple[str, float]]:
    for name in run.scored.evaluation.beir_datasets:
        result = read_json(results_folder(run) / f"{dataset_name(name)}.json")
        if isinstance(result.get("seconds"), (int, float)):
            yield dataset_name(name), result["seconds"]


def _scoring_kind(run: PlannedRun, name: str) -> tuple[Any, ...]:
    return name, *(run.scored.value(key) for key in PACE_OF_SCORING)
