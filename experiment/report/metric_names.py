"""Metrics as figures of results are named (ndcg@10), and how tables and pictures write them (NDCG@10)."""

from collections.abc import Sequence

from retrieval.metrics import DEFAULT_METRICS, figure_name

USUAL = tuple(map(figure_name, DEFAULT_METRICS))
"""The figures of results that do not say their metrics."""

_WRITTEN = {"ndcg": "NDCG", "mrr": "MRR", "map": "MAP"}


def heading(figure: str) -> str:
    """As a heading: NDCG@10 for ndcg@10, recall@100 for recall@100."""
    name, at, cutoff = figure.partition("@")
    return _WRITTEN.get(name, name) + at + cutoff


def tabled(metrics: Sequence[str]) -> tuple[str, ...]:
    """Those with a column in tables: all that were asked for; of the usual ones the first two."""
    return tuple(metrics[:2] if tuple(metrics) == USUAL else metrics)
