"""The data card's pictures as PNG bytes: scores, and ranks of positives; a panel for each teacher and the ensemble."""

from collections.abc import Iterable, Sequence
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mining.statistics import TeacherCounts
from retrieval.drawing import STYLE, new_figure, png

COLUMNS = 3
BARS = 64
CUT = 0.001
RANKS = 100  # bars of one rank each up to there
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:g}%")


def scores_picture(names: Sequence[str], scores: Iterable[np.ndarray], labels: np.ndarray) -> bytes:
    """Histograms of scores, of all candidates and of judged positives, each as shares of its own number.

    Args:
        scores: float [N] for each name, taken one after another.
        labels: bool [N], judged positive.
    """
    with matplotlib.rc_context(STYLE | {"font.size": 10}):
        figure, panels = _panels(names)
        for axes, values in zip(panels, scores, strict=True):
            edges = bars(values)
            candidates, positives = (np.histogram(v, edges)[0] / max(1, len(v)) for v in (values, values[labels]))
            axes.stairs(candidates, edges, fill=True, color="#bbbbbb", label="candidates")
            axes.stairs(positives, edges, color="black", linewidth=1.3, label="judged positives")
            axes.yaxis.set_major_formatter(PERCENT)
            axes.set_xlabel("combined score" if axes is panels[-1] else "raw score")
        _finish(figure, panels, "share of each")
        return png(figure)


def bars(values: np.ndarray) -> np.ndarray:
    """The edges of the bars, float [BARS + 1]; the outermost CUT of the values [N] lies beyond them on either side."""
    return np.histogram_bin_edges(values, BARS, tuple(np.quantile(values, (CUT, 1 - CUT))) if len(values) else None)


def ranks_picture(names: Sequence[str], scorers: Sequence[TeacherCounts], n_queries: int) -> bytes:
    """Histograms of the rank of each query's first judged positive."""
    longest = max(len(scorer.first_ranks) for scorer in scorers)
    width = max(1, -(-longest // RANKS))
    with matplotlib.rc_context(STYLE | {"font.size": 10}):
        figure, panels = _panels(names)
        for axes, scorer in zip(panels, scorers, strict=True):
            bars = np.bincount(np.arange(len(scorer.first_ranks)) // width, weights=scorer.first_ranks)
            axes.bar(np.arange(len(bars)) * width, bars / max(1, n_queries), width, align="edge", color="#666666")
            axes.set_yscale("log")  # most lie at rank 0
            axes.minorticks_off()
            axes.set_xlim(0, max(1, longest))
            axes.set_ylim(0.5 / max(1, n_queries), 1)
            axes.yaxis.set_major_formatter(PERCENT)
            axes.set_xlabel("rank, from 0" + (f" ({width} ranks a bar)" if width > 1 else ""))
        _finish(figure, panels, "share of the queries")
        return png(figure)


def _panels(names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    n_rows = -(-len(names) // COLUMNS)
    n_columns = min(COLUMNS, len(names))
    figure = new_figure(0.6 + 3.4 * n_columns, 0.7 + 2.5 * n_rows)
    grid = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, name in zip(grid, names, strict=False):
        axes.set_title(fill(name, 30), fontsize=11, loc="left")
    for axes in grid[len(names) :]:
        axes.remove()
    return figure, grid[: len(names)]


def _finish(figure: Figure, panels: Sequence[Axes], y_label: str) -> None:
    figure.supylabel(y_label, fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=2)
