"""What the data card says of the rows, gathered part by part: counts and histograms that add up exactly.

A histogram's bins are 2**exponent wide and lie at multiples of it, so two of them merge without a second look at the
scores, and the sum does not depend on how the queries were cut into parts.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BINS = 1024


@dataclass(frozen=True)
class Histogram:
    """Counts of scores in at most BINS bins, as narrow as that allows."""

    exponent: int
    low: int
    """The first bin begins at low · 2**exponent."""
    counts_2B: np.ndarray
    """int64: not judged positive, judged positive."""

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> "Histogram":
        """The histogram of finite scores [n] whose labels [n] say which are positives."""
        if not len(scores):
            return cls(-1000, 0, np.zeros((2, 0), dtype=np.int64))
        low, high = float(scores.min()), float(scores.max())
        # The second bound keeps the bins' numbers exact where scores differ little or not at all.
        exponent = max(_magnitude(high - low) - 10, _magnitude(max(abs(low), abs(high))) - 40)
        bins = np.floor(np.ldexp(scores.astype(np.float64), -exponent)).astype(np.int64)
        first = int(bins.min())
        counts = [np.bincount(bins[labels == label] - first, minlength=int(bins.max()) - first + 1) for label in (0, 1)]
        return cls(exponent, first, np.stack(counts))._within(BINS)

    def __add__(self, other: "Histogram") -> "Histogram":
        if not self.counts_2B.size or not other.counts_2B.size:
            return self if self.counts_2B.size else other
        exponent = max(self.exponent, other.exponent)
        while _width((self, other), exponent) > BINS:
            exponent += 1
        a, b = self.coarser(exponent), other.coarser(exponent)
        low = min(a.low, b.low)
        counts_2B = np.zeros((2, max(x.low + x.counts_2B.shape[1] for x in (a, b)) - low), dtype=np.int64)
        for part in (a, b):
            counts_2B[:, part.low - low : part.low - low + part.counts_2B.shape[1]] += part.counts_2B
        return Histogram(exponent, low, counts_2B)

    def coarser(self, exponent: int) -> "Histogram":
        """The same with bins 2**exponent wide, not narrower than they are."""
        bins = (self.low + np.arange(self.counts_2B.shape[1])) >> (exponent - self.exponent)
        starts = np.searchsorted(bins, np.arange(bins[0], bins[-1] + 1))
        return Histogram(exponent, int(bins[0]), np.add.reduceat(self.counts_2B, starts, axis=1))

    def _within(self, n_bins: int) -> "Histogram":
        found = self
        while found.counts_2B.shape[1] > n_bins:
            found = found.coarser(found.exponent + 1)
        return found

    def for_drawing(self, n_bins: int, cut: float = 0.001) -> "Histogram":
        """At most n_bins bins, without the outermost share `cut` of the scores on either side."""
        share_B = np.cumsum(self.counts_2B.sum(axis=0)) / max(1, self.counts_2B.sum())
        first, last = int(np.searchsorted(share_B, cut)), int(np.searchsorted(share_B, 1 - cut))
        return Histogram(self.exponent, self.low + first, self.counts_2B[:, first : last + 1])._within(n_bins)

    def edges(self) -> np.ndarray:
        """float64 [bins + 1]."""
        return np.ldexp(self.low + np.arange(self.counts_2B.shape[1] + 1, dtype=np.float64), self.exponent)


def _width(parts: Sequence[Histogram], exponent: int) -> int:
    """The number of bins, 2**exponent wide, that hold all parts."""
    first = min(part.low >> (exponent - part.exponent) for part in parts)
    last = max((part.low + part.counts_2B.shape[1] - 1) >> (exponent - part.exponent) for part in parts)
    return last - first + 1


def _magnitude(value: float) -> int:
    """The smallest power of two above value; far below every other one for 0."""
    return math.frexp(value)[1] if value else -1000


@dataclass(frozen=True)
class Scorer:
    """One teacher, or all of them together."""

    scores: Histogram
    first_ranks: np.ndarray
    """int64: at r, the queries whose first judged positive has rank r (from 0) by this scorer."""
    constant_scopes: int = 0

    def __add__(self, other: "Scorer") -> "Scorer":
        ranks = np.zeros(max(len(self.first_ranks), len(other.first_ranks)), dtype=np.int64)
        ranks[: len(self.first_ranks)] += self.first_ranks
        ranks[: len(other.first_ranks)] += other.first_ranks
        return Scorer(self.scores + other.scores, ranks, self.constant_scopes + other.constant_scopes)

    def figures(self, n_queries: int) -> dict[str, Any]:
        """Over all queries: share with a positive in front, MRR@10. Over those with a positive: its mean rank."""
        found, ranks = int(self.first_ranks.sum()), np.arange(len(self.first_ranks))
        of_ten = (self.first_ranks / (ranks + 1))[:10].sum()
        return {
            "top_is_positive": float(self.first_ranks[:1].sum()) / max(1, n_queries),
            "mrr@10": float(of_ten) / max(1, n_queries),
            "mean_first_rank": float(ranks @ self.first_ranks) / found if found else None,
        }


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
    scorers: list[Scorer]
    """The teachers in order, then the ensemble."""

    def __add__(self, other: "Statistics") -> "Statistics":
        scorers = [a + b for a, b in zip(self.scorers, other.scorers, strict=True)]
        return Statistics(self.counts + other.counts, scorers)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, for `from_json`."""
        scorers = [
            {
                "exponent": scorer.scores.exponent,
                "low": scorer.scores.low,
                "counts": scorer.scores.counts_2B.tolist(),
                "first_ranks": scorer.first_ranks.tolist(),
                "constant_scopes": scorer.constant_scopes,
            }
            for scorer in self.scorers
        ]
        return {"counts": asdict(self.counts), "scorers": scorers}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Statistics":
        """What `to_json` gave."""
        scorers = [
            Scorer(
                Histogram(s["exponent"], s["low"], np.array(s["counts"], dtype=np.int64).reshape(2, -1)),
                np.array(s["first_ranks"], dtype=np.int64),
                s["constant_scopes"],
            )
            for s in value["scorers"]
        ]
        return cls(Counts(**value["counts"]), scorers)
