"""Normalisation within scopes and the mean over teachers, by hand."""

import numpy as np
import pytest

from mining.normalise import combine, scopes


def test_min_max_and_weighted_mean() -> None:
    """Teacher 0: (1, 3, 5) to (0, 1/2, 1). Teacher 1: (10, 0, 5) to (1, 0, 1/2). Weights 3 and 1."""
    combined, constant = combine(np.array([[1, 3, 5], [10, 0, 5]]), np.array([3, 1]), "minmax")
    assert combined.tolist() == [0.25, 0.375, 0.875] and not constant.any()


def test_z_scores() -> None:
    """(1, 3, 5): mean 3, variance (4 + 0 + 4)/3, so ±2/√(8/3) = ±√1.5. (0, 0, 3): mean 1, variance 2: -1/√2, √2."""
    combined, _ = combine(np.array([[1, 3, 5], [0, 0, 3]]), np.array([1, 1]), "zscore")
    root = np.sqrt(1.5)
    assert combined == pytest.approx([(-root - 0.5**0.5) / 2, -(0.5**0.5) / 2, (root + 2**0.5) / 2])


def test_no_normalisation_is_the_weighted_mean_of_raw_scores() -> None:
    combined, constant = combine(np.array([[1.0, 3.0], [5.0, 5.0]]), np.array([1, 3]), "none")
    assert combined.tolist() == [4.0, 4.5] and not constant.any()


@pytest.mark.parametrize("method", ["minmax", "zscore"])
def test_a_constant_teacher_is_left_out_of_the_mean(method: str) -> None:
    alone, _ = combine(np.array([[1, 2, 4]]), np.array([1]), method)
    combined, constant = combine(np.array([[1, 2, 4], [7, 7, 7]]), np.array([1, 9]), method)
    assert combined.tolist() == alone.tolist() and constant.tolist() == [False, True]


@pytest.mark.parametrize("method", ["minmax", "zscore"])
def test_nothing_but_constant_teachers_scores_zero(method: str) -> None:
    combined, constant = combine(np.array([[2.0], [7.0]]), np.array([1, 1]), method)
    assert combined.tolist() == [0.0] and constant.all()


def test_a_shift_and_a_scale_of_a_teacher_change_nothing() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 40))
    moved = scores * np.array([[100.0], [0.01]]) + np.array([[-5.0], [9.0]])
    for method in ("minmax", "zscore"):
        one, _ = combine(scores, np.array([2.0, 1.0]), method)
        other, _ = combine(moved, np.array([2.0, 1.0]), method)
        assert one == pytest.approx(other, abs=1e-9)


def test_float32_scores_are_computed_in_float64() -> None:
    """2²⁴ + 1 is not a float32: in float32 the mean of (2²⁴, 0) and two small teachers would lose them."""
    scores = np.array([[2.0**24, 0], [1, 0], [1, 0]], dtype=np.float32)
    combined, _ = combine(scores, np.ones(3), "none")
    assert combined[0] * 3 == 2.0**24 + 2


def test_scopes_are_batches_of_consecutive_queries() -> None:
    """Candidates 2, 0, 3, 1 | 4 in batches of two queries: [0, 2), [2, 6), [6, 10); a query alone: no empty scope."""
    lengths = np.array([2, 0, 3, 1, 4])
    assert [(s.start, s.stop) for s in scopes(lengths, "batch", 2)] == [(0, 2), (2, 6), (6, 10)]
    assert [(s.start, s.stop) for s in scopes(lengths, "query", 2)] == [(0, 2), (2, 5), (5, 6), (6, 10)]
    assert list(scopes(np.zeros(3, dtype=int), "batch", 2)) == []
