"""Counts that add up, and what they say."""

import math

import numpy as np
import pytest

from mining.statistics import Counts, Statistics, TeacherCounts, target_sharpness


def test_figures_of_a_scorer() -> None:
    """Of 10 queries: 4 positives in front, 2 at rank 1, 1 at rank 11, 3 without: MRR@10 = (4 + 2/2)/10; mean 13/7."""
    ranks = np.zeros(12, dtype=np.int64)
    ranks[[0, 1, 11]] = 4, 2, 1
    figures = TeacherCounts(ranks).figures(10)
    assert figures == {"top_is_positive": 0.4, "mrr@10": 0.5, "mean_first_rank": pytest.approx(13 / 7)}


def test_statistics_survive_json() -> None:
    scorer = TeacherCounts(np.array([0, 2]), constant_scopes=3)
    statistics = Statistics(Counts(queries=2, pairs=3, scopes=1), [scorer])
    again = Statistics.from_json(statistics.to_json())
    both = again + statistics
    assert both.counts == Counts(queries=4, pairs=6, scopes=2) and both.scorers[0].constant_scopes == 6
    assert both.scorers[0].first_ranks.tolist() == [0, 4]


def test_target_sharpness_by_hand() -> None:
    """Rows (2, 1, 1, 0) and (1, 0): pairs half a row apart differ by 1 and 1, and by 1; a single score is no target."""
    found = target_sharpness([[2.0, 1.0, 1.0, 0.0], [1.0, 0.0], [5.0]])
    first = math.e**2 / (math.e**2 + 2 * math.e + 1)
    of_pair = math.e / (1 + math.e)
    assert found["of two documents"] == pytest.approx(of_pair)
    assert found["of a row"] == pytest.approx((first + of_pair) / 2)
    assert target_sharpness([]) == {"of two documents": 1.0, "of a row": 1.0}
