"""Runs that several tests of the report read."""

from pathlib import Path

import pytest

from tests.experiment.report.small_runs import RUNS, write_evaluation, write_run


@pytest.fixture
def quickstart(tmp_path: Path) -> list[str]:
    """Three runs; BM25 was evaluated in the first one's folder."""
    folders = [write_run(tmp_path / "output" / "quickstart" / name, figures) for name, figures in RUNS.items()]
    bm25 = {"ndcg@10": 0.472, "recall@100": 0.8, "flops": 0.7, "q_length": 9.0, "d_length": 55.0}
    write_evaluation(folders[0] / "evaluation" / "baseline-bm25", {"docstrings": bm25})
    return [str(folder) for folder in folders]
