"""Averages over data sets. One of several corpora counts once, by the mean over its parts, as BEIR and MTEB have it."""

from collections.abc import Mapping, Sequence
from typing import Any

from retrieval.dataset_names import counted

Figures = dict[str, Any]
ADDED_UP = ("queries", "documents", "seconds", "index_bytes")


def macro_means(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of each figure that every data set has."""
    everywhere = set.intersection(*(set(record) for record in records))
    names = [key for key, value in records[0].items() if isinstance(value, float) or key == "index_bytes"]
    return {name: sum(float(record[name]) for record in records) / len(records) for name in names if name in everywhere}


def by_whole(records: Sequence[Figures]) -> list[Figures]:
    """The figures of what averages are over: those of all parts of a data set become the whole's."""
    of = {record["dataset"]: record for record in records}
    return [
        of[name] if labels == [name] else _whole(name, [of[label] for label in labels])
        for name, labels in counted(of).items()
    ]


def _whole(name: str, parts: Sequence[Figures]) -> Figures:
    """Means of the parts' figures, with their counts and costs added up; "parts": each one's metrics."""
    first = parts[0]
    alike: Figures = {key: first[key] for key in ("split", "metrics", "model", "config hash") if key in first}
    sums = {key: sum(part[key] for part in parts) for key in ADDED_UP if all(key in part for part in parts)}
    metrics = {part["dataset"]: {key: part[key] for key in part.get("metrics", ())} for part in parts}
    return {"dataset": name, **alike, **macro_means(parts), **sums, "parts": metrics}


def whole_queries(parts: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Figure → query → value of a whole from its parts': what has the mean over parts as its mean over all queries.

    A query counts by how few its part has, so that a value may be above 1.

    Args:
        parts: label → figure → query → value.
    """
    n = {label: len(next(iter(figures.values()), {})) for label, figures in parts.items()}
    return {
        name: {
            f"{label}/{query}": value * sum(n.values()) / (len(parts) * n[label])
            for label, figures in parts.items()
            for query, value in figures[name].items()
        }
        for name in next(iter(parts.values()))
    }
