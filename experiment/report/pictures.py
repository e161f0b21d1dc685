"""Which pictures a report has, and what each of them leaves out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiment.report.costs import COSTS
from experiment.report.curves import Series, heat_map, rows_picture, sweep_picture
from experiment.report.metric_names import heading
from experiment.report.parts import Picture
from experiment.report.quality import Point, quality_picture
from experiment.report.result_tables import short_heading
from experiment.report.run_files import finite
from experiment.report.runs import BM25
from experiment.report.systems import SWEPT, System, family_numbers, is_sweep, plain
from experiment.report.training_curves import LINES_A_ROW, training_picture


@dataclass(frozen=True)
class Swept:
    """A setting that families vary: its axis, and its picture's file."""

    axis: str
    file: str


CURVES = {
    "flops_threshold": Swept("t, tokens up to which a document is not regularised", "threshold_curve"),
    "flops_d_lambda": Swept("λ", "lambda_curve"),
}


def quality_pictures(systems: Sequence[System], datasets: tuple[str, ...], name: str = "") -> list[Picture]:
    """Quality over `datasets` against each cost; `name` is part of the file names ("": the main ones)."""
    pictures = []
    for key, cost in COSTS.items():
        shown = [s for s in systems if s.is_main and all(s.values(k, datasets) for k in (s.metrics[0], key))]
        if not shown:
            continue
        quality = heading(shown[0].metrics[0])
        numbers = family_numbers(systems)
        members = {system.family: [s for s in shown if s.family == system.family] for system in shown}
        curved = {family for family, found in members.items() if is_sweep(found)}
        points = [_point(s, key, datasets, numbers[s.family], s.family in curved) for s in shown]
        symbols = {s.family: f"{s.family} (varies {SWEPT[s.varied]})" for s in shown if s.varied}
        points = [replace(point, family=symbols.get(point.family, point.family)) for point in points]
        bm25 = {s.name: s.quality(datasets) for s in systems if s.kind == BM25}
        file = f"quality_{cost.file}{'_' + slug(name) if name else ''}"
        over = short_heading(datasets)
        lines = {baseline: y for baseline, y in bm25.items() if y is not None}
        y_label = f"{quality}, {name + ', ' if name and name != over else ''}{over}"
        drawing, narrow = (quality_picture(file, points, lines, cost.axis, y_label, slim) for slim in (False, True))
        left_out = _left_out(systems, shown, key, datasets)
        parts = [_bars(shown)]
        if any(point.on_curve for point in points):
            curves = f"Lines: the best {quality} at most that {cost.short}"
            parts.insert(0, f"{curves}; hollow markers lie below their family's line.")
        title = f"{quality} against {cost.short}{', ' + name if name else ''}"
        pictures.append(Picture(f"{file}.png", title, drawing, narrow, left_out, " ".join(filter(None, parts))))
    return pictures


def sweep_pictures(systems: Sequence[System], datasets: tuple[str, ...]) -> list[Picture]:
    """What t and λ do, where a family varies one of them while all else is the same."""
    pictures, numbers = [], family_numbers(systems)
    for key, symbol in SWEPT.items():
        other = next(k for k in SWEPT if k != key)
        lines: dict[str, list[System]] = {}
        for system in _complete(systems, datasets):
            if isinstance(system.setting(key), (int, float)):
                fixed = f"{SWEPT[other]} = {plain(system.setting(other))}"
                lines.setdefault(f"{system.family} ({fixed})", []).append(system)
        swept = {name: members for name, members in lines.items() if is_sweep(members)}
        series = [
            _series(name, members, datasets, [s.setting(key) for s in members], numbers[members[0].family])
            for name, members in swept.items()
            if len({system.setting(key) for system in members}) > 1
        ]
        if series:
            curve = CURVES[key]
            panels = _panels(systems)
            drawing, narrow = (sweep_picture(curve.file, series, curve.axis, panels, slim) for slim in (False, True))
            title = f"What {symbol} does, {short_heading(datasets)}"
            pictures.append(Picture(f"{curve.file}.png", title, drawing, narrow, explanation=_bars(systems)))
    return pictures


def activation_picture(systems: Sequence[System], datasets: tuple[str, ...]) -> list[Picture]:
    """Activations side by side, for each t and λ that at least two of them were trained with."""
    cells: dict[tuple[float, float], dict[str, System]] = {}
    for system in _complete(systems, datasets):
        threshold, weight = (system.setting(key) for key in SWEPT)
        if finite(weight) and (threshold is None or finite(threshold)):
            place = (-1.0 if threshold is None else float(threshold), float(weight))
            cells.setdefault(place, {}).setdefault(_activation(system), system)
    compared = {place: found for place, found in sorted(cells.items()) if len(found) > 1}
    if not compared:
        return []
    rows = [f"t = {plain(None if t < 0 else t)}, λ = {weight:g}" for t, weight in compared]
    names = sorted({name for found in compared.values() for name in found})
    series = []
    for number, name in enumerate(names):
        places = [index for index, found in enumerate(compared.values()) if name in found]
        members = [found[name] for found in compared.values() if name in found]
        series.append(_series(name, members, datasets, places, number))
    drawing, narrow = (rows_picture("activations", rows, series, _panels(systems), slim) for slim in (False, True))
    title = f"Activations at equal t and λ, {short_heading(datasets)}"
    return [Picture("activations.png", title, drawing, narrow, explanation=_bars(systems))]


