"""Losses of runs that should be alike, step by step, beside what rounding alone does to them.

    python -m benchmarks.loss_curves WHOLE PIECES CONTROL [--output FILE.png]

Each is a run folder. The first is what the others are compared with: PIECES the same run with micro_batch_documents,
CONTROL the same run again with another number of threads (OMP_NUM_THREADS), whose sums are rounded in another order.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retrieval.drawing import STYLE, new_figure, png
from retrieval.tables import text_table

Curve = dict[int, float]


def losses(run: Path) -> Curve:
    """The logged loss by step; what a run that went on logged last counts."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def distances(one: Curve, other: Curve) -> Curve:
    """|a − b| / a at each step that both have."""
    return {step: abs(loss - other[step]) / loss for step, loss in one.items() if step in other}


def table(curves: dict[str, Curve], spans: int = 5) -> str:
    """The largest distance from the first curve in so many spans of the steps."""
    first, *others = curves
    apart = {name: distances(curves[first], curves[name]) for name in others}
    common = sorted(set.intersection(*(set(part) for part in apart.values())))
    rows = [["steps", *others]]
    for steps in np.array_split(np.array(common), min(spans, len(common))):
        largest = (max(apart[name][step] for step in steps.tolist()) for name in others)
        rows.append([f"{steps[0]} to {steps[-1]}", *(f"{value:.1e}" for value in largest)])
    return text_table(rows)


def draw(curves: dict[str, Curve]) -> bytes:
    """The curves, and below how far each is from the first."""
    import matplotlib
    from matplotlib.ticker import StrMethodFormatter

    first, *others = curves
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8, 6)
        above, below = figure.subplots(2, 1, sharex=True)
        styles = ("-", "--", ":")
        for (name, curve), style in zip(curves.items(), styles, strict=False):
            above.plot(list(curve), list(curve.values()), style, label=name, linewidth=1.5)
        for number, name in enumerate(others, 1):
            apart = distances(curves[first], curves[name])
            below.plot(list(apart), [max(value, 1e-9) for value in apart.values()], color=f"C{number}", label=name)
        above.set_ylabel("loss")
        below.set(ylabel=f"relative distance\nfrom {first}", xlabel="step", yscale="log")
        below.yaxis.set_major_formatter(StrMethodFormatter("{x:.0e}"))
        for axes in (above, below):
            axes.legend(loc="lower left", ncols=3)
        return png(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the distances, draw the curves."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loss_curves", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, the one to compare with first")
    parser.add_argument("--output", type=Path, help="a .png to draw")
    asked = parser.parse_args(arguments)
    curves = {run.name: losses(run) for run in asked.runs}
    print(table(curves))
    if asked.output:
        asked.output.write_bytes(draw(curves))
    return 0


if __name__ == "__main__":
    sys.exit(main())
