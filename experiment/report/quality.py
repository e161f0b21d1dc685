"""Pictures of quality against cost: a marker a system, a curve a family, error bars over seeds."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiment.report.area import front, quality_at
from experiment.report.parts import Drawing
from experiment.report.style import (
    NARROW,
    STYLE,
    Notes,
    dark,
    draw,
    lay_out,
    look,
    make_log,
    shorten,
    wants_log,
)
from retrieval.drawing import DPI, new_figure

FEW = 12  # points that a narrow picture has room to label, and a text to list
MANY = 100  # points that a wide picture labels


@dataclass(frozen=True)
class Point:
    """A system at cost x and quality y; `x_error` and `y_error` are standard deviations over seeds."""

    label: str
    family: str
    x: float
    y: float
    x_error: float = 0.0
    y_error: float = 0.0
    on_curve: bool = False
    number: int = 0  # of its family, which stands for colour and marker
    note: str = ""


def quality_picture(
    name: str, points: Sequence[Point], baselines: dict[str, float], x_label: str, y_label: str, narrow: bool = False
) -> Drawing:
    """`baselines` (name -> y) have no cost and are horizontal lines; hollow markers lie below their family's curve.

    Args:
        narrow: for a phone: high instead of wide; of many points only the best are labelled.
    """
    notes = Notes()
    families = {point.family: point.number for point in sorted(points, key=lambda point: point.number)}
    with matplotlib.rc_context(STYLE):
        crowd = max(0, len(points) - 10)
        size = (min(9 + 0.1 * crowd, 12), min(5.4 + 0.08 * crowd, 8.5))
        figure = new_figure(*((NARROW, 4.4 + 0.22 * len(families)) if narrow else size))
        axes = figure.subplots()
        if wants_log([point.x for point in points]):
            make_log(axes, "x")
            x_label += " (logarithmic)"
        for family, number in families.items():
            _draw_family(axes, [p for p in points if p.family == family], look(number), notes)
        for y in baselines.values():
            axes.axhline(y, color="#555555", linestyle=(0, (6, 4)), linewidth=1.3)
        axes.margins(0.1)
        axes.set_xlabel(textwrap.fill(x_label, 40) if narrow else x_label)
        axes.set_ylabel(textwrap.fill(y_label, 40) if narrow else y_label)
        columns = 1 if narrow else 3
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns, fontsize=10)
        few = len(points) <= (FEW if narrow else MANY)
        _place_labels(figure, axes, points if few else _best(points), baselines, 18 if narrow else 36)
        return draw(figure, name, _in_words(points, baselines, x_label, y_label), notes, narrow)


def _best(points: Sequence[Point]) -> list[Point]:
    """Those with more quality than every cheaper one."""
    xs, ys = np.array([p.x for p in points]), np.array([p.y for p in points])
    best = set(zip(*(values.tolist() for values in front(xs, ys)), strict=True))
    return [p for p in points if (p.x, p.y) in best]


def _draw_family(axes: Axes, members: Sequence[Point], style: dict[str, Any], notes: Notes) -> None:
    xs, ys = np.array([p.x for p in members]), np.array([p.y for p in members])
    curved = len(members) > 1 and all(p.on_curve for p in members) and xs.min() > 0
    if curved:
        grid = np.geomspace(xs.min(), xs.max(), 100)
        axes.plot(grid, quality_at(xs, ys, grid), color=style["color"], linestyle=style["linestyle"], linewidth=1.3)
    best = _best(members)
    for p in members:
        if p.x_error or p.y_error:
            axes.errorbar(
                p.x, p.y, p.y_error or None, p.x_error or None, fmt="none", ecolor=style["color"], capsize=3, lw=1
            )
        axes.plot(
            p.x,
            p.y,
            marker=style["marker"],
            markersize=7.5,
            markerfacecolor=style["color"] if not curved or p in best else "white",
            markeredgecolor="black" if not curved or p in best else style["color"],
            linestyle="none",
            gid=notes.add(p.note or f"{p.label}: {p.y:.4f} at {p.x:.4g}"),
        )
    line = style["linestyle"] if curved else "none"
    legend = {"marker": style["marker"], "color": style["color"], "markeredgecolor": "black", "linestyle": line}
    axes.plot([], [], label=members[0].family, **legend)


def _in_words(points: Sequence[Point], baselines: dict[str, float], x_label: str, y_label: str) -> str:
    """The picture for those who cannot see it: values while they are few, else each family's ranges."""
    values = [f"{point.label}: {point.y:.4f} at {point.x:.4g}" for point in points]
    if len(points) > FEW:
        values = []
        for family in sorted({point.family for point in points}):
            members = [point for point in points if point.family == family]
            xs, ys = [p.x for p in members], [p.y for p in members]
            values.append(
                f"{family}, {len(members)} systems: {min(ys):.4f} to {max(ys):.4f} at {min(xs):.4g} to {max(xs):.4g}"
            )
    values += [f"{name}, a horizontal line: {y:.4f}" for name, y in baselines.items()]
    return f"{y_label} against {x_label}. {'; '.join(values)}."


