"""Tables that compare systems with a baseline: query by query at their own costs, and families at equal cost."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from experiment.report.area import Area, area_between, resampled_means
from experiment.report.costs import COSTS
from experiment.report.differences import LEVEL, differences_to, probability
from experiment.report.metric_names import heading
from experiment.report.parts import Cell, Section, Table
from experiment.report.query_scores import Scores, query_scores
from experiment.report.result_tables import average_heading, number, short_heading
from experiment.report.shapes import FREE
from experiment.report.systems import System, is_sweep

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
    scopes = {average_heading(main): main}
    scopes |= {average_heading(datasets, name): datasets for name, datasets in groups.items()}
    scopes |= {dataset: (dataset,) for dataset in wanted if len(wanted) > 1}
    tables = [_differences(what, others, baseline, datasets, scores) for what, datasets in scopes.items()]
    tables = [replace(table, folded=index > len(groups)) for index, table in enumerate(tables) if table.lines]
    text = [
        f"Baseline: {baseline.name}. Paired t-tests on the {heading(baseline.metrics[0])} of each query, seeds "
        "averaged before; over several data sets the mean of their means is tested. Holm: p corrected for all "
        "comparisons of its table. Effect: the mean in standard deviations of a query's difference. Bold: Holm's p "
        f"below {LEVEL}. Intervals are about other queries, not about training with another seed. The systems are "
        "compared as they are, at unequal costs; the areas compare at equal cost."
    ]
    return Section(title, text + missing, tables)


def _differences(
    title: str, systems: Sequence[System], baseline: System, datasets: tuple[str, ...], scores: Scores
) -> Table:
    heads = ["run", heading(baseline.metrics[0]), "difference", "95 % interval", "effect", "p", "p (Holm)", "queries"]
    lines = []
    for one in differences_to(baseline, systems, datasets, scores):
        result = one.result
        interval = Cell(f"{result.low:+.4f} to {result.high:+.4f}", f"{result.low} to {result.high}")
        lines.append(
            [
                Cell(one.system.name),
                number(one.system.quality(datasets)),
                _difference(result.mean, one.is_significant),
                interval,
                number(result.effect, "+.2f"),
                *(Cell(probability(p), str(p)) for p in (result.p, one.p)),
                Cell(str(result.queries)),
            ]
        )
    return Table(title, heads, lines)


def _difference(mean: float, is_clear: bool) -> Cell:
    """Marked as better or worse if it is clear that it is one of them."""
    return replace(number(mean, "+.4f"), mark=("best" if mean > 0 else "worse") if is_clear else "")


def area_section(
    systems: Sequence[System], baseline: System | None, datasets: tuple[str, ...], group: str = ""
) -> Section:
    """How much better each family is than the baseline's at equal cost, over the costs that both cover.

    The explanation stands with the main data sets only; a group's section has the tables.
    """
    title = f"Quality at equal cost{', ' if group or datasets else ''}{group or short_heading(datasets)}"
    curves, single = family_curves(systems, datasets)
    text = [f"No curve, since it has no two runs of one kind: {', '.join(single)}."] if single and not group else []
    bases = [base for base in dict.fromkeys([baseline.family if baseline else "", FREE]) if base in curves]
    if not bases or len(curves) < 2:
        needed = "Areas need two families of two or more runs, the baseline's among them."
        return Section(title, [] if group else [needed, *text])
    draws = query_draws([system for members in curves.values() for system in members], datasets)
    tables = [_areas(curves, base, key, datasets, draws) for base in bases for key in COSTS]
    if len(curves) > 2:
        tables.append(_pairs(curves, datasets, draws))
    quality = heading(systems[0].metrics[0])
    explanation = (
        f"The area between a family's curve and that of {' and of '.join(bases)}, divided by the width: the mean "
        f"difference in {quality} over the common range, each step of the cost's logarithm counting the same. A curve "
        f"is the best {quality} at most that cost, interpolated monotonically. Interval: 95 % of {ROUNDS} draws of the "
        "queries; training another seed would vary it further, and none is corrected for the number of comparisons. "
        "Bold: the interval is all above or all below 0."
    )
    return Section(title, [*([] if group else [explanation]), *text], tables)


def family_curves(systems: Sequence[System], datasets: tuple[str, ...]) -> tuple[dict[str, list[System]], list[str]]:
    """(each family that lies on a curve of quality against cost with its systems, the families that do not)."""
    families: dict[str, list[System]] = {}
    for system in systems:
        if system.is_main and all(system.values(key, datasets) for key in (system.metrics[0], *COSTS)):
            families.setdefault(system.family, []).append(system)
    curves = {family: members for family, members in families.items() if is_sweep(members)}
    return curves, sorted(families.keys() - curves.keys())


def query_draws(systems: Sequence[System], datasets: tuple[str, ...]) -> dict[str, np.ndarray]:
    """System to its mean quality in each draw of the queries, [rounds], for those whose single queries are known."""
    scores, _ = query_scores(systems, datasets)
    names = [s.name for s in systems if all(s.name in scores.get(dataset, {}) for dataset in datasets)]
    if not names:
        return {}
    drawn = resampled_means([np.stack([scores[dataset][name] for name in names]) for dataset in datasets], ROUNDS)
    return dict(zip(names, drawn.T, strict=True))


def _areas(
    curves: dict[str, list[System]], base: str, key: str, datasets: tuple[str, ...], draws: dict[str, np.ndarray]
) -> Table:
    lines = []
    for family, members in curves.items():
        if family == base:
            continue
        found = family_area(members, curves[base], key, datasets, draws)
        common = f"{found.low:.3g} to {found.high:.3g}" if found else "–"
        lines.append([Cell(family), _mean(found), Cell(interval_words(found)), Cell(common), Cell(str(len(members)))])
    title = f"At equal {COSTS[key].short}, against {base}"
    return Table(title, ["family", "mean difference", "95 % interval", f"range of {COSTS[key].short}", "runs"], lines)


def _pairs(curves: dict[str, list[System]], datasets: tuple[str, ...], draws: dict[str, np.ndarray]) -> Table:
    """Every family's curve against every other's."""
    cells = {(family, family): Cell() for family in curves}
    for one, other in combinations(curves, 2):
        found = family_area(curves[one], curves[other], "flops", datasets, draws)
        cells[one, other], cells[other, one] = _mean(found), _mean(found and found.turned_round)
    lines = [[Cell(family), *(cells[family, other] for other in curves)] for family in curves]
    return Table("At equal FLOPS, each family (row) minus each other (column)", ["family", *curves], lines)


def family_area(
    ours: list[System], base: list[System], key: str, datasets: tuple[str, ...], draws: dict[str, np.ndarray]
) -> Area | None:
    """The area between two families' curves of quality against the cost `key`; draws: see `query_draws`."""
    both = [*ours, *base]
    costs, quality = (np.array([s.figure(k, datasets) for s in both], dtype=float) for k in (key, both[0].metrics[0]))
    n = len(ours)
    found = area_between(costs[:n], quality[:n], costs[n:], quality[n:])
    if found is None or any(system.name not in draws for system in both):
        return found
    drawn = np.stack([draws[system.name] for system in both], axis=1)
    areas = [area_between(costs[:n], row[:n], costs[n:], row[n:]) for row in drawn]
    low, high = np.quantile([area.mean for area in areas if area], [0.025, 0.975])
    return replace(found, interval=(float(low), float(high)))


def _mean(area: Area | None) -> Cell:
    if area is None:
        return Cell("–", "no common range")
    return _difference(area.mean, area.interval is not None and area.interval[0] * area.interval[1] > 0)


def interval_words(area: Area | None) -> str:
    """Its 95 % interval; a dash without one."""
    return f"{area.interval[0]:+.4f} to {area.interval[1]:+.4f}" if area and area.interval else "–"
