"""What the plan says of rows: counted by hand, of all rows or of the first; what teaches nothing is refused."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import UserError
from tests.conftest import SENTENCES, write_jsonl
from tests.training.runs import words_for
from training.data import Examples
from training.row_counts import count_texts, score_orders

ROWS = [
    {"query": "river", "pos": "a", "negs": ["b", "a"]},
    {"query": "river", "pos": "c", "negs": ["d"]},
    {"query": "road", "pos": "e", "negs": ["f", " "]},
    {"query": "", "pos": "g", "negs": None},
]


def test_texts_by_hand() -> None:
    """Row 0 holds its positive, rows 0 and 1 share a query; a blank negative and an empty query are no texts."""
    counts = count_texts(datasets.Dataset.from_list(ROWS), "posnegs")
    assert (counts.rows, counts.documents, counts.is_all) == (4, 9, True)
    assert (counts.repeating_positive, counts.sharing_query) == (1, 2)
    assert (counts.empty_queries, counts.empty_documents, counts.has_texts) == (1, 1, True)
    kd = datasets.Dataset.from_list([{"query": "q", "docs": ["x", "y", "x"], "scores": [3.0, 2.0, 1.0]}] * 2)
    assert (count_texts(kd, "kd").repeating_positive, count_texts(kd, "kd").sharing_query) == (2, 2)


def test_a_sample_is_said_to_be_one() -> None:
    """Four texts of row 0 and three of row 1 are the first seven."""
    counts = count_texts(datasets.Dataset.from_list(ROWS), "posnegs", most=7)
    assert (counts.rows, counts.is_all) == (2, False)
    assert [sentence.split(":")[0] for sentence in counts.sentences()] == ["of the first 2 rows"] * 2


def test_orders_of_scores_by_hand() -> None:
    """Falling; rising; rising with a tie; up and down; alone; equal: three do not fall, two of them only rise."""
    rows = [[3, 2, 1], [1, 2], [1, 1, 2], [1, 3, 2], [9], [5, 5], []]
    assert score_orders(np.array(sum(rows, []), dtype=float), np.array([len(row) for row in rows])) == (3, 2)


def _plan(tiny_model: Path, tmp_path: Path, rows: list[dict], capsys: pytest.CaptureFixture, *more: str) -> str:
    file = write_jsonl(tmp_path / ("kd.jsonl" if "docs" in rows[0] else "rows.jsonl"), rows)
    words = ["sample_num_one_query=2", "per_device_train_batch_size=2", "dry_run=true", *more]
    train(load_settings(words_for(tiny_model, file, tmp_path / "run", *words)))
    return capsys.readouterr().out


def test_the_plan_says_what_rows_hold(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [{"query": "bridge", "pos": s, "negs": [s, *SENTENCES[:i]]} for i, s in enumerate(SENTENCES, 1) if i != 3]
    text = _plan(tiny_model, tmp_path, rows, capsys)
    assert "negatives a row: 2 to 7, median 5" in text
    assert "5 rows hold the positive among their other documents, where it is left out" in text
    assert "5 rows have the same query as another row" in text and "empty" not in text


def test_the_plan_says_that_scores_rise(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [{"query": s[:9], "docs": [s, "snow", "rain"], "scores": [1.0, 2.0, i]} for i, s in enumerate(SENTENCES)]
    text = _plan(tiny_model, tmp_path, rows, capsys)
    assert (
        "documents a row: 3 to 3, median 3" in text and "6 rows have scores that do not fall (4 of them rise)" in text
    )


def test_the_plan_says_what_queries_weigh(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = [{"query": s[:9], "pos": s, "negs": ["snow", "rain"]} for s in SENTENCES]
    assert "inference-free, query weights: 1 for every token" in _plan(tiny_model, tmp_path, rows, capsys)
    (tmp_path / "idf.json").write_text('{"snow": 2.5}')
    given = f"idf_path={tmp_path / 'idf.json'}"
    assert f"query weights: {tmp_path / 'idf.json'}" in _plan(tiny_model, tmp_path, rows, capsys, given)


@pytest.mark.parametrize("empty", ["queries", "documents"])
def test_rows_without_texts_are_refused(
    empty: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    blank = {"query": " "} if empty == "queries" else {"pos": "", "negs": ["", " "]}
    rows = [{"query": s[:9], "pos": s, "negs": ["snow", "rain"]} | blank for s in SENTENCES]
    with pytest.raises(UserError, match=f"rows.jsonl: all {empty} of its rows are empty"):
        _plan(tiny_model, tmp_path, rows, capsys)


def test_a_batch_without_negatives_is_refused(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """One query, in-batch negatives only: its positive has nothing to be ranked against. A negative, or two: it has."""
    alone = [{"query": s[:9], "pos": s} for s in SENTENCES]
    with pytest.raises(UserError, match="per_device_train_batch_size: .* holds no negative"):
        _plan(tiny_model, tmp_path, alone, capsys, "per_device_train_batch_size=1")
    assert "without hard negatives" in _plan(tiny_model, tmp_path, alone, capsys)
    rows = [row | {"negs": ["snow", "rain"]} for row in alone]
    assert "negatives a row: 2 to 2" in _plan(tiny_model, tmp_path, rows, capsys, "per_device_train_batch_size=1")


def test_a_plan_is_refused_where_no_step_is_full(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = words_for(tiny_model, posnegs_file, tmp_path, "dry_run=true", "gradient_accumulation_steps=99")
    with pytest.raises(UserError, match="do not fill one optimizer step"):
        train(load_settings(words))


def test_only_rows_that_are_used_count(tmp_path: Path) -> None:
    """Of rows with 1, 2 and 5 negatives, two an example: the first gives none."""
    rows = [{"query": "q", "pos": "p", "negs": list("abcde"[:n])} for n in (1, 2, 5)]
    examples = Examples(write_jsonl(tmp_path / "rows.jsonl", rows), "posnegs", documents_per_query=2)
    assert examples.row_sentences() == ["negatives a row: 2 to 5, median 3.5"]