def dataset_picture(systems: Sequence[System], datasets: tuple[str, ...]) -> list[Picture]:
    """The heat map of systems × data sets, the average last."""
    shown = [s for s in systems if s.datasets and any(s.values(s.metrics[0], [name]) for name in datasets)]
    if len(datasets) < 2 or not shown:
        return []
    columns = [(name,) for name in datasets] + [datasets]
    values = np.array([[s.quality(c) for c in columns] for s in shown], dtype=float)
    quality = heading(shown[0].metrics[0])
    drawing = heat_map("datasets", quality, [s.name for s in shown], [*datasets, "average"], values)
    explanation = "Shades: from the lowest (light) to the highest (dark) of each column."
    return [Picture("datasets.png", f"{quality} by data set", drawing, explanation=explanation)]


def training_pictures(systems: Sequence[System]) -> list[Picture]:
    """Training curves by family; of several seeds the first."""
    families: dict[str, dict[str, list]] = {}
    for system in systems:
        if system.is_main and system.run.metrics:
            members = families.setdefault(system.family, {})
            members[system.label if system.label not in members else system.name] = system.run.metrics
    drawing, narrow = (training_picture(families, slim) for slim in (False, True))
    if drawing is None:
        return []
    crowded = [family for family, members in families.items() if len(members) > LINES_A_ROW]
    notes = [f"{family}: all but {LINES_A_ROW} of {len(families[family])} runs, spread evenly" for family in crowded]
    several = any(len(system.members) > 1 for system in systems)
    explanation = "Of several seeds the first is drawn." if several else ""
    return [Picture("training_curves.png", "Training, step by step", drawing, narrow, notes, explanation)]


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def describe(system: System, datasets: Iterable[str]) -> str:
    """What a reader sees who points at a system: name, family, settings and figures."""
    datasets = tuple(datasets)
    names = {system.metrics[0]: heading(system.metrics[0])} | {key: cost.short for key, cost in COSTS.items()}
    figures = [
        f"{name} {value:.4g}" for key, name in names.items() if (value := system.figure(key, datasets)) is not None
    ]
    keys = ("activation_type", "flops_threshold", "flops_d_lambda")
    settings = [
        f"{SWEPT.get(key, 'activation')} = {plain(system.setting(key))}" for key in keys if system.run.is_trained
    ]
    seeds = [f"{len(system.members)} seeds"] if len(system.members) > 1 else []
    return "\n".join([system.name, f"{system.family}, {system.kind}", *settings, *figures, *seeds])


def _point(system: System, key: str, datasets: tuple[str, ...], number: int, on_curve: bool) -> Point:
    return Point(
        plain(system.setting(system.varied)) if system.varied else system.label,
        system.family,
        system.figure(key, datasets) or 0.0,
        system.quality(datasets) or 0.0,
        system.spread(key, datasets) or 0.0,
        system.spread(system.metrics[0], datasets) or 0.0,
        on_curve,
        number,
        describe(system, datasets),
    )


def _figures(system: System) -> tuple[str, ...]:
    """What panels show: quality, then the costs."""
    return (system.metrics[0], *COSTS)


def _panels(systems: Sequence[System]) -> list[str]:
    return [heading(systems[0].metrics[0]), *(cost.panel for cost in COSTS.values())]


def _complete(systems: Sequence[System], datasets: tuple[str, ...]) -> list[System]:
    return [s for s in systems if s.is_main and datasets and all(s.values(key, datasets) for key in _figures(s))]


def _series(name: str, members: list[System], datasets: tuple[str, ...], xs: Sequence[float], number: int) -> Series:
    ys = [[system.figure(key, datasets) or 0.0 for system in members] for key in _figures(members[0])]
    errors = [[system.spread(key, datasets) or 0.0 for system in members] for key in _figures(members[0])]
    return Series(name, list(xs), ys, errors, [describe(system, datasets) for system in members], number)


def _bars(systems: Iterable[System]) -> str:
    """What error bars mean, where there are any."""
    return "Bars: standard deviation over seeds." if any(len(system.members) > 1 for system in systems) else ""


def _activation(system: System) -> str:
    return (
        f"{system.setting('activation_type') or 'relu'}{', decoupled' if system.setting('decouple_activation') else ''}"
    )


def _left_out(systems: Sequence[System], shown: list[System], key: str, datasets: tuple[str, ...]) -> list[str]:
    """A sentence for each model that a picture does not show, with the reason."""
    notes = []
    drawn = {run.name for system in shown for run, _ in system.members}
    for system in systems:
        if system.kind == BM25 or system.run.name in drawn:
            continue
        if not system.datasets:
            reason = "not evaluated"
        elif not system.is_main:
            reason = "evaluated with other settings only"
        elif missing := [name for name in datasets if not system.values(system.metrics[0], [name])]:
            reason = f"not scored on {', '.join(missing)}, but on {', '.join(system.datasets)}"
        else:
            reason = f"has no {key}"
        drawn.add(system.run.name)
        notes.append(f"{system.name}: {reason}")
    return notes
