"""Reads run folders for the report: settings, logged lines, evaluations, and notes on what is missing."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiment.report.metric_names import USUAL
from experiment.report.run_files import finite, read_config, read_failure, read_metrics, read_object
from experiment.report.shapes import Shape, shape_of, without_shape
from retrieval.plain import plain_name
from sparse_model.errors import UserError

PLAIN = "plain FLOPS"
NOT_TRAINED = "not trained here"
BM25 = "BM25"
ACTIVATIONS = {"relu": "", "l1_relu": "ℓ0 activation", "l2_relu": "l2 activation", "l3_relu": "l3 activation"}
"""activation_type to what a run with it has beyond the FLOPS penalty."""
DEFAULT = "default"  # the name of the evaluation with default settings, which lies in evaluation/ itself


@dataclass(frozen=True)
class Evaluation:
    """What evaluate_beir.py left for one setting of a run.

    `datasets` are those that its averages are over; `results` holds the figures of each data set, whether or not
    it is among them, and `per_query` the files with the metrics of each query.
    """

    name: str
    datasets: tuple[str, ...]
    results: dict[str, dict[str, Any]]
    per_query: dict[str, Path]
    is_bm25: bool
    files: list[Path]
    notes: list[str] = field(default_factory=list)
    shape: Shape = field(default_factory=dict)

    @property
    def setting(self) -> str:
        """Its name but for the shape of its vectors."""
        return without_shape(self.name, self.shape) or DEFAULT if self.shape else self.name

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' figures in the order asked for; results that do not say have the usual ones."""
        lists = (result.get("metrics") for result in self.results.values())
        return next((tuple(map(str, names)) for names in lists if isinstance(names, list) and names), USUAL)

    def average(self, key: str, datasets: Iterable[str]) -> float | None:
        """The mean of a figure over data sets; None unless it is known for all of them."""
        found: list[Any] = [self.results.get(name, {}).get(key) for name in datasets]
        return sum(found) / len(found) if found and all(map(finite, found)) else None

    @property
    def seconds(self) -> float | None:
        """How long the data sets of the average took together; None unless each recorded it."""
        mean = self.average("seconds", self.datasets)
        return None if mean is None else mean * len(self.datasets)


