"""Tables that compare systems with a baseline: query by query at their own costs, and families at equal cost."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from experiment.report.area import Area, area_between, resampled_means
from experiment.report.pictures import COSTS
from experiment.report.significance import Comparison, compare, holm
from experiment.report.systems import Scores, System, is_sweep, query_scores
from experiment.report.tables import Cell, Section, Table, heading, number, short_heading

LEVEL = 0.05
ROUNDS = 500  # resamples of the queries behind an area's interval


def significance_section(
    systems: Sequence[System], baseline: System | None, main: tuple[str, ...], groups: dict[str, tuple[str, ...]]
) -> Section:
    """The differences to the baseline over all data sets, over groups of them, and for each."""
    title = "Differences to the baseline"
    if baseline is None:
        return Section(title, ["No baseline: no run of plain FLOPS and no BM25 was scored on these data sets; "
                               "--baseline names another."])  # fmt: skip
    others = [system for system in systems if system is not baseline]
    wanted = list(dict.fromkeys([*main, *(name for datasets in groups.values() for name in datasets)]))
    scores, missing = query_scores([baseline, *others], wanted)
    scopes = {heading(main): main} | {heading(datasets, name): datasets for name, datasets in groups.items()}
    scopes |= {dataset: (dataset,) for dataset in wanted if len(wanted) > 1}
    tables = [_differences(what, others, baseline, datasets, scores) for what, datasets in scopes.items()]
    tables = [replace(table, folded=index > len(groups)) for index, table in enumerate(tables) if table.lines]
    text = [
        f"Baseline: {baseline.name}. Paired t-tests on the NDCG@10 of each query, seeds averaged before; over several "
        "data sets the mean of their means is tested. Holm: p corrected for all comparisons of its table. "
        f"Effect: the mean in standard deviations of a query's difference. Bold: Holm's p below {LEVEL}. Intervals are "
        "about other queries, not about training with another seed. The systems are compared as they are, at unequal "
        "costs; the areas compare at equal cost."
    ]
    return Section(title, text + missing, tables)


def _differences(
    title: str, systems: Sequence[System], baseline: System, datasets: tuple[str, ...], scores: Scores
) -> Table:
    found: list[tuple[System, Comparison]] = []
    for system in systems:
        have = [scores.get(dataset, {}) for dataset in datasets]
        if all({system.name, baseline.name} <= part.keys() for part in have):
            if result := compare([part[system.name] - part[baseline.name] for part in have]):
                found.append((system, result))
    adjusted = holm([result.p for _, result in found])
    heads = ["run", "NDCG@10", "difference", "95 % interval", "effect", "p", "p (Holm)", "queries"]
    lines = []
    for (system, result), p in zip(found, adjusted, strict=True):
        interval = Cell(f"{result.low:+.4f} to {result.high:+.4f}", f"{result.low} to {result.high}")
        lines.append(
            [
                Cell(system.name),
                number(system.figure("ndcg@10", datasets)),
                _difference(result.mean, p < LEVEL),
                interval,
                number(result.effect, "+.2f"),
                *(Cell("< 0.0001" if one < 1e-4 else f"{one:.4f}", str(one)) for one in (result.p, p)),
                Cell(str(result.queries)),
            ]
        )
    return Table(title, heads, lines)


def _difference(mean: float, is_clear: bool) -> Cell:
    """Marked as better or worse if it is clear that it is one of them."""
    return replace(number(mean, "+.4f"), mark=("best" if mean > 0 else "worse") if is_clear else "")


def area_section(
    systems: Sequence[System], baseline: System | None, datasets: tuple[str, ...], name: str = ""
) -> Section:
    """How much better each family is than the baseline's at equal cost, over the costs that both cover."""
    title = f"Quality at equal cost{', ' if name or datasets else ''}{name or short_heading(datasets)}"
    families: dict[str, list[System]] = {}
    for system in systems:
        if system.is_main and all(system.values(key, datasets) for key in ("ndcg@10", *COSTS)):
            families.setdefault(system.family, []).append(system)
    curves = {name: members for name, members in families.items() if is_sweep(members)}
    single = sorted(families.keys() - curves.keys())
    text = [f"No curve, since it has no two runs of one kind: {', '.join(single)}."] if single else []
    if baseline is None or baseline.family not in curves or len(curves) < 2:
        return Section(title, ["Areas need two families of two or more runs, the baseline's among them.", *text])
    scores, _ = query_scores([s for members in curves.values() for s in members], datasets)
    tables = [_areas(curves, baseline.family, key, datasets, scores) for key in COSTS]
    if len(curves) > 2:
        tables.append(_pairs(curves, datasets, scores))
    explanation = (
        f"The area between a family's curve and that of {baseline.family}, divided by the width: the mean difference "
        "in NDCG@10 over the common range, each step of the cost's logarithm counting the same. A curve is the best "
        f"NDCG@10 at most that cost, interpolated monotonically. Interval: 95 % of {ROUNDS} draws of the queries; "
        "training another seed would vary it further. Bold: the interval is all above or all below 0."
    )
    return Section(title, [explanation, *text], tables)


def _areas(curves: dict[str, list[System]], base: str, key: str, datasets: tuple[str, ...], scores: Scores) -> Table:
    lines = []
    for family, members in curves.items():
        if family == base:
            continue
        found = _area(members, curves[base], key, datasets, scores)
        interval = f"{found.interval[0]:+.4f} to {found.interval[1]:+.4f}" if found and found.interval else "–"
        common = Cell(f"{found.low:.3g} to {found.high:.3g}" if found else "–")
        lines.append([Cell(family), _mean(found), Cell(interval), common, Cell(str(len(members)))])
    title = f"At equal {COSTS[key][0]}, against {base}"
    return Table(title, ["family", "mean difference", "95 % interval", f"range of {COSTS[key][0]}", "runs"], lines)


def _pairs(curves: dict[str, list[System]], datasets: tuple[str, ...], scores: Scores) -> Table:
    """Every family's curve against every other's."""
    lines = []
    for family, members in curves.items():
        others = [
            Cell() if other == family else _mean(_area(members, base, "flops", datasets, scores))
            for other, base in curves.items()
        ]
        lines.append([Cell(family), *others])
    return Table("At equal FLOPS, each family (row) minus each other (column)", ["family", *curves], lines)


def _mean(area: Area | None) -> Cell:
    if area is None:
        return Cell("–", "no common range")
    return _difference(area.mean, area.interval is not None and area.interval[0] * area.interval[1] > 0)


def _area(ours: list[System], base: list[System], key: str, datasets: tuple[str, ...], scores: Scores) -> Area | None:
    costs, quality = (
        np.array([system.figure(k, datasets) for system in [*ours, *base]], dtype=float) for k in (key, "ndcg@10")
    )
    n = len(ours)
    found = area_between(costs[:n], quality[:n], costs[n:], quality[n:])
    names = [system.name for system in [*ours, *base]]
    if found is None or any(name not in scores.get(dataset, {}) for dataset in datasets for name in names):
        return found
    drawn = resampled_means([np.stack([scores[d][name] for name in names]) for d in datasets], ROUNDS)
    areas = [area_between(costs[:n], row[:n], costs[n:], row[n:]) for row in drawn]
    low, high = np.quantile([area.mean for area in areas if area], [0.025, 0.975])
    return replace(found, interval=(float(low), float(high)))
