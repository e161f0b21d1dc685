"""Systems: what a table's line or a picture's marker stands for, with the figures that a report asks of them.

A system is one setting of an evaluation on runs that differ only in their seed (see `experiment.report.grouping`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from experiment.report.metric_names import USUAL
from experiment.report.run_files import finite
from experiment.report.runs import BM25, PLAIN, Evaluation, RunResults
from experiment.report.shapes import Shape
from sparse_model.errors import UserError

SEEDS = ("seed", "data_seed")
SWEPT = {"flops_threshold": "t", "flops_d_lambda": "λ"}


@dataclass(frozen=True)
class System:
    """Members are (run, evaluation) pairs, one a seed; `label` says what sets it apart in its family.

    `varied` is the key of SWEPT that alone does so, if one does. `metrics` are the figures of quality that a report
    shows, the same for all its systems; they are compared by the first.
    """

    name: str
    family: str
    kind: str
    members: tuple[tuple[RunResults, Evaluation], ...]
    label: str = ""
    is_main: bool = False  # whether it can be a marker: a model's main evaluation
    varied: str = ""
    metrics: tuple[str, ...] = USUAL

    @property
    def run(self) -> RunResults:
        """The run that speaks for all: the first."""
        return self.members[0][0]

    @property
    def shape(self) -> Shape:
        """What became of its vectors."""
        return self.members[0][1].shape

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that its averages are over, the same for all members."""
        return self.members[0][1].datasets

    def setting(self, key: str) -> Any:
        """A key of the config; None where nothing was trained."""
        return self.run.config.get(key) if self.run.is_trained and self.kind != BM25 else None

    def values(self, key: str, datasets: Iterable[str]) -> list[float]:
        """A member's mean over the data sets, for each member; none unless all have it."""
        datasets = tuple(datasets)
        found = [
            run_seconds(run, evaluation) if key == "seconds" else evaluation.average(key, datasets)
            for run, evaluation in self.members
        ]
        return [value for value in found if value is not None] if None not in found else []

    def quality(self, datasets: Iterable[str]) -> float | None:
        """The figure that systems are compared by."""
        return self.figure(self.metrics[0], datasets)

    def figure(self, key: str, datasets: Iterable[str]) -> float | None:
        """The mean over members of their means over the data sets; None if it is not known."""
        values = self.values(key, datasets)
        return mean(values) if values else None

    def spread(self, key: str, datasets: Iterable[str]) -> float | None:
        """The standard deviation over seeds; None for a single run."""
        values = self.values(key, datasets)
        return stdev(values) if len(values) > 1 else None


def run_seconds(run: RunResults, evaluation: Evaluation) -> float | None:
    """Training and evaluation together; half of a sum would look like a fast run."""
    if not run.is_trained or evaluation.is_bm25:
        return evaluation.seconds
    parts = (run.train_seconds, evaluation.seconds)
    return None if None in parts else sum(part for part in parts if part is not None)


def family_numbers(systems: Iterable[System]) -> dict[str, int]:
    """Each family's number, which stands for its colour and marker in every picture."""
    return {family: number for number, family in enumerate(dict.fromkeys(system.family for system in systems))}


def plain(value: Any) -> str:
    """A setting as a reader would write it; a threshold or λ that is not set is none."""
    return f"{value:g}" if finite(value) else "none" if value is None else str(value)


def is_sweep(members: Sequence[System]) -> bool:
    """Whether systems of a family lie on one curve: two or more of the same kind."""
    return len(members) > 1 and len({system.kind for system in members}) == 1


def main_datasets(systems: Sequence[System]) -> tuple[str, ...]:
    """The data sets that most models have in common, as a list; of two such lists the longer one."""
    lists = Counter(system.datasets for system in systems if system.is_main and system.datasets)
    lists = lists or Counter(system.datasets for system in systems if system.datasets)
    return max(lists, key=lambda names: (lists[names], len(names), names), default=())


def find_baseline(systems: Sequence[System], datasets: Sequence[str], name: str | None) -> System | None:
    """The system called `name`; without one, the best of the family `baseline`, else of plain FLOPS, else BM25.

    Raises:
        UserError: if there is none of that name.
    """
    if name is not None:
        if found := next((system for system in systems if system.name == name), None):
            return found
        raise UserError(f"--baseline {name}: no such system; there are {', '.join(s.name for s in systems) or 'none'}")
    for attribute, wanted in (("family", "baseline"), ("kind", PLAIN), ("kind", BM25)):
        group = [s for s in systems if getattr(s, attribute) == wanted and (s.is_main or s.kind == BM25)]
        scored = [(value, s) for s in group if (value := s.quality(datasets)) is not None]
        if scored:
            return max(scored, key=lambda pair: pair[0])[1]
    return None
