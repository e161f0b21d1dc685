"""The report's pictures as PNG bytes: quality against a cost with one marker a run, and curves of training.

Everything here takes plain values and draws on its own Figure (no pyplot, no global state), so the same input
gives the same bytes. Families of runs differ in shape as well as in colour: the pictures survive a black and
white printer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox

from retrieval.drawing import STYLE, new_figure, png

MARKERS = "osD^vP*XhpH<>"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#56B4E9", "#444444")  # after Okabe and Ito
LOG_SPAN = 10.0  # an axis is logarithmic once its largest value is this many times its smallest


@dataclass(frozen=True)
class Point:
    """One run in a picture of quality (y) against cost (x)."""

    label: str
    family: str
    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """A column of the training curves: the logged keys it draws, each with its name in the legend."""

    title: str
    keys: dict[str, str]
    band: tuple[str, str] | None = None  # the keys whose lines enclose a shaded area
    share_y: bool = True
    is_share: bool = False  # values between 0 and 1


PANELS = (
    Panel(
        "loss parts",
        {
            "loss": "total",
            "kldiv": "kldiv",
            "marginmse": "marginmse",
            "infonce": "infonce",
            "flops_d": "FLOPS, documents",
            "flops_q": "FLOPS, queries",
        },
    ),
    Panel(
        "tokens a document (d_length)",
        {
            "d_length_p95": "95th percentile",
            "d_length_p50": "median",
            "d_length_p5": "5th percentile",
        },
        band=("d_length_p5", "d_length_p95"),
    ),
    Panel(
        "λ, the weight of FLOPS",
        {"lambda_d": "λ, documents", "lambda_q": "λ, queries"},
        share_y=False,  # sweeps of λ span orders of magnitude
    ),
    Panel(
        "shares",
        {"empty_documents": "empty documents", "unused_tokens": "tokens never used"},
        is_share=True,
    ),
    Panel("during training", {"eval_ndcg@10": "NDCG@10"}),
)
LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))


def quality_picture(points: Sequence[Point], baselines: dict[str, float], x_label: str, y_label: str) -> bytes:
    """PNG of one labelled marker per run; `baselines` (name -> y) have no x and are horizontal lines."""
    with matplotlib.rc_context(STYLE):
        crowd = max(0, len(points) - 10)
        figure = new_figure(min(9 + 0.1 * crowd, 14), min(5.4 + 0.08 * crowd, 10))
        axes = figure.subplots()
        if _wants_log([point.x for point in points]):
            _make_log(axes, "x")
            x_label += " (logarithmic)"
        for index, family in enumerate(sorted({point.family for point in points})):
            members = [point for point in points if point.family == family]
            axes.plot(
                [point.x for point in members],
                [point.y for point in members],
                linestyle="none",
                marker=MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                markersize=9,
                markeredgecolor="black",
                label=family,
            )
        for y in baselines.values():
            axes.axhline(y, color="#555555", linestyle="--", linewidth=1.3)
        axes.margins(0.16)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=11)
        _place_labels(figure, axes, points, baselines)
        return png(figure)


def training_picture(curves: dict[str, list[dict[str, Any]]]) -> bytes | None:
    """PNG with a row per run and a column per panel that has data; None if no run logged anything to draw.

    `curves` maps a run's name to its logged lines; a line without the key or with a value that is not finite
    is a gap. Axes are shared, so that runs can be compared by eye.
    """
    panels = [panel for panel in PANELS if any(_series(lines, k)[0] for lines in curves.values() for k in panel.keys)]
    if not panels:
        return None
    with matplotlib.rc_context(STYLE | {"font.size": 10}):
        figure = new_figure(1 + 2.9 * len(panels), 1.3 + 2.1 * len(curves))
        grid = figure.subplots(len(curves), len(panels), sharex=True, squeeze=False)
        for column, panel in enumerate(panels):
            _draw_panel(list(grid[:, column]), panel, list(curves.values()))
        tallest = max(len(axes.get_legend().get_texts()) for axes in grid[0])  # so that titles are level
        for axes, panel in zip(grid[0], panels, strict=True):
            axes.set_title(panel.title, fontsize=11, loc="left", pad=10 + 13 * tallest)
        for row, name in enumerate(curves):
            grid[row, 0].set_ylabel(_shorten(name, 24), fontsize=10, fontweight="bold")
        for axes in grid[-1]:
            axes.set_xlabel("step")
        return png(figure)


def finite(value: Any) -> bool:
    """Whether a value read from a file can be drawn or averaged."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _draw_panel(column: list[Axes], panel: Panel, runs: list[list[dict[str, Any]]]) -> None:
    """Draws one panel for every run, from top to bottom."""
    keys = [key for key in panel.keys if any(_series(lines, key)[0] for lines in runs)]
    values = [y for lines in runs for key in keys for y in _series(lines, key)[1]]
    positive = [y for y in values if y > 0]
    for axes, lines in zip(column, runs, strict=True):
        if panel.share_y and axes is not column[0]:
            axes.sharey(column[0])
        for index, key in enumerate(keys):
            steps, ys = _series(lines, key)
            style: Any = LINES[index % len(LINES)]
            # A series logged once would be an invisible line.
            marker = "o" if len(steps) == 1 or key.startswith("eval_") else ""
            axes.plot(steps, ys, linestyle=style, marker=marker, color=COLOURS[index], label=panel.keys[key])
        if panel.band:
            low, high = (_by_step(lines, key) for key in panel.band)
            steps = sorted(low.keys() & high.keys())
            axes.fill_between(steps, [low[s] for s in steps], [high[s] for s in steps], color="#0072B2", alpha=0.12)
        if not any(_series(lines, key)[0] for key in keys):
            axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color="#666666")
    for axes in column:
        if panel.is_share:
            axes.set_ylim(-0.03, 1.03)
        elif panel.share_y and positive and max(positive) > LOG_SPAN * min(positive):
            _make_log(axes, "y")
    column[0].legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, fontsize=9, labelspacing=0.2)


