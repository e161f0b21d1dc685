"""The paired test by hand and beside scipy's; Holm's correction by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from retrieval.significance import compare, holm


def test_one_data_set_by_hand():
    """0.1, 0.2, 0.3: mean 0.2, s = 0.1, error 0.1/√3, t = 2√3 with 2 degrees of freedom, t₀.₉₇₅ = 4.302653.

    With 2 degrees of freedom P(T > t) = 1/2 - t / (2 √(t² + 2)), so p = 1 - √(12/14).
    """
    found = compare([np.array([0.1, 0.2, 0.3])])
    assert found is not None and found.queries == 3
    assert found.mean == pytest.approx(0.2) and found.effect == pytest.approx(2.0)
    assert found.p == pytest.approx(1 - math.sqrt(12 / 14))
    assert found.high - found.mean == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_data_set_is_scipys_paired_t_test():
    random = np.random.default_rng(1)
    ours, base = random.random(50), random.random(50)
    theirs = stats.ttest_rel(ours, base)
    found = compare([ours - base])
    assert found is not None and found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_two_data_sets_count_the_same():
    """Differences 0, 2 (mean 1, s² = 2, s²/n = 1) and -1, -1, 2, 2 (mean 0.5, s² = 3, s²/n = 0.75).

    The mean is 0.75, its error √1.75 / 2; degrees of freedom 1.75² / (1²/1 + 0.75²/3); d_z = 0.75 / √2.5.
    """
    found = compare([np.array([0.0, 2.0]), np.array([-1.0, -1.0, 2.0, 2.0])])
    assert found is not None and (found.mean, found.queries) == (0.75, 6)
    assert found.effect == pytest.approx(0.75 / math.sqrt(2.5))
    error, freedom = math.sqrt(1.75) / 2, 1.75**2 / 1.1875
    assert found.p == pytest.approx(2 * stats.t.sf(0.75 / error, freedom))
    assert found.high == pytest.approx(0.75 + stats.t.ppf(0.975, freedom) * error)


def test_what_cannot_be_tested_and_what_does_not_vary():
    assert compare([]) is None and compare([np.array([0.1])]) is None
    same = compare([np.zeros(4)])
    assert same is not None and (same.mean, same.p, same.effect) == (0.0, 1.0, 0.0)


def test_holm_by_hand():
    """Of 0.01, 0.04, 0.03: 3 · 0.01 = 0.03; 2 · 0.03 = 0.06; 1 · 0.04 = 0.04, raised to 0.06."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_under_no_difference_the_test_keeps_its_level():
    """2000 data sets pairs without a difference: 5 % of the p-values are below 0.05, give or take 4 errors of 0.5 %."""
    random = np.random.default_rng(3)
    found = [compare([random.normal(size=30), random.normal(size=50) * 3]) for _ in range(2000)]
    share = np.mean([one.p < 0.05 for one in found if one])
    assert share == pytest.approx(0.05, abs=0.02)
