"""Groups evaluations of runs into systems, systems into families, and says what sets each apart in its family.

Runs that differ only in their seed are one system. Systems belong to a family, the folder that their run folders lie
in; a folder alone, or one that sweeps several kinds of runs, is split by kind.
"""

import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiment.report.metric_names import USUAL
from experiment.report.run_files import finite
from experiment.report.runs import BM25, DEFAULT, Evaluation, RunResults
from experiment.report.shapes import curve, label
from experiment.report.systems import SEEDS, SWEPT, System, family_numbers, plain
from experiment.settings.effects import Changes
from experiment.settings.keys import keys_that_change

# What runs that are averaged have in common.
DECIDING = keys_that_change(Changes.WEIGHTS | Changes.LENGTH)


def make_systems(runs: Sequence[RunResults]) -> list[System]:
    """The systems that the runs' evaluations stand for, in the order in which they are shown."""
    usual = Counter(e.setting for run in runs for e in run.evaluations if not e.is_bm25)
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
    starts = {run.config.get("model_name_or_path") for run in runs if run.is_trained}
    systems = [replace(_system(members, main), metrics=metrics) for members in groups.values()]
    return _in_order(_with_labels(_with_families(_told_apart(systems), starts)))


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


def _same(run: RunResults, evaluation: Evaluation) -> str:
    """Equal for what may be averaged: data sets, all that changes weights but the seed; BM25's figures."""
    if evaluation.is_bm25:
        return repr(
            (BM25, evaluation.name, evaluation.datasets, evaluation.average(evaluation.metrics[0], evaluation.datasets))
        )
    if not run.is_trained or not evaluation.datasets:
        return repr((run.name, evaluation.name))
    keys = {key: run.config.get(key) for key in DECIDING if key not in SEEDS}
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
    is_main = evaluation.setting == main
    told = ", ".join(filter(None, [curve(evaluation.shape), label(evaluation.shape)])) if evaluation.shape else ""
    name += f" · {told if is_main else evaluation.name}" if evaluation.name != main else ""
    return System(name, run.folder.resolve().parent.name, run.kind, tuple(members), is_main=is_main)


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


def _with_families(systems: list[System], starts: Container[Any]) -> list[System]:
    """Runs by their folders; what was made of their vectors afterwards is another family, of another kind.

    Args:
        starts: the models that trainings started from.
    """
    kinds: dict[str, Counter[str]] = {}
    for system in systems:
        if system.is_main and system.datasets and not system.shape:
            kinds.setdefault(system.family, Counter())[system.kind] += 1
    alone = len(kinds) == 1
    split = {family for family, found in kinds.items() if alone or (len(found) > 1 and max(found.values()) > 1)}
    cut = {system.run.name for system in systems if system.shape and not system.run.is_trained}
    placed = []
    for system in systems:
        family = system.family
        if family in split:
            family = system.kind if alone else f"{family}: {system.kind}"
        if system.run.name in cut and system.is_main:
            placed.append(_untrained(system, starts))
        elif made := curve(system.shape):
            placed.append(replace(system, family=f"{family}, {made}", kind=f"{system.kind}, {made}"))
        else:
            placed.append(replace(system, family=family))
    return placed


def _untrained(system: System, starts: Container[Any]) -> System:
    """A model that was not trained here and is cut: whole and cut it is one curve."""
    is_start = system.run.config.get("model_name_or_path") in starts
    named = "start model" if is_start else Path(system.run.name).name
    family = f"{named}, {curve(system.shape) or 'cut'}"
    return replace(system, family=family, kind=family, label=label(system.shape))


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
        for system, told in zip(main, found, strict=True):
            is_told = bool(varied) and found.count(told) == 1
            alone = varied[0] if is_told and len(varied) == 1 else ""
            labels[system.name] = (told, alone) if is_told else (system.label or Path(system.name).name, "")
    chosen = [labels.get(system.name, (system.name, "")) for system in systems]
    return [replace(system, label=text, varied=key) for system, (text, key) in zip(systems, chosen, strict=True)]
