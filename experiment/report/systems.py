"""Systems: what a table's line or a picture's marker stands for. Runs that differ only in their seed are one.

A system is one setting of an evaluation on such runs. Systems belong to a family, the folder that their run folders
lie in; a folder alone, or one that sweeps several kinds of runs, is split by kind.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from experiment.report.metric_names import USUAL
from experiment.report.run_files import finite
from experiment.report.runs import BM25, DEFAULT, PLAIN, Evaluation, RunResults
from experiment.settings.effects import Changes
from experiment.settings.keys import keys_that_change
from sparse_model.errors import UserError

SEEDS = ("seed", "data_seed")
# What runs that are averaged have in common.
DECIDING = keys_that_change(Changes.WEIGHTS | Changes.LENGTH)
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


def make_systems(runs: Sequence[RunResults]) -> list[System]:
    """The systems that the runs' evaluations stand for, in the order in which they are shown."""
    usual = Counter(e.name for run in runs for e in run.evaluations if not e.is_bm25)
    main = max(usual, key=lambda name: (usual[name], name == DEFAULT), default=DEFAULT)
    nothing = Evaluation(main, (), {}, {}, False, [])  # so that a run that was not evaluated is a system too
    groups: dict[str, list[tuple[RunResults, Evaluation]]] = {}
    for run in runs:
        for evaluation in run.evaluations or [nothing]:
            members = groups.setdefault(_same(run, evaluation), [])
            seeds = [other.config.get(SEEDS[0]) for other, _ in members]
            if run.config.get(SEEDS[0]) in seeds and not evaluation.is_bm25:
                members = groups.setdefault(run.name + evaluation.name, [])  # the same run again, and no other seed
            members.append((run, evaluation))
    metrics = main_metrics(runs)
    systems = [replace(_system(members, main), metrics=metrics) for members in groups.values()]
    return _in_order(_with_labels(_with_families(_told_apart(systems))))


def main_metrics(runs: Iterable[RunResults]) -> tuple[str, ...]:
    """The metrics of most evaluations of models, as a list; without any, those of BM25's."""
    lists = Counter(e.metrics for run in runs for e in run.evaluations if not e.is_bm25)
    lists = lists or Counter(e.metrics for run in runs for e in run.evaluations)
    return max(lists, key=lambda metrics: lists[metrics], default=USUAL)


def _in_order(systems: list[System]) -> list[System]:
    """Families as they come, by rising t and λ in each, BM25 last."""
    families = family_numbers(systems)

    def place(system: System) -> tuple[float, ...]:
        settings = [system.setting(key) for key in SWEPT]
        return system.kind == BM25, families[system.family], *(v if finite(v) else math.inf for v in settings)

    return sorted(systems, key=place)


def family_numbers(systems: Iterable[System]) -> dict[str, int]:
    """Each family's number, which stands for its colour and marker in every picture."""
    return {family: number for number, family in enumerate(dict.fromkeys(system.family for system in systems))}


def _same(run: RunResults, evaluation: Evaluation) -> str:
    """Equal for what may be averaged: data sets, all that changes weights but the seed; BM25's figures."""
    if evaluation.is_bm25:
        return repr(
            (BM25, evaluation.name, evaluation.datasets, evaluation.average(evaluation.metrics[0], evaluation.datasets))
        )
    if not run.is_trained or not evaluation.datasets:
        return repr((run.name, evaluation.name))
    keys = {
        key: run.config.get(key)
        for key in (*keys_that_change(Changes.WEIGHTS | Changes.LENGTH), "use_l0")
        if key not in SEEDS
    }
    facts = [run.record.get(fact) for fact in ("data hash", "processes")]
    return repr((evaluation.name, evaluation.datasets, keys, facts))


def _system(members: list[tuple[RunResults, Evaluation]], main: str) -> System:
    run, evaluation = members[0]
    if evaluation.is_bm25:
        name = BM25 if evaluation.name in (DEFAULT, "baseline-bm25") else f"{BM25} · {evaluation.name}"
        return System(name, BM25, BM25, (members[0],))
    name = run.name
    if len(members) > 1:
        name = without_seed(name)
    name += "" if evaluation.name == main else f" · {evaluation.name}"
    return System(name, run.folder.resolve().parent.name, run.kind, tuple(members), is_main=evaluation.name == main)


def without_seed(name: str) -> str:
    """The name of runs that differ in their seed only."""
    return re.sub(r"[-_.]?seed[-_=]?\d+$", "", name) or name


def _told_apart(systems: list[System]) -> list[System]:
    """Two systems never share a name."""
    used = Counter(system.name for system in systems)
    seen: Counter[str] = Counter()
    renamed = []
    for system in systems:
        seen[system.name] += 1
        again = used[system.name] > 1 and seen[system.name] > 1
        renamed.append(replace(system, name=f"{system.name} ({seen[system.name]})") if again else system)
    return renamed


def _with_families(systems: list[System]) -> list[System]:
    kinds: dict[str, Counter[str]] = {}
    for system in systems:
        if system.is_main and system.datasets:
            kinds.setdefault(system.family, Counter())[system.kind] += 1
    alone = len(kinds) == 1
    split = {family for family, found in kinds.items() if alone or (len(found) > 1 and max(found.values()) > 1)}
    return [
        replace(system, family=system.kind if alone else f"{system.family}: {system.kind}")
        if system.family in split
        else system
        for system in systems
    ]


def _with_labels(systems: list[System]) -> list[System]:
    """Labels say which of λ and t a family varies; where that is not all, the run's name."""
    families: dict[str, list[System]] = {}
    for system in systems:
        families.setdefault(system.family, []).append(system)
    labels: dict[str, tuple[str, str]] = {}
    for members in families.values():
        main = [system for system in members if system.is_main]
        one_kind = len({system.kind for system in main if system.datasets}) == 1
        varied = [key for key in SWEPT if one_kind and len({str(system.setting(key)) for system in main}) > 1]
        found = [", ".join(f"{SWEPT[key]} = {plain(system.setting(key))}" for key in varied) for system in main]
        for system, label in zip(main, found, strict=True):
            is_told = bool(varied) and found.count(label) == 1
            alone = varied[0] if is_told and len(varied) == 1 else ""
            labels[system.name] = (label, alone) if is_told else (Path(system.name).name, "")
    told = [labels.get(system.name, (system.name, "")) for system in systems]
    return [replace(system, label=label, varied=key) for system, (label, key) in zip(systems, told, strict=True)]


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
