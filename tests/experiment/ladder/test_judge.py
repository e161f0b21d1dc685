"""Whether a rung is kept: by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiment.ladder.judge import Judge, Judged, named, verdict
from retrieval.beir_data import load_beir
from tests.retrieval.bag_of_words import write_beir

LENGTHS = [None, 48]
APART = np.arange(8)
"""Each query asks for another document."""


def judged(rows: Sequence[Sequence[float] | np.ndarray]) -> Judged:
    return Judged(np.array(rows), [100.0, 48.0])


OLD = judged([[0.5] * 8, [0.4] * 8])
GAINS = [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.0, 0.1]


def test_better_at_all_lengths_is_kept() -> None:
    """Each query's mean gain over both lengths is tested; the plain paired t-test says how sure it is."""
    new = judged([[0.5 + gain for gain in GAINS], [0.4 + gain for gain in GAINS]])
    found = verdict(new, OLD, LENGTHS, APART)
    assert found.kept and found.why == "better" and found.result.mean == pytest.approx(0.125)
    assert found.p == pytest.approx(float(stats.ttest_1samp(GAINS, 0).pvalue))


def test_chosen_among_several_has_to_be_surer() -> None:
    """p = 0.040 of one that was tried alone is 0.16 of the best of four."""
    gains = [0.1, 0.2, -0.03, 0.2, -0.02, 0.1, 0.0, 0.1]
    new = judged([[0.5 + gain for gain in gains], [0.4 + gain for gain in gains]])
    p = float(stats.ttest_1samp(gains, 0).pvalue)
    assert p < 0.05 < 4 * p
    assert verdict(new, OLD, LENGTHS, APART).kept and not verdict(new, OLD, LENGTHS, APART, tries=4).kept
    assert verdict(new, OLD, LENGTHS, APART, tries=4).why == "not told apart from chance"


def test_queries_of_one_document_are_one_piece_of_evidence() -> None:
    """Two queries of each of four documents gain the same: the test is of four, the mean stays the queries'."""
    gains = np.repeat([0.1, 0.2, 0.0, 0.1], 2)
    found = verdict(judged([0.5 + gains, 0.4 + gains]), OLD, LENGTHS, np.repeat(np.arange(4), 2))
    assert found.result.mean == pytest.approx(0.1) and found.result.queries == 4
    assert found.p == pytest.approx(float(stats.ttest_1samp([0.1, 0.2, 0.0, 0.1], 0).pvalue))
    uneven = verdict(judged([0.5 + gains, 0.4 + gains]), OLD, LENGTHS, np.array([0, 0, 0, 0, 0, 1, 2, 3]))
    assert uneven.result.mean == pytest.approx(0.1)


def test_a_loss_at_one_length_is_not_made_good_at_another() -> None:
    new = judged([[0.49] * 8, [0.4 + 3 * gain for gain in GAINS]])
    found = verdict(new, OLD, LENGTHS, APART)
    assert not found.kept and found.why == "loses too much: -0.0100 at all" and found.result.mean > 0


def test_what_is_not_better_is_not_kept() -> None:
    assert verdict(OLD, OLD, LENGTHS, APART).why == "not better than before"
    assert named(None) == "all" and named(48) == "48"


def test_what_was_judged_once_is_read_again(tmp_path: Path) -> None:
    """BM25 finds both documents by their words; what is stored is read again, unless other lengths are asked for."""
    corpus = [{"_id": f"d{i}", "text": text} for i, text in enumerate(["red bird", "blue cat", "green tree"])]
    queries = [{"_id": "q0", "text": "bird"}, {"_id": "q1", "text": "cat"}]
    write_beir(tmp_path / "data", corpus, queries, [("q0", "d0", 1), ("q1", "d1", 1)])
    data = load_beir(str(tmp_path / "data"), "", "test")
    judge = Judge(data, LENGTHS, tmp_path / "ladder", "best", 8)
    assert judge.bm25().mean_L.tolist() == [1.0, 1.0]
    stored = tmp_path / "ladder/bm25.json"
    stored.write_text(stored.read_text().replace("1.0", "0.25"))
    assert judge.bm25().mean_L.tolist() == [0.25, 0.25]
    assert Judge(data, [None, 24], tmp_path / "ladder", "best", 8).bm25().mean_L.tolist() == [1.0, 1.0]
