"""What a training brought at each length that documents are cut to, beside the model that it started from.

    python -m experiment.report.lengths output/beyond/start output/beyond/elastic output/beyond/elastic_seed2 \\
        --picture lengths.png

Runs are seeds of one training. For every cut and lexical share that all of them were scored with: NDCG@10 (or the first
metric) of the start model, the runs' mean and range, and the paired test over queries, whose figures are means over
runs; p by Holm's method over all rows.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiment.report.query_scores import read_scores
from experiment.report.runs import Evaluation, RunResults, load_runs
from experiment.report.shapes import curve
from retrieval.drawing import STYLE, new_figure, png
from retrieval.files import write_atomically
from retrieval.significance import Comparison, compare, holm
from retrieval.tables import text_table
from sparse_model.commands import exit_code
from sparse_model.errors import UserError

Place = tuple[str, str, str, int]
"""Data set, setting, what all vectors on the curve have in common, tokens kept at most (0: all)."""


@dataclass(frozen=True)
class Row:
    """One length of one data set."""

    place: Place
    start: float
    runs: list[float]
    tokens: tuple[float, float]
    """a document has on average: of the start model, of the runs"""
    test: Comparison
    p: float


def rows(start: RunResults, runs: Sequence[RunResults]) -> list[Row]:
    """A row for every place that the start model and all runs have, queries being the same.

    Raises:
        UserError: if there is none.
    """
    found = [_places(run) for run in (start, *runs)]
    made = []
    for place in sorted(
        set.intersection(*(set(of) for of in found)), key=lambda p: (p[0], p[2], -(p[3] or 10**9), p[1])
    ):
        here = [of[place] for of in found]
        read = [read_scores(one.per_query[place[0]], one.metrics[0]) for one in here]
        queries = sorted(read[0])
        if not queries or any(sorted(one) != queries for one in read):
            continue
        values = np.array([[one[name] for name in queries] for one in read])
        if test := compare([values[1:].mean(axis=0) - values[0]]):
            means = values.mean(axis=1).tolist()
            tokens = [float(one.results[place[0]]["d_length"]) for one in here]
            made.append((place, means[0], means[1:], (tokens[0], float(np.mean(tokens[1:]))), test))
    if not made:
        raise UserError("the start model and the runs were not scored with the same cut on the same queries.")
    adjusted = holm([test.p for *_, test in made])
    return [Row(*parts, p) for parts, p in zip(made, adjusted, strict=True)]


def _places(run: RunResults) -> dict[Place, Evaluation]:
    return {
        (
            name,
            one.setting,
            curve(one.shape).removesuffix("cut").rstrip(", "),
            one.shape.get("max_active_dims") or 0,
        ): one
        for one in run.evaluations
        for name in one.results
        if name in one.per_query
    }


def table(found: Sequence[Row]) -> str:
    """The rows as text."""
    head = ["data set", "vectors", "kept", "start", "runs", "from", "to", "difference", "p", "tokens"]
    lines = [
        [
            *(row.place[0], row.place[2] or "plain", str(row.place[3] or "all")),
            *(f"{value:.4f}" for value in (row.start, np.mean(row.runs), min(row.runs), max(row.runs))),
            *(f"{row.test.mean:+.4f}", f"{row.p:.2g}", f"{row.tokens[0]:.0f}, {row.tokens[1]:.0f}"),
        ]
        for row in found
    ]
    return text_table([head, *lines])


def picture(found: Sequence[Row]) -> bytes:
    """A panel for each data set and share: the start model's curve and the runs' mean with their range, as PNG."""
    import matplotlib

    panels: dict[tuple[str, str], list[Row]] = {}
    for row in found:
        panels.setdefault((row.place[0], row.place[2]), []).append(row)
    columns = min(len(panels), 2)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(4.6 * columns, 3.4 * -(-len(panels) // columns))
        axes = figure.subplots(-(-len(panels) // columns), columns, squeeze=False).ravel()
        for axis, ((name, vectors), of) in zip(axes, panels.items(), strict=False):
            of = sorted(of, key=lambda row: row.tokens[1])
            tokens = [row.tokens[1] for row in of]
            axis.plot([row.tokens[0] for row in of], [row.start for row in of], "s--", color="#444444", label="start")
            axis.plot(tokens, [np.mean(row.runs) for row in of], "o-", color="#0072B2", label="trained")
            low, high = [min(row.runs) for row in of], [max(row.runs) for row in of]
            axis.fill_between(tokens, low, high, color="#0072B2", alpha=0.2)
            axis.set(title=f"{name}, {vectors}" if vectors else name, xscale="log", xlabel="tokens a document")
            axis.set_xticks(ticks := [24, 48, 96, 192, 384], [str(tick) for tick in ticks])
            axis.minorticks_off()
            axis.set_ylabel("NDCG@10")
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        axes[0].legend(loc="lower right")
        return png(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiment.report.lengths", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("start", help="the folder of the start model's evaluation")
    parser.add_argument("runs", nargs="+", metavar="RUN_FOLDER", help="seeds of one training")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="where to draw it")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: _show(arguments))


def _show(arguments: argparse.Namespace) -> None:
    start, *runs = load_runs([arguments.start, *arguments.runs])
    found = rows(start, runs)
    print(table(found))
    if arguments.picture:
        write_atomically(arguments.picture, picture(found))


if __name__ == "__main__":
    sys.exit(main())
