"""Pictures of what a setting does: curves over λ or t, activations side by side, data sets."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiment.report.parts import Drawing
from experiment.report.style import (
    NARROW,
    STYLE,
    Notes,
    draw,
    look,
    make_log,
    shorten,
    wants_log,
)
from retrieval.drawing import new_figure


@dataclass(frozen=True)
class Series:
    """A line or a group of markers: for each panel, values at xs (or rows) with errors over seeds."""

    name: str
    xs: list[float]
    ys: list[list[float]]  # [panels][values]
    errors: list[list[float]]
    notes: list[str]
    number: int = 0  # stands for colour and marker


def sweep_picture(
    name: str, series: Sequence[Series], x_label: str, panels: Sequence[str], narrow: bool = False
) -> Drawing:
    """Each panel's figure against the setting that is varied; panels below each other in a narrow picture."""
    notes = Notes()
    with matplotlib.rc_context(STYLE):
        figure, row = _panels(len(panels), 4.6 if not narrow else 2.8, 0.2 * len(series), narrow)
        for panel, (axes, title) in enumerate(zip(row, panels, strict=True)):
            for one in series:
                style = look(one.number)
                axes.errorbar(one.xs, one.ys[panel], _or_none(one.errors[panel]), capsize=3, label=one.name, **style)
                for x, y, note in zip(one.xs, one.ys[panel], one.notes, strict=True):
                    axes.plot(x, y, **style, gid=notes.add(note))
            axes.set_ylabel(title)
            if wants_log([x for one in series for x in one.xs]):
                make_log(axes, "x")
            if panel and wants_log([y for one in series for y in one.ys[panel]]):
                make_log(axes, "y")
        figure.supxlabel(textwrap.fill(x_label, 40) if narrow else x_label, fontsize=11)
        _legend(figure, row[0], 1 if narrow else 2)
        return draw(figure, name, f"{', '.join(panels)} against {x_label}. {_ranges(series)}", notes, narrow)


def rows_picture(
    name: str, rows: Sequence[str], series: Sequence[Series], panels: Sequence[str], narrow: bool = False
) -> Drawing:
    """Each panel's figure along x, a row for each setting, a marker for each series that has it."""
    notes = Notes()
    with matplotlib.rc_context(STYLE):
        figure, axes_row = _panels(len(panels), 1.4 + 0.34 * len(rows), 0.4, narrow)
        for panel, (axes, title) in enumerate(zip(axes_row, panels, strict=True)):
            for one in series:
                style = look(one.number) | {"linestyle": "none"}
                axes.errorbar([], [], label=one.name, **style, markeredgecolor="black")
                for x, row, error, note in zip(one.ys[panel], one.xs, one.errors[panel], one.notes, strict=True):
                    axes.errorbar(x, row, xerr=error or None, capsize=3, **style, markeredgecolor="black")
                    axes.plot(x, row, **style, markeredgecolor="black", gid=notes.add(note))
            axes.set_xlabel(title)
            if panel and wants_log([x for one in series for x in one.ys[panel]]):
                make_log(axes, "x")
        for axes in axes_row:
            axes.set_yticks(range(len(rows)), rows if narrow or axes is axes_row[0] else [""] * len(rows))
            axes.set_ylim(len(rows) - 0.5, -0.5)
        _legend(figure, axes_row[0], 2 if narrow else 4)
        return draw(figure, name, f"{', '.join(panels)} for {len(rows)} settings. {_ranges(series)}", notes, narrow)


def _panels(number: int, height: float, more: float, narrow: bool) -> tuple[Figure, list[Axes]]:
    """Panels beside each other, or in a narrow figure below; `more` inches for what is not a panel."""
    if narrow:
        figure = new_figure(NARROW, number * height + more)
        return figure, list(figure.subplots(number, 1, squeeze=False)[:, 0])
    figure = new_figure(4.4 * number, height + more)
    return figure, list(figure.subplots(1, number, squeeze=False)[0])


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns, fontsize=10)


def heat_map(name: str, quality: str, rows: Sequence[str], columns: Sequence[str], values: np.ndarray) -> Drawing:
    """Numbers on shades, each column from its lowest (light) to its highest (dark).

    Args:
        values: [rows, columns]; NaN where there is none.
    """
    notes = Notes()
    low, high = (reduce(values, axis=0, initial=limit, where=np.isfinite(values)) for reduce, limit in
                 ((np.min, np.inf), (np.max, -np.inf)))  # fmt: skip
    shades = (values - low) / np.where(high > low, high - low, 1)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(3.4 + 0.85 * len(columns), 1.8 + 0.27 * len(rows))
        axes = figure.subplots()
        axes.imshow(np.ma.masked_invalid(shades), cmap="Greys", vmin=0, vmax=1.25, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = f"{value:.3f}" if np.isfinite(value) else "–"
            colour = "white" if shades[row, column] > 0.78 else "black"  # from there on the better contrast
            note = f"{rows[row]}, {columns[column]}: {value:.4f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour, gid=notes.add(note))
        axes.set_yticks(range(len(rows)), [shorten(one, 44) for one in rows], fontsize=9)
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="left", fontsize=9)
        axes.tick_params(length=0)
        return draw(
            figure, name, f"{quality} of {len(rows)} systems on {', '.join(columns)}; the table has the values.", notes
        )


def _or_none(errors: list[float]) -> list[float] | None:
    return errors if any(errors) else None


def _ranges(series: Sequence[Series]) -> str:
    """Each series' first figure in words."""
    return "; ".join(f"{one.name}: {min(one.ys[0]):.4f} to {max(one.ys[0]):.4f}" for one in series if one.ys[0]) + "."
