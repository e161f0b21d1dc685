"""About how long the rest of a sweep takes, and what that is based on."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from experiment.run import folder as run_folder
from experiment.settings.effects import Changes
from experiment.settings.keys import GROUP_OF, keys_that_change
from experiment.settings.settings import Settings
from experiment.sweep.progress import cached, data_set, is_evaluated, is_trained, results_folder
from experiment.sweep.runs import Run, training_processes
from retrieval.dataset_names import dataset_name
from training.step_checkpoints import complete_checkpoints, step_of

# Assumed until runs have been measured, floating-point operations a second: a 16 GB GPU in fp16, 2 CPU cores.
SPEED = {"GPU": 2.5e13, "CPU": 1e11}
PARAMETERS = 67e6  # distilbert's, for a model of the hub that is not on this disk
BYTES_A_TOKEN, TOKENS_A_DOCUMENT = 4, 120
# The corpora of BEIR-13, for those that are not on this disk.
DOCUMENTS = {
    "trec-covid": 171e3,
    "nfcorpus": 4e3,
    "nq": 2.7e6,
    "hotpotqa": 5.2e6,
    "fiqa": 58e3,
    "arguana": 9e3,
    "webis-touche2020": 383e3,
    "dbpedia-entity": 4.6e6,
    "scidocs": 26e3,
    "fever": 5.4e6,
    "climate-fever": 5.4e6,
    "scifact": 5e3,
    "quora": 523e3,
}

# What decides the seconds of a step, and of an evaluation.
PACE_OF_TRAINING = [key for key in keys_that_change(Changes.PACE) if GROUP_OF.get(key) != "evaluation"]
PACE_OF_SCORING = ["model_name_or_path", *keys_that_change(Changes.PACE, "evaluation")]


class Estimate:
    """Seconds that runs will take: as measured runs of the same kind did, else by assumed speeds.

    Args:
        runs: where measured times are looked for.
        processes: those of a run that is not begun yet.
    """

    def __init__(self, runs: Sequence[Run], processes: int) -> None:
        self._processes = processes
        self._pace: dict[Any, list[float]] = defaultdict(list)
        self._scoring: dict[Any, list[float]] = defaultdict(list)
        for run in runs:
            if pace := _measured_pace(run):
                self._pace[self._kind(run)].append(pace)
            for name, seconds in _measured_scoring(run):
                self._scoring[_scoring_kind(run, name)].append(seconds)

    def remaining(self, run: Run) -> float:
        """Seconds until the run is evaluated; NaN if the model, the data or the number of steps are not known."""
        if is_evaluated(run):
            return 0.0
        seconds = 0.0
        if run.trains and not is_trained(run):
            checkpoints = complete_checkpoints(run.folder) if run.folder.is_dir() else []
            planned = run.settings.value("max_steps")
            steps = planned - (step_of(checkpoints[-1]) if checkpoints else 0) if planned > 0 else math.nan
            measured = self._pace.get(self._kind(run))
            seconds += steps * (mean(measured) if measured else self._assumed_pace(run.settings))
        for name in run.scored.evaluation.beir_datasets:
            measured = self._scoring.get(_scoring_kind(run, dataset_name(name)))
            seconds += mean(measured) if measured else self._assumed_scoring(run.scored, name)
        return seconds

    @property
    def kind(self) -> str:
        """Whether any training has been measured: "measured" or "assumed"."""
        return "measured" if self._pace else "assumed"

    @property
    def basis(self) -> str:
        """What the figures are made of."""
        device, n = _device(), self._processes
        assumed = f"{SPEED[device]:.0e} operations a second on each {device} (assumed)"
        measured = len([pace for paces in self._pace.values() for pace in paces])
        before = f"measured times of the same kind (trainings: {measured}), else " if measured else ""
        return f"by {before}{assumed}; {n} process{'es' if n > 1 else ''}"

    def _kind(self, run: Run) -> tuple[Any, ...]:
        """Runs of one kind take the same time for a step."""
        return (*(run.settings.value(key) for key in PACE_OF_TRAINING), training_processes(run, self._processes))

    def _assumed_pace(self, settings: Settings) -> float:
        """Six operations a parameter and token, forward and backward."""
        documents = settings.data.sample_num_one_query if settings.data.data_type == "kd" else 1
        examples = settings.value("per_device_train_batch_size") * settings.value("gradient_accumulation_steps")
        # Processes on a CPU share its cores.
        share = 1 if _device() == "GPU" else self._processes
        return (
            6 * _parameters(settings) * examples * documents * settings.model.max_seq_length * share / SPEED[_device()]
        )

    def _assumed_scoring(self, settings: Settings, name: str) -> float:
        """Two operations a parameter and token of the corpus."""
        place = data_set(settings, name)
        if place:
            tokens = sum(file.stat().st_size for file in place.glob("corpus.jsonl*")) / BYTES_A_TOKEN
        else:
            tokens = DOCUMENTS.get(dataset_name(name), math.nan) * TOKENS_A_DOCUMENT
        devices = self._processes if _device() == "GPU" else 1
        return 2 * _parameters(settings) * tokens / devices / SPEED[_device()]


def _device() -> str:
    return "GPU" if torch.cuda.is_available() else "CPU"


def _parameters(settings: Settings) -> float:
    if settings.evaluation.baseline:
        return PARAMETERS / 100  # counting words takes next to nothing
    model = str(settings.model.model_name_or_path)
    weights = Path(model, "model.safetensors") if Path(model).is_dir() else cached(model, "model.safetensors")
    if weights and weights.is_file():
        return weights.stat().st_size / 4
    return PARAMETERS if model.count("/") <= 1 else math.nan  # more is a path of this disk


def _measured_pace(run: Run) -> float | None:
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


def _measured_scoring(run: Run) -> Iterator[tuple[str, float]]:
    for name in run.scored.evaluation.beir_datasets:
        result = run_folder.read_json(results_folder(run) / f"{dataset_name(name)}.json")
        if isinstance(result.get("seconds"), (int, float)):
            yield dataset_name(name), result["seconds"]


def _scoring_kind(run: Run, name: str) -> tuple[Any, ...]:
    return name, *(run.scored.value(key) for key in PACE_OF_SCORING)
