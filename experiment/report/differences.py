"""Differences to the baseline, query by query, corrected for how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiment.report.query_scores import Scores
from experiment.report.systems import System
from retrieval.significance import Comparison, compare, holm

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """A system minus the baseline; `p` is Holm's, corrected for all that were compared together."""

    system: System
    result: Comparison
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is told apart from none."""
        return self.p < LEVEL


def differences_to(
    baseline: System, systems: Sequence[System], datasets: Sequence[str], scores: Scores
) -> list[Difference]:
    """Those systems' whose single queries are known, as those of the baseline are, on all the data sets."""
    found: list[tuple[System, Comparison]] = []
    for system in systems:
        have = [scores.get(dataset, {}) for dataset in datasets]
        if all({system.name, baseline.name} <= part.keys() for part in have):
            if result := compare([part[system.name] - part[baseline.name] for part in have]):
                found.append((system, result))
    adjusted = holm([result.p for _, result in found])
    return [Difference(system, result, p) for (system, result), p in zip(found, adjusted, strict=True)]


def probability(p: float) -> str:
    """A p-value as text."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
