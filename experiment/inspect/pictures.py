"""The page's two pictures."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiment.report.parts import Drawing
from experiment.report.style import COLOURS, STYLE, Notes, draw


def by_query(scores: Sequence[float], others: Sequence[float], other: str) -> Drawing:
    """NDCG@10 of each query, worst to best, with the other system's above or below it."""
    order = sorted(range(len(scores)), key=lambda n: (scores[n], n))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        x = np.arange(len(order))
        axes.scatter(x, [others[n] for n in order], s=8, color=COLOURS[1], alpha=0.6, label=other, linewidths=0)
        axes.step(x, [scores[n] for n in order], where="mid", color=COLOURS[0], linewidth=1.8, label="this model")
        axes.set(xlabel="queries, worst to best", ylabel="NDCG@10", ylim=(-0.03, 1.03), xlim=(-0.5, len(order) - 0.5))
        axes.legend(loc="upper left", frameon=False)
        zero = sum(score == 0 for score in scores)
        better = sum(a > b for a, b in zip(scores, others, strict=True))
        worse = sum(a < b for a, b in zip(scores, others, strict=True))
        alt = (
            f"NDCG@10 of {len(scores)} queries, worst to best: {zero} are 0, the mean is {np.mean(scores):.3f}; better "
            f"than {other} in {better}, worse in {worse}."
        )
        return draw(figure, "by-query", alt, Notes())


def lengths(lengths_N: np.ndarray) -> Drawing:
    """How many documents are stored with how many tokens."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        axes = figure.subplots()
        axes.hist(lengths_N, bins=min(60, max(5, int(lengths_N.max()) + 1)), color=COLOURS[0])
        axes.set(xlabel="tokens of a document", ylabel="documents")
        low, middle, high = np.percentile(lengths_N, [5, 50, 95])
        alt = f"Documents have {lengths_N.mean():.1f} tokens on average, {low:.0f} to {high:.0f} in nine of ten cases"
        return draw(figure, "lengths", f"{alt}, {middle:.0f} in the middle.", Notes())
