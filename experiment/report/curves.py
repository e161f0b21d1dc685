"""Pictures of what a setting does: curves over λ or t, activations side by side, data sets, and training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from experiment.report.metric_names import heading
from experiment.report.run_files import finite
from experiment.report.style import (
    COLOURS,
    LINES,
    LOG_SPAN,
    MARKERS,
    STYLE,
    Drawing,
    Notes,
    draw,
    look,
    make_log,
    shorten,
    wants_log,
)
from retrieval.drawing import new_figure
from retrieval.metrics import PRIMARY

LINES_A_ROW = 12  # more training curves in one panel could not be told apart
TRAINING = {
    "loss": "loss",
    "kldiv": "kldiv",
    "marginmse": "marginmse",
    "infonce": "infonce",
    "flops_d": "FLOPS penalty",
    "flops_q": "FLOPS penalty, queries",
    "d_length": "tokens a document",
    "lambda_d": "λ",
    "lambda_q": "λ, queries",
    "empty_documents": "share of empty documents",
    f"eval_{PRIMARY}": f"{heading(PRIMARY)} in training",
}
NEVER_LOGARITHMIC = ("empty_documents", f"eval_{PRIMARY}", "lambda_d")


@dataclass(frozen=True)
class Series:
    """A line or a group of markers: for each panel, values at xs (or rows) with errors over seeds."""

    name: str
    xs: list[float]
    ys: list[list[float]]  # [panels][values]
    errors: list[list[float]]
    notes: list[str]
    number: int = 0  # stands for colour and marker


def sweep_picture(name: str, series: Sequence[Series], x_label: str, panels: Sequence[str]) -> Drawing:
    """Each panel's figure against the setting that is varied."""
    notes = Notes()
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.4 * len(panels), 4.6 + 0.2 * len(series))
        row = figure.subplots(1, len(panels), squeeze=False)[0]
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
        figure.supxlabel(x_label, fontsize=11)
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=10)
        return draw(figure, name, f"{', '.join(panels)} against {x_label}. {_ranges(series)}", notes)


def rows_picture(name: str, rows: Sequence[str], series: Sequence[Series], panels: Sequence[str]) -> Drawing:
    """Each panel's figure along x, a row for each setting, a marker for each series that has it."""
    notes = Notes()
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.4 * len(panels), 1.8 + 0.34 * len(rows))
        axes_row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
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
        axes_row[0].set_yticks(range(len(rows)), rows)
        axes_row[0].set_ylim(len(rows) - 0.5, -0.5)
        figure.legend(*axes_row[0].get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=10)
        return draw(figure, name, f"{', '.join(panels)} for {len(rows)} settings. {_ranges(series)}", notes)


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


def training_picture(families: dict[str, dict[str, list[dict[str, Any]]]]) -> Drawing | None:
    """A row a family, a column for each logged figure that there is, a line a run; None if nothing was logged.

    `families` maps a family to its runs' labels to their logged lines; a line without the key, or with a value that
    is not finite, is a gap. Of more than LINES_A_ROW runs, that many spread over the family are drawn.
    """
    runs = [lines for members in families.values() for lines in members.values()]
    keys = [key for key in TRAINING if any(_by_step(lines, key) for lines in runs)]
    if not keys:
        return None
    with matplotlib.rc_context(STYLE | {"font.size": 10}):
        figure = new_figure(2.2 + 2.7 * len(keys), 1 + 2.3 * len(families))
        grid = figure.subplots(len(families), len(keys), sharex=True, sharey="col", squeeze=False)
        for row, (family, members) in zip(grid, families.items(), strict=True):
            labels = list(members)
            shown = [labels[i] for i in np.unique(np.linspace(0, len(labels) - 1, LINES_A_ROW).round().astype(int))]
            for axes, key in zip(row, keys, strict=True):
                _draw_runs(axes, {label: members[label] for label in shown}, key)
            legend = row[-1].legend(title=shorten(family, 36), loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
            legend.set_alignment("left")
            legend.get_title().set_fontweight("bold")
        for column, key in enumerate(keys):
            grid[0, column].set_title(TRAINING[key], fontsize=11, loc="left")
            grid[-1, column].set_xlabel("step")
            if key == "empty_documents":
                grid[0, column].set_ylim(bottom=0)
            positive = [value for lines in runs for value in _by_step(lines, key).values() if value > 0]
            if key not in NEVER_LOGARITHMIC and positive:
                if max(positive) > LOG_SPAN * min(positive):
                    make_log(grid[0, column], "y")
        alt = f"{', '.join(TRAINING[key] for key in keys)}, step by step, of {', '.join(families)}."
        return draw(figure, "training", alt)


def _draw_runs(axes: Axes, runs: dict[str, list[dict[str, Any]]], key: str) -> None:
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, max(2, len(runs))))
    for index, (label, lines) in enumerate(runs.items()):
        values = _by_step(lines, key)
        colour: Any = shades[index] if len(runs) > len(COLOURS) else COLOURS[index]
        # A series logged once would be an invisible line.
        marker = MARKERS[index % len(MARKERS)] if len(values) == 1 or key.startswith("eval_") else ""
        steps = sorted(values)
        style: Any = LINES[index % len(LINES)]
        axes.plot(steps, [values[s] for s in steps], linestyle=style, marker=marker, color=colour, label=label, lw=1.3)
    if not any(_by_step(lines, key) for lines in runs.values()):
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color="#666666")


def _by_step(lines: list[dict[str, Any]], key: str) -> dict[int, float]:
    """Step -> value; of a step logged twice (a resumed run) the later line counts."""
    return {line["step"]: line[key] for line in lines if finite(line.get("step")) and finite(line.get(key))}


def _or_none(errors: list[float]) -> list[float] | None:
    return errors if any(errors) else None


def _ranges(series: Sequence[Series]) -> str:
    """Each series' first figure in words."""
    return "; ".join(f"{one.name}: {min(one.ys[0]):.4f} to {max(one.ys[0]):.4f}" for one in series if one.ys[0]) + "."
