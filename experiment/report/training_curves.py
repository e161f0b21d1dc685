"""Pictures of training: what was logged, step by step."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from experiment.report.metric_names import heading
from experiment.report.parts import Drawing
from experiment.report.run_files import finite
from experiment.report.style import COLOURS, LINES, LOG_SPAN, MARKERS, NARROW, STYLE, draw, make_log, shorten
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
    "measured_d_length": "tokens, held-out documents",
    "measured_flops": "FLOPS, held-out documents",
    "lambda_d": "λ",
    "lambda_q": "λ, queries",
    "empty_documents": "share of empty documents",
    f"eval_{PRIMARY}": f"{heading(PRIMARY)} in training",
}
NEVER_LOGARITHMIC = ("empty_documents", f"eval_{PRIMARY}", "lambda_d")
TARGETS = {"measured_d_length": "target_d_length", "measured_flops": "target_flops"}
"""Drawn as dots behind what was measured; λ then goes over many powers of ten."""
Runs = dict[str, list[dict[str, Any]]]
"""A run's label to its logged lines."""


def training_picture(families: dict[str, Runs], narrow: bool = False) -> Drawing | None:
    """A panel for each logged figure that there is, a line a run; None if nothing was logged.

    Few runs share the panels, each with a colour of its own; of many, each family has a row of panels, and no picture
    for a phone. A line without the key, or with a value that is not finite, is a gap.
    """
    runs = [lines for members in families.values() for lines in members.values()]
    keys = [key for key in TRAINING if any(_by_step(lines, key) for lines in runs)]
    is_few = len(runs) <= len(COLOURS)
    if not keys or (narrow and not is_few):
        return None
    alt = f"{', '.join(TRAINING[key] for key in keys)}, step by step, of {', '.join(families)}."
    with matplotlib.rc_context(STYLE | {"font.size": 10}):
        return _together(families, keys, alt, 1 if narrow else 3) if is_few else _by_family(families, keys, alt)


def _together(families: dict[str, Runs], keys: list[str], alt: str, columns: int) -> Drawing:
    named = {
        label if label == family else f"{label} ({family})": lines
        for family, members in families.items()
        for label, lines in members.items()
    }
    rows = -(-len(keys) // columns)
    width = NARROW if columns == 1 else 3.8 * min(columns, len(keys))
    figure = new_figure(width, 2.3 * rows + 0.2 * len(named) + 0.3)
    grid = figure.subplots(rows, min(columns, len(keys)), squeeze=False).ravel()
    for axes, key in zip(grid, keys, strict=False):
        _draw_runs(axes, named, key)
        _name_axis(axes, key, list(named.values()))
        axes.set_xlabel("step")
    for axes in grid[len(keys) :]:
        axes.remove()
    legend = {shorten(label, 44): line for line, label in zip(*grid[0].get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc="outside upper left", ncols=1, fontsize=10)
    return draw(figure, "training", alt)


def _by_family(families: dict[str, Runs], keys: list[str], alt: str) -> Drawing:
    """A row a family; of more than LINES_A_ROW runs, that many spread over the family are drawn."""
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
    runs = [lines for members in families.values() for lines in members.values()]
    for column, key in enumerate(keys):
        _name_axis(grid[0, column], key, runs)
        grid[-1, column].set_xlabel("step")
    return draw(figure, "training", alt)


def _name_axis(axes: Axes, key: str, runs: list[list[dict[str, Any]]]) -> None:
    """Title and scale: shares begin at 0, wide spans are logarithmic."""
    axes.set_title(TRAINING[key], fontsize=11, loc="left")
    if key == "empty_documents":
        axes.set_ylim(bottom=0)
    positive = [value for lines in runs for value in _by_step(lines, key).values() if value > 0]
    is_moved = key == "lambda_d" and any(_by_step(lines, target) for lines in runs for target in TARGETS.values())
    if (is_moved or key not in NEVER_LOGARITHMIC) and positive and max(positive) > LOG_SPAN * min(positive):
        make_log(axes, "y")


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
        if target := _by_step(lines, TARGETS.get(key, "")):
            axes.plot(sorted(target), [target[s] for s in sorted(target)], linestyle=":", color=colour, lw=1)
    if not any(_by_step(lines, key) for lines in runs.values()):
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color="#666666")


def _by_step(lines: list[dict[str, Any]], key: str) -> dict[int, float]:
    """Step -> value; of a step logged twice (a resumed run) the later line counts."""
    return {line["step"]: line[key] for line in lines if finite(line.get("step")) and finite(line.get(key))}
