"""The headline: what is best at which cost, by how much, and whether that is significant."""

from pathlib import Path

import numpy as np
import pytest

from experiment.report.grouping import make_systems
from experiment.report.headline import headline
from experiment.report.runs import load_runs
from experiment.report.systems import System, find_baseline
from tests.experiment.report.made_runs import LOG, RELU, make_runs, write_json

CONFIGS = {"all": [("flops", RELU, None, 0.04, False), ("mask", RELU, 100, 0.04, False), ("act", LOG, 100, 0.1, False)]}
BASE = 0.5 + 0.02 * np.sin(np.arange(40))
NOISE = 0.01 * np.cos(7 * np.arange(40))


def systems_with(folder: Path, figures: dict[str, tuple[np.ndarray, float]]) -> list[System]:
    """Runs by name with the NDCG@10 of each query, and FLOPS."""
    for path in map(Path, make_runs(folder, CONFIGS, (1,), ("a",), 2)):
        scores, flops = figures[path.name]
        ndcg = {f"q{i}": float(value) for i, value in enumerate(scores)}
        write_json(path / "evaluation" / "runs" / "a.per_query.json", {"ndcg@10": ndcg})
        write_json(path / "evaluation" / "a.json", {"ndcg@10": float(scores.mean()), "flops": flops, "d_length": 9.0})
    return make_systems(load_runs(sorted((folder / "all").iterdir())))


def said(systems: list[System]) -> list[str]:
    return headline(systems, find_baseline(systems, ("a",), None), ("a",))


def test_the_best_at_no_more_cost_with_interval_and_verdict(tmp_path):
    """The mask is 0.1 better at half the cost; the dearest, best of all, is no rival at that cost."""
    figures = {"flops": (BASE, 2.0), "mask": (BASE + 0.1 + NOISE, 1.0), "act": (BASE + 0.2, 3.0)}
    first, second = said(systems_with(tmp_path, figures))
    best = (BASE + 0.2).mean()
    assert first == f"Best NDCG@10 on a: act, {best:.4f} at 3 FLOPS."
    start = f"At no more FLOPS than the baseline, flops ({BASE.mean():.4f} at 2 FLOPS), the best is mask, "
    assert second.startswith(start) and "at 1 FLOPS (50 % fewer): the difference +0.1" in second
    assert second.endswith(" is significant (p < 0.0001).") and "(95 % interval +0.09" in second


def test_where_none_is_better_the_cheapest_as_good_one_is_named(tmp_path):
    """The mask is worse by less than its queries vary; the activation is clearly worse, though cheaper."""
    figures = {"flops": (BASE, 2.0), "mask": (BASE - 0.001 + NOISE, 1.5), "act": (BASE - 0.1 + NOISE, 1.0)}
    _, second = said(systems_with(tmp_path, figures))
    assert "none is better. The cheapest that is not significantly worse is mask, " in second
    assert "(25 % fewer): the difference -0.00" in second and " is not significant (p = " in second


def test_untested_differences_and_no_figures(tmp_path):
    figures = {"flops": (BASE, 2.0), "mask": (BASE + 0.1, 1.0), "act": (BASE, 3.0)}
    systems = systems_with(tmp_path, figures)
    for path in (tmp_path / "all").rglob("*.per_query.json"):
        path.unlink()
    assert said(systems)[1].endswith(
        "the difference +0.1000 is not tested, since figures of single queries are missing."
    )
    assert headline(systems, None, ("a",)) == said(systems)[:1] and headline([], None, ("a",)) == []


@pytest.mark.parametrize("shift", [0.1, -0.1])
def test_bm25_is_compared_with_the_best(tmp_path, shift):
    figures = {"flops": (BASE, 2.0), "mask": (BASE, 3.0), "act": (BASE, 3.0)}
    systems_with(tmp_path, figures)
    moved = tmp_path / "all" / "act" / "evaluation"
    (moved.parent / "old").mkdir()
    moved.rename(moved.parent / "old" / "evaluation")
    (moved / "baseline-bm25" / "runs").mkdir(parents=True)
    scores = {f"q{i}": float(v) for i, v in enumerate(BASE - shift + NOISE)}
    write_json(moved / "baseline-bm25" / "a.json", {"ndcg@10": float(BASE.mean() - shift)})
    write_json(moved / "baseline-bm25" / "runs" / "a.per_query.json", {"ndcg@10": scores})
    last = said(make_systems(load_runs(sorted((tmp_path / "all").iterdir()))))[-1]
    start = f"Against BM25 ({BASE.mean() - shift:.4f}), the difference {'+' if shift > 0 else '-'}0."
    assert last.startswith(start) and last.endswith(" is significant (p < 0.0001).")