def _place_labels(
    figure: Figure, axes: Axes, points: Sequence[Point], baselines: dict[str, float], longest: int
) -> None:
    """Writes every label next to its marker, where it covers least of what is already there."""
    lay_out(figure)  # labels must not move the axes they were placed in
    frame = np.array(axes.get_window_extent().extents)
    anchors = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [np.array([x - 8, y - 8, x + 8, y + 8]) for x, y in anchors]
    for point, (x, _) in zip(points, anchors, strict=True):
        bottom, top = (axes.transData.transform((point.x, point.y + s * point.y_error))[1] for s in (-1, 1))
        taken.append(np.array([x - 3, bottom, x + 3, top]))
    for name, y in baselines.items():
        style: Any = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "ha": "right"}
        text = axes.annotate(f"{name} {y:.3f}", (1, y), xytext=(-4, 4), color="#333333", **style)
        box = np.array(_extent(text))
        taken += [box, np.array([frame[0], box[1] - 6, frame[2], box[1] - 3])]
    for point, anchor in zip(points, anchors, strict=True):
        text = axes.annotate(
            shorten(point.label, longest),
            (point.x, point.y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=9,
            va="center",
            ha="center",
            color=dark(look(point.number)["color"]),
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 5},
        )
        left, bottom, right, top = _extent(text)
        size = np.array([right - left, top - bottom])
        offset, box = _best_place(anchor, size, frame, np.array(taken))
        text.set_position((offset[0] * 72 / DPI, offset[1] * 72 / DPI))
        if text.arrow_patch is not None:  # it shows where a label had to go far
            text.arrow_patch.set_visible(math.hypot(*(np.abs(offset) - size / 2).clip(0)) > 22)
        taken.append(box)


def _best_place(
    anchor: np.ndarray, size: np.ndarray, frame: np.ndarray, taken: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(offset of the label's centre, box) in pixels: the near places first, of equal cover the nearest."""
    places = [
        np.array([math.cos(turn), math.sin(turn)]) * (radius + size / 2 * np.abs([math.cos(turn), math.sin(turn)]))
        for radius in (10, 18, 30, 46, 66, 90)
        for turn in (i * math.pi / 6 for i in range(12))
    ]
    centres = anchor + np.array(places)
    boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=1)
    outside = size.prod() - _shared(boxes, frame[None])
    cost = 2 * outside + _shared(boxes, taken) + 0.05 * np.hypot(*np.array(places).T)
    best = int(np.argmin(cost.round(3)))
    return places[best], boxes[best]


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The pixels that each box [n, 4] shares with the others [m, 4], summed: [n]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=2).sum(axis=1)


def _extent(text: Any) -> tuple[float, float, float, float]:
    """The pixels that the letters cover, without the line to the marker."""
    figure = text.get_figure()
    assert isinstance(figure.canvas, FigureCanvasAgg)  # for the type checker
    text.update_positions(figure.canvas.get_renderer())
    return Text.get_window_extent(text).extents
