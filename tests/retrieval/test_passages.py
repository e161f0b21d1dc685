"""Documents ranked by their passages: by hand, and through an evaluation."""

import json
from dataclasses import replace
from pathlib import Path

from retrieval.beir_data import BeirData, load_beir
from retrieval.bm25 import score_bm25
from retrieval.passages import by_document, depth

DATA = BeirData(
    "x", "test", ["a#1", "a#2", "b", "c"], [""] * 4, ["q"], ["words"], {"q": {"a": 1}}, "", [],
    passage_of={"a#1": "a", "a#2": "a"},
)  # fmt: skip
HITS = [("b", 3.0), ("a#2", 2.0), ("c", 2.0), ("a#1", 1.5)]


def test_best_and_sum() -> None:
    """a: best 2, as c has, which comes first by its id; sum 3.5, above b."""
    assert by_document(HITS, DATA, "best") == [("b", 3.0), ("c", 2.0), ("a", 2.0)]
    assert by_document(HITS, DATA, "sum") == [("a", 3.5), ("b", 3.0), ("c", 2.0)]


def test_so_many_passages_that_the_documents_are_among_them() -> None:
    assert depth(DATA, 10) == 22 and depth(replace(DATA, passage_of={}), 10) == 11
    assert depth(DATA, 8000) == 10_000 and depth(DATA, 12_000) == 12_001


def test_an_evaluation_judges_documents(tmp_path: Path) -> None:
    """Two passages of d1 hold the query's word once each, d2 holds it twice: d2 by the best, d1 by the sum."""
    rows = [("d1#1", "cat dog", "d1"), ("d1#2", "cat cow", "d1"), ("d2", "cat cat", ""), ("d3", "none here", "")]
    lines = [json.dumps({"_id": i, "text": t, "metadata": {"passage_of": of} if of else {}}) for i, t, of in rows]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "cat"}')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/test.tsv").write_text("q\td1\t1\n")
    data = load_beir(str(tmp_path), "", "test")
    best, summed = score_bm25(data), score_bm25(data, passages="sum")
    assert [doc for doc, _ in best.rankings["q"]] == ["d2", "d1", "d3"][: len(best.rankings["q"])]
    assert [doc for doc, _ in summed.rankings["q"]][:2] == ["d1", "d2"]
    assert best.figures["ndcg@10"] < summed.figures["ndcg@10"] == 1.0
