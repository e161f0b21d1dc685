"""What the data card says of the rows, gathered part by part: counts that add up."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from losses.targets import largest_probability


@dataclass(frozen=True)
class TeacherCounts:
    """How one teacher ranks the judged positives, or all of them together."""

    first_ranks: np.ndarray
    """int64: at r, the queries whose first judged positive has rank r (from 0) by this scorer."""
    constant_scopes: int = 0

    def __add__(self, other: "TeacherCounts") -> "TeacherCounts":
        ranks = np.zeros(max(len(self.first_ranks), len(other.first_ranks)), dtype=np.int64)
        ranks[: len(self.first_ranks)] += self.first_ranks
        ranks[: len(other.first_ranks)] += other.first_ranks
        return TeacherCounts(ranks, self.constant_scopes + other.constant_scopes)

    def figures(self, n_queries: int) -> dict[str, Any]:
        """Over all queries: share with a positive in front, MRR@10. Over those with a positive: its mean rank."""
        found, ranks = int(self.first_ranks.sum()), np.arange(len(self.first_ranks))
        of_ten = (self.first_ranks / (ranks + 1))[:10].sum()
        return {
            "top_is_positive": float(self.first_ranks[:1].sum()) / max(1, n_queries),
            "mrr@10": float(of_ten) / max(1, n_queries),
            "mean_first_rank": float(ranks @ self.first_ranks) / found if found else None,
        }


def target_sharpness(scores: Sequence[Sequence[float]]) -> dict[str, float]:
    """Medians of the largest probability in a softmax: of a row's scores, and of two of them half a row apart."""
    rows = [row for row in scores if len(row) > 1]
    halves = [(row[: len(row) // 2], row[len(row) // 2 :]) for row in rows]
    pairs = [pair for first, second in halves for pair in zip(first, second, strict=False)]
    return {"of two documents": _median_peak(pairs), "of a row": _median_peak(rows)}


def _median_peak(scores: Sequence[Sequence[float]]) -> float:
    return float(np.median([largest_probability(row) for row in scores])) if scores else 1.0


@dataclass(frozen=True)
class Counts:
    """Sums over queries."""

    queries: int = 0
    pairs: int = 0
    positive_pairs: int = 0
    queries_without_positive: int = 0
    short_queries: int = 0
    """Queries with fewer candidates than asked for."""
    scopes: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in asdict(self)))


@dataclass(frozen=True)
class Statistics:
    """Of the rows of a part, or of several."""

    counts: Counts
    scorers: list[TeacherCounts]
    """The teachers in order, then the ensemble."""

    def __add__(self, other: "Statistics") -> "Statistics":
        scorers = [a + b for a, b in zip(self.scorers, other.scorers, strict=True)]
        return Statistics(self.counts + other.counts, scorers)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for `from_json`."""
        scorers = [
            {"first_ranks": scorer.first_ranks.tolist(), "constant_scopes": scorer.constant_scopes}
            for scorer in self.scorers
        ]
        return {"counts": asdict(self.counts), "scorers": scorers}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Statistics":
        """What `to_json` gave."""
        told = ((np.array(s["first_ranks"], dtype=np.int64), s["constant_scopes"]) for s in value["scorers"])
        return cls(Counts(**value["counts"]), [TeacherCounts(*counts) for counts in told])