def _by_step(lines: list[dict[str, Any]], key: str) -> dict[int, float]:
    """Step -> value; of a step logged twice (a resumed run) the later line counts."""
    return {line["step"]: line[key] for line in lines if finite(line.get("step")) and finite(line.get(key))}


def _series(lines: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    values = _by_step(lines, key)
    return sorted(values), [values[step] for step in sorted(values)]


def _place_labels(figure: Figure, axes: Axes, points: Sequence[Point], baselines: dict[str, float]) -> None:
    """Writes every name next to its marker, where it covers least of what is already there."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names must not move the axes they were placed in
    frame = axes.get_window_extent()
    taken = [Bbox.from_extents(x - 7, y - 7, x + 7, y + 7) for x, y in _pixels(axes, points)]
    for name, y in baselines.items():
        text = axes.annotate(
            f"{name} {y:.3f}",
            (1, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            color="#333333",
        )
        box = _letters(text)
        taken += [box, Bbox.from_extents(frame.x0, box.y0 - 6, frame.x1, box.y0 - 3)]
    for point in points:
        text = _name(axes, point)
        best = min(
            _offsets(),
            key=lambda offset: (_cost(text, offset, frame, taken), abs(offset[0]) + abs(offset[1])),
        )
        _move(text, best)
        taken.append(_letters(text))


def _name(axes: Axes, point: Point) -> Annotation:
    """The name of a run, tied to its marker by a thin line that shows where it had to go far."""
    return axes.annotate(
        _shorten(point.label, 36),
        (point.x, point.y),
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=10,
        va="center",
        arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 5},
    )


def _offsets() -> list[tuple[float, float]]:
    """Where a name may stand, in points from its marker: the near places first."""
    return [
        (radius * math.cos(turn), radius * math.sin(turn))
        for radius in (9, 16, 26, 38, 54, 72)
        for turn in (i * math.pi / 6 for i in range(12))
    ]


def _move(text: Annotation, offset: tuple[float, float]) -> None:
    text.set_position(offset)
    if text.arrow_patch is not None:
        text.arrow_patch.set_visible(math.hypot(*offset) > 20)
    text.set_horizontalalignment("left" if offset[0] > 1 else "right" if offset[0] < -1 else "center")


def _cost(text: Annotation, offset: tuple[float, float], frame: Bbox, taken: list[Bbox]) -> float:
    """Pixels of a name that would lie on something else or outside of the axes."""
    _move(text, offset)
    box = _letters(text)
    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0.0)
    shared = (Bbox.intersection(box, other) for other in taken)
    return round(2 * outside + sum(area.width * area.height for area in shared if area), 3)


def _letters(text: Annotation) -> Bbox:
    """The pixels that the letters cover, without the line to the marker."""
    figure = text.get_figure()
    assert figure is not None and isinstance(figure.canvas, FigureCanvasAgg)  # for the type checker
    text.update_positions(figure.canvas.get_renderer())
    return Text.get_window_extent(text)


def _pixels(axes: Axes, points: Sequence[Point]) -> list[tuple[float, float]]:
    return [tuple(axes.transData.transform((point.x, point.y))) for point in points]


def _wants_log(values: list[float]) -> bool:
    return min(values) > 0 and max(values) >= LOG_SPAN * min(values)


def _make_log(axes: Axes, direction: Literal["x", "y"]) -> None:
    """A logarithmic axis with numbers one can read off: 0.5, 1, 2, 5, … while they are few."""
    (axes.set_xscale if direction == "x" else axes.set_yscale)("log", nonpositive="mask")
    axis = axes.xaxis if direction == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _shorten(name: str, length: int) -> str:
    """Long names lose their middle: both ends tell sweeps apart."""
    return name if len(name) <= length else f"{name[: length // 2 - 1]}…{name[-(length // 2) :]}"
