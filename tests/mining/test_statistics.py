"""Counts and histograms that add up to the same, however the rows are cut."""

from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mining.statistics import BINS, Counts, Histogram, Scorer, Statistics


def _equal(a: Histogram, b: Histogram) -> bool:
    return (a.exponent, a.low) == (b.exponent, b.low) and np.array_equal(a.counts_2B, b.counts_2B)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, st.integers(0, 60), elements=st.floats(-1e6, 1e6, width=32)),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_parts_add_up_to_the_whole(scores: np.ndarray, cuts: list[int]) -> None:
    labels = np.arange(len(scores)) % 3 == 0
    whole = Histogram.of(scores, labels)
    pieces = [
        Histogram.of(s, kept)
        for s, kept in zip(np.split(scores, sorted(cuts)), np.split(labels, sorted(cuts)), strict=True)
    ]
    assert _equal(reduce(add, pieces), whole) and _equal(reduce(add, pieces[::-1]), whole)
    assert whole.counts_2B.sum(axis=1).tolist() == [int((~labels).sum()), int(labels.sum())]
    assert whole.counts_2B.shape[1] <= BINS


def test_bins_hold_their_scores() -> None:
    scores = np.random.default_rng(0).normal(3, 10, 5000).astype(np.float32)
    histogram = Histogram.of(scores, scores > 0)
    edges = histogram.edges()
    assert np.array_equal(np.histogram(scores, edges)[0], histogram.counts_2B.sum(axis=0))
    assert np.array_equal(np.histogram(scores[scores > 0], edges)[0], histogram.counts_2B[1])
    assert BINS / 2 < histogram.counts_2B.shape[1] <= BINS


def test_outliers_do_not_squeeze_the_picture() -> None:
    scores = np.concatenate([np.random.default_rng(0).normal(size=10_000), [-1e4]]).astype(np.float32)
    drawn = (Histogram.of(scores, scores > 9) + Histogram.of(scores[:-1], scores[:-1] > 9)).for_drawing(64)
    assert drawn.edges()[0] > -100 and drawn.counts_2B.shape[1] <= 64


def test_figures_of_a_scorer() -> None:
    """Of 10 queries: 4 positives in front, 2 at rank 1, 1 at rank 11, 3 without: MRR@10 = (4 + 2/2)/10; mean 13/7."""
    ranks = np.zeros(12, dtype=np.int64)
    ranks[[0, 1, 11]] = 4, 2, 1
    figures = Scorer(Histogram.of(np.zeros(0), np.zeros(0, bool)), ranks).figures(10)
    assert figures == {"top_is_positive": 0.4, "mrr@10": 0.5, "mean_first_rank": pytest.approx(13 / 7)}


def test_statistics_survive_json() -> None:
    scores = np.array([1.0, 2.5, -3.0], dtype=np.float32)
    scorer = Scorer(Histogram.of(scores, scores > 2), np.array([0, 2]), constant_scopes=3)
    statistics = Statistics(Counts(queries=2, pairs=3, scopes=1), [scorer])
    again = Statistics.from_json(statistics.to_json())
    both = again + statistics
    assert both.counts == Counts(queries=4, pairs=6, scopes=2) and both.scorers[0].constant_scopes == 6
    assert both.scorers[0].first_ranks.tolist() == [0, 4]
    assert _equal(again.scorers[0].scores, scorer.scores)
