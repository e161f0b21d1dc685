"""Paired comparison of two systems, query by query, and Holm's correction for many comparisons.

The test is the paired t-test, which on differences of NDCG keeps its level and has the most power (Urbano, Lima and
Hanjalic, SIGIR 2019). Over several data sets the mean of their means is tested: every data set counts the same, the
queries of each vary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Comparison:
    """The mean difference with its 95 % interval, its standardised size, the two-sided p, and the queries."""

    mean: float
    low: float
    high: float
    effect: float
    p: float
    queries: int


def compare(differences: Sequence[np.ndarray]) -> Comparison | None:
    """Tests whether the mean over data sets of the mean difference is 0; None with fewer than 2 queries in a set.

    Its variance is Σ_d s_d²/n_d / D²; degrees of freedom after Welch and Satterthwaite, so that one data set gives
    the plain paired t-test. The effect is Cohen's d_z, the mean in standard deviations √(mean_d s_d²) of a query's
    difference.

    Args:
        differences: for each of D data sets, [n_d] system minus baseline.
    """
    if not differences or any(len(part) < 2 for part in differences):
        return None
    counts = np.array([len(part) for part in differences])
    variances = np.array([np.var(part, ddof=1) for part in differences])
    mean = float(np.mean([part.mean() for part in differences]))
    parts = variances / counts
    error = math.sqrt(parts.sum()) / len(counts)
    if error < 1e-12:  # no query differs from another
        return Comparison(
            mean, mean, mean, math.copysign(math.inf, mean) if mean else 0.0, float(not mean), int(counts.sum())
        )
    freedom = parts.sum() ** 2 / (parts**2 / (counts - 1)).sum()
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return Comparison(mean, mean - half, mean + half, mean / math.sqrt(variances.mean()), p, int(counts.sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (Holm 1979): the k-th smallest of m times m - k + 1, never decreasing."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    return [float(p) for p in adjusted[np.argsort(order)]]
