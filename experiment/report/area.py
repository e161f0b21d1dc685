"""The area between two curves of quality against cost: how much better one family is at equal cost.

As Bjøntegaard's measure does for video codecs: both curves are interpolated over the logarithm of the cost, and
their difference is averaged over the range that both cover.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

STEPS = 200


@dataclass(frozen=True)
class Area:
    """The mean difference in quality over the costs from `low` to `high`; the 95 % interval, if there is one."""

    mean: float
    low: float
    high: float
    interval: tuple[float, float] | None = None

    @property
    def turned_round(self) -> "Area":
        """The same with the curves exchanged."""
        return replace(self, mean=-self.mean, interval=self.interval and (-self.interval[1], -self.interval[0]))


def front(costs: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Pareto points by rising cost: those with more quality than every cheaper one. [n], [n] -> [k], [k]."""
    order = np.lexsort((-quality, costs))
    costs, quality = costs[order], quality[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(quality)[:-1]])
    return costs[quality > best_before], quality[quality > best_before]


def quality_at(costs: np.ndarray, quality: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The quality that a family reaches with at most the costs `at`: its front, monotone between the points.

    Beyond the front's dearest point the quality stays: paying more than needed takes nothing away.
    """
    front_costs, front_quality = front(costs, quality)
    if len(front_costs) == 1:
        return np.full(len(at), front_quality[0])
    curve = PchipInterpolator(np.log(front_costs), front_quality)
    return curve(np.log(np.clip(at, front_costs[0], front_costs[-1])))


def area_between(
    costs: np.ndarray, quality: np.ndarray, base_costs: np.ndarray, base_quality: np.ndarray
) -> Area | None:
    """Mean of the family's quality minus the baseline's over the common range of log cost; None if there is none.

    Points that cost nothing (empty documents) have no place on a logarithmic scale and are left out.
    """
    costs, quality = costs[costs > 0], quality[costs > 0]
    base_costs, base_quality = base_costs[base_costs > 0], base_quality[base_costs > 0]
    if not (len(costs) and len(base_costs)):
        return None
    low, high = max(costs.min(), base_costs.min()), min(costs.max(), base_costs.max())
    if low >= high:
        return None
    grid = np.geomspace(low, high, STEPS + 1)
    difference = quality_at(costs, quality, grid) - quality_at(base_costs, base_quality, grid)
    mean = (difference[:-1] + difference[1:]).sum() / 2 / STEPS
    return Area(float(mean), float(low), float(high))


def resampled_means(scores: list[np.ndarray], rounds: int, seed: int = 0) -> np.ndarray:
    """Bootstrap over queries: [rounds, systems] means over data sets of the means over queries drawn anew.

    All systems see the same queries, so that their differences are paired.

    Args:
        scores: for each data set, [systems, queries].
    """
    random = np.random.default_rng(seed)
    total = np.zeros((rounds, scores[0].shape[0]))
    for part in scores:
        queries = part.shape[1]
        counts = random.multinomial(queries, np.full(queries, 1 / queries), size=rounds)
        total += counts @ part.T / queries
    return total / len(scores)