@dataclass(frozen=True)
class RunResults:
    """One run folder: `metrics` are the lines of metrics.jsonl, `notes` say what is missing or odd.

    `record` is run.json; `failure` are the last lines of a run that failed, none of one that did not.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    evaluations: list[Evaluation]
    notes: list[str]
    record: dict[str, Any] = field(default_factory=dict)
    failure: list[str] = field(default_factory=list)

    @property
    def command(self) -> str:
        """The command that made it, as far as it is known."""
        results = (result for evaluation in self.evaluations for result in evaluation.results.values())
        return str(self.record.get("command") or next((r["command"] for r in results if r.get("command")), ""))

    @property
    def is_trained(self) -> bool:
        """Whether the run trains a model, or only evaluates one."""
        return not self.is_bm25 and any(map(self.config.get, ("train_file", "train_file_dir", "documents")))

    @property
    def is_bm25(self) -> bool:
        """Whether only BM25 was scored here, whatever its config says of models."""
        scored = [evaluation.is_bm25 for evaluation in self.evaluations]
        return bool(scored) and all(scored) and not (self.metrics or self.record)

    @property
    def train_seconds(self) -> float | None:
        """Seconds of training, those before an interruption included; None before it has finished."""
        last = self.metrics[-1] if self.metrics else {}
        seconds = last.get("train_seconds") if "train_runtime" in last else None
        return seconds if finite(seconds) else None

    @property
    def kind(self) -> str:
        """What a run has beyond the plain FLOPS penalty: ℓ0 mask, ℓ0 activation, both, …"""
        if self.is_bm25:
            return BM25
        if not self.is_trained:
            return NOT_TRAINED if self.config else "settings not known"
        parts = {
            "ℓ0 mask": self.config.get("flops_threshold") is not None,
            ACTIVATIONS.get(self.activation, f"{self.activation} activation"): self.activation != "relu",
            "decoupled": self.config.get("decouple_activation"),
            "siamese": self.config.get("inf_free") is False,
        }
        return " + ".join(part for part, there in parts.items() if there) or PLAIN

    @property
    def activation(self) -> str:
        """The activation_type."""
        return str(self.config.get("activation_type") or "relu")


def load_runs(folders: Iterable[str | Path]) -> list[RunResults]:
    """Reads the folders in the given order, each once. A run is named by its path below the folder that holds all.

    Raises:
        UserError: naming all that are no run folders, or a damaged file in each run that has one.
    """
    paths = {Path(os.path.abspath(folder)): Path(folder) for folder in folders}
    if wrong := [str(path) for path in paths.values() if not _is_run_folder(path)]:
        raise UserError(
            f"no run folder: {', '.join(wrong)}. A run folder is the output_dir of train_ir.py or "
            "evaluate_beir.py; it holds config.yaml, metrics.jsonl, evaluation/ or failed.json."
        )
    above = Path(os.path.commonpath([path.parent for path in paths]))
    runs, damaged = [], []
    for full, path in paths.items():
        try:
            runs.append(_load_run(plain_name(full.relative_to(above).as_posix()), path))
        except UserError as error:
            damaged.append(str(error))
    if damaged:
        raise UserError("\n".join(damaged))
    return _tell_data_apart(runs)


def _is_run_folder(path: Path) -> bool:
    files = ("config.yaml", "metrics.jsonl", "failed.json")
    return any((path / name).is_file() for name in files) or (path / "evaluation").is_dir()


def _load_run(name: str, folder: Path) -> RunResults:
    # An evaluation of a model that was not trained here keeps its own settings.
    places = [folder, folder / "evaluation", *sorted((folder / "evaluation").glob("*"))]
    config = next((read for place in places if (read := read_config(place / "config.yaml"))), {})
    metrics, notes = read_metrics(folder / "metrics.jsonl")
    subfolders = sorted(path for path in (folder / "evaluation").glob("*") if path.is_dir() and path.name != "runs")
    named = [(DEFAULT, folder / "evaluation"), *((path.name, path) for path in subfolders)]
    evaluations = [found for name, path in named if (found := _load_evaluation(name, path))]
    record = read_object(folder / "run.json") if (folder / "run.json").is_file() else {}
    run = RunResults(name, folder, config, metrics, evaluations, notes, record, read_failure(folder / "failed.json"))
    if run.failure:
        notes.append(f"failed: {run.failure[-1]}")
    if not config and not run.failure:
        notes.insert(0, "no config.yaml: its settings are not known")
    if run.is_trained and not metrics:
        notes.append("no metrics.jsonl with training's figures")
    elif run.is_trained and run.train_seconds is None:
        notes.append("training has not finished")
    if not evaluations:
        notes.append("not evaluated")
    notes += [f"evaluation {found.name}: {note}" for found in evaluations for note in found.notes]
    return run


def _load_evaluation(name: str, folder: Path) -> Evaluation | None:
    """The evaluation in `folder`; without summary.json, its averages are over the data sets that are there."""
    paths = {plain_name(path.stem): path for path in sorted(folder.glob("*.json")) if path.name != "summary.json"}
    results = {key: read_object(path) for key, path in paths.items()}
    datasets, notes = tuple(results), []
    if (folder / "summary.json").is_file():
        named = read_object(folder / "summary.json").get("datasets")
        if not isinstance(named, list):
            raise UserError(f"{folder / 'summary.json'}: has no 'datasets'; evaluate this run again")
        named = list(map(plain_name, named))
        datasets = tuple(dataset for dataset in named if dataset in results)
        if missing := [dataset for dataset in named if dataset not in results]:
            notes.append(f"data sets whose files are missing, so that they are in no average: {', '.join(missing)}")
    elif results:
        notes.append(f"no summary.json, so the average is over what is there: {', '.join(datasets)}")
    if not results and not notes:
        return None
    files = [path for path in [folder / "summary.json", *paths.values()] if path.is_file()]
    order = [*datasets, *(key for key in results if key not in datasets)]
    return Evaluation(
        name=name,
        datasets=tuple(sorted(datasets)),
        results={key: results[key] for key in order},
        per_query={key: folder / "runs" / f"{path.stem}.per_query.json" for key, path in paths.items()},
        is_bm25="baseline-bm25" in name or any("bm25" in _kinds(record) for record in results.values()),
        files=files,
        notes=notes,
        shape=shape_of(read_config(folder / "config.yaml"), name),
    )


def _kinds(record: dict[str, Any]) -> tuple[Any, ...]:
    return record.get("baseline"), record.get("engine"), record.get("model")


def _tell_data_apart(runs: list[RunResults]) -> list[RunResults]:
    """Adds split and data hash to the names of data sets that the runs have in several versions.

    Figures over another split, or over a folder whose content changed between two runs, cannot be compared.
    """
    versions: dict[str, set[str]] = {}
    for evaluation in (evaluation for run in runs for evaluation in run.evaluations):
        for name in {*evaluation.datasets, *evaluation.results}:
            versions.setdefault(name, set()).add(_version(evaluation.results.get(name, {})))

    def label(name: str, evaluation: Evaluation) -> str:
        return f"{name} [{_version(evaluation.results.get(name, {}))}]" if len(versions[name]) > 1 else name

    def labelled(evaluation: Evaluation) -> Evaluation:
        return replace(
            evaluation,
            datasets=tuple(label(name, evaluation) for name in evaluation.datasets),
            results={label(name, evaluation): result for name, result in evaluation.results.items()},
            per_query={label(name, evaluation): path for name, path in evaluation.per_query.items()},
        )

    return [replace(run, evaluations=[labelled(evaluation) for evaluation in run.evaluations]) for run in runs]


def _version(result: dict[str, Any]) -> str:
    """Split and the beginning of the data's hash, as far as they were recorded."""
    digest = str(result.get("data hash") or "")[:8]
    return " ".join(part for part in (str(result.get("split") or ""), digest) if part) or "data not recorded"
