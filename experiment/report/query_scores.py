"""Per-query values of the metric that systems are compared by."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from experiment.report.systems import System
from sparse_model.errors import UserError

Scores = dict[str, dict[str, np.ndarray]]
"""Data set to system's name to [queries] values."""


def query_scores(systems: Iterable[System], datasets: Iterable[str]) -> tuple[Scores, list[str]]:
    """The values of each query by data set and system, seeds averaged; and a sentence for each that is missing.

    A data set's arrays have one order of queries; a system that was scored on other queries is left out.
    """
    scores: Scores = {}
    missing: dict[str, list[str]] = {}
    for dataset in datasets:
        ids: list[str] | None = None
        for system in systems:
            files = [e.per_query[dataset] for _, e in system.members if dataset in e.per_query]
            read = [read_scores(file, system.metrics[0]) for file in files]
            if len(read) < len(system.members) or not all(read):
                missing.setdefault(system.name, []).append(dataset)
                continue
            ids = ids or sorted(read[0])
            if any(sorted(one) != ids for one in read):
                missing.setdefault(system.name, []).append(f"{dataset} (other queries)")
                continue
            values = np.array([[one[name] for name in ids] for one in read])
            scores.setdefault(dataset, {})[system.name] = values.mean(axis=0)
    return scores, [f"{name}: no figures of single queries for {', '.join(sets)}" for name, sets in missing.items()]


def read_scores(path: Path, metric: str) -> dict[str, float]:
    """Query id to the metric's value; {} where there is no such file.

    Raises:
        UserError: if it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        scores = json.loads(path.read_text(encoding="utf-8")).get(metric, {})
        return {str(name): float(value) for name, value in scores.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it and evaluate this run again") from error
