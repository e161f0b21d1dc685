"""The evaluation against brute force and BEIR's own evaluator; pruning; BM25; one process equals two."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from experiment.settings.value_types import LANGUAGES
from retrieval.beir_data import BeirData, load_beir
from retrieval.bm25 import K1, B, score_bm25, tokenize
from retrieval.metrics import DEFAULT_METRICS, figure_name
from retrieval.score_dataset import DropQueryId, prune, score_dataset
from sparse_model.errors import UserError
from tests.retrieval.bag_of_words import BagOfWords, random_beir, write_beir

TIMINGS = ("encode_docs_per_s", "search_queries_per_s", "seconds")


@pytest.fixture
def data(tmp_path: Path) -> BeirData:
    return load_beir(str(random_beir(tmp_path / "random", 200)), "")


def brute_force_run(data: BeirData, k: int) -> dict[str, list[tuple[str, float]]]:
    encoder = BagOfWords()
    scores = (encoder.encode_queries(data.queries) @ encoder.encode_documents(data.texts).T).toarray()
    run = {}
    for qid, row in zip(data.query_ids, scores, strict=True):
        hits = [(doc, float(s)) for doc, s in zip(data.doc_ids, row, strict=True) if s > 0 and doc != qid]
        run[qid] = sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=True)[:k]
    return run


@pytest.mark.parametrize("k", [1, 7, 1000])
def test_run_equals_brute_force(data: BeirData, k: int) -> None:
    assert score_dataset(BagOfWords(), data, top_k=k, drop_query_id=True).rankings == brute_force_run(data, k)


def test_the_querys_own_document_is_left_out_and_replaced(tmp_path: Path) -> None:
    corpus = [{"_id": name, "text": "a b"} for name in ("1", "2", "3")]
    folder = write_beir(tmp_path / "own", corpus, [{"_id": "3", "text": "a"}], [("3", "1", 1)])
    run = score_dataset(BagOfWords(), load_beir(str(folder), ""), top_k=2, drop_query_id=True).rankings
    assert [doc for doc, _ in run["3"]] == ["2", "1"]


def _own(tmp_path: Path) -> BeirData:
    """Four queries whose ids are documents' too: twice with the query's text (once as the title), twice with another.

    Every document holds the words of every query. Query 4 is its own text, and judged relevant.
    """
    corpus = [
        {"_id": "1", "title": "topic", "text": "red  fish"},
        {"_id": "2", "title": "red fish", "text": "swims"},
        {"_id": "3", "text": "red fish swims"},
        {"_id": "4", "text": "red fish"},
    ]
    queries = [{"_id": name, "text": "red fish"} for name in "1234"]
    qrels = [("1", "3", 1), ("2", "3", 1), ("3", "1", 1), ("4", "4", 1)]
    return load_beir(str(write_beir(tmp_path / "own", corpus, queries, qrels)), "")


@pytest.mark.parametrize(("drop", "without"), [("auto", "12"), (True, "123"), (False, "")])
def test_whose_own_document_is_left_out(
    tmp_path: Path, drop: DropQueryId, without: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A relevant one never is; how many are is said. BM25 leaves out the same."""
    caplog.set_level("INFO")
    data = _own(tmp_path)
    for result in (score_dataset(BagOfWords(), data, drop_query_id=drop), score_bm25(data, drop_query_id=drop)):
        found = {qid: {doc for doc, _ in hits} for qid, hits in result.rankings.items()}
        assert found == {qid: set("1234") - ({qid} if qid in without else set()) for qid in "1234"}
    assert caplog.text.count(f"own: {len(without)} queries do not find the document of their own id") == 2 * bool(
        without
    )


def test_numbers_on_both_sides_are_no_reason(tmp_path: Path) -> None:
    """Queries and documents are both numbered from 1, and each query's one relevant document has its number."""
    texts = ["tea leaves", "snow falls", "a red kite"]
    corpus = [{"_id": str(n), "text": f"{text} here"} for n, text in enumerate(texts)]
    queries = [{"_id": str(n), "text": text} for n, text in enumerate(texts)]
    data = load_beir(str(write_beir(tmp_path / "n", corpus, queries, [(str(n), str(n), 1) for n in range(3)])), "")
    assert "3 documents have a query's id, but not its text" in "\n".join(data.notes)
    for drop in ("auto", True, False):
        assert score_dataset(BagOfWords(), data, drop_query_id=drop).figures["ndcg@10"] == 1  # type: ignore[arg-type]


def test_figures_against_an_independent_count(data: BeirData) -> None:
    encoder = BagOfWords()
    figures = score_dataset(encoder, data).figures
    queries = encoder.encode_queries(data.queries).toarray() > 0
    documents = encoder.encode_documents(data.texts).toarray() > 0
    pairs = [(q & d).sum() for q in queries for d in documents]
    assert figures["flops"] == pytest.approx(np.mean(pairs))
    assert figures["q_length"] == pytest.approx(queries.sum(axis=1).mean())
    assert figures["d_length"] == pytest.approx(documents.sum(axis=1).mean())
    assert (figures["dataset"], figures["split"], figures["engine"]) == ("random", "test", "exact")
    assert (figures["queries"], figures["documents"]) == (20, 200)
    assert figures["index_bytes"] == documents.sum() * 6
    assert set(map(figure_name, DEFAULT_METRICS)) | set(TIMINGS) <= figures.keys() and json.dumps(figures)


def test_same_as_beirs_own_evaluation(data: BeirData) -> None:
    from beir.retrieval.evaluation import EvaluateRetrieval

    result = score_dataset(BagOfWords(), data)
    run = {qid: dict(hits) for qid, hits in result.rankings.items()}
    ndcg, average_precision, recall, _ = EvaluateRetrieval.evaluate(data.qrels, run, [10, 100, 1000])
    assert result.figures["ndcg@10"] == pytest.approx(ndcg["NDCG@10"], abs=1e-5)
    assert result.figures["recall@100"] == pytest.approx(recall["Recall@100"], abs=1e-5)
    assert result.figures["map"] == pytest.approx(average_precision["MAP@1000"], abs=1e-5)
    mrr = EvaluateRetrieval.evaluate_custom(data.qrels, run, [10], metric="mrr")
    assert result.figures["mrr@10"] == pytest.approx(mrr["MRR@10"], abs=1e-5)


def test_query_prune_drops_weights_up_to_the_share() -> None:
    """Share 0.5: of 4, 2, 1 only 4 stays (2 is not above 2); of 1, 0.75 both stay; empty stays empty."""
    queries = csr_matrix(np.array([[4, 2, 1], [1, 0, 0.75], [0, 0, 0]], dtype=np.float32))
    assert prune(queries, 0.5).toarray().tolist() == [[4, 0, 0], [1, 0, 0.75], [0, 0, 0]]
    assert prune(queries, 0.0).toarray().tolist() == queries.toarray().tolist()
    assert queries.nnz == 5  # the input is as it was


def test_query_prune_shortens_queries(data: BeirData) -> None:
    full, pruned = (score_dataset(BagOfWords(), data, query_prune=share).figures for share in (0.0, 0.9))
    assert pruned["q_length"] < full["q_length"] and pruned["flops"] < full["flops"]


def test_empty_texts_among_others(tmp_path: Path) -> None:
    corpus = [{"_id": "d", "text": ""}, {"_id": "e", "text": "kite"}]
    queries = [{"_id": "q", "text": ""}, {"_id": "r", "text": "kite"}]
    data = load_beir(str(write_beir(tmp_path / "e", corpus, queries, [("q", "d", 1), ("r", "e", 1)])), "")
    for result in (score_dataset(BagOfWords(), data), score_bm25(data)):
        assert result.rankings["q"] == [] and len(result.rankings["r"]) == 1
        assert result.figures["ndcg@10"] == 0.5 and result.figures["flops"] == 1 / 4


class Silent(BagOfWords):
    """Gives neither documents nor queries a weight, or only one of them none."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> csr_matrix:
        return super().encode_documents(texts) * (0 if "documents" in self.silent else 1)

    def encode_queries(self, texts: Sequence[str]) -> csr_matrix:
        return super().encode_queries(texts) * (0 if "queries" in self.silent else 1)


@pytest.mark.parametrize("what", ["documents", "queries"])
def test_nothing_to_find_is_an_error(tmp_path: Path, what: str) -> None:
    """Not figures of 0. Whether the texts are empty, or a model leaves nothing of them, is told apart."""
    texts = {"documents": "a b" if what == "queries" else "", "queries": "" if what == "queries" else "a b"}
    corpus, queries = [{"_id": "d", "text": texts["documents"]}], [{"_id": "q", "text": texts["queries"]}]
    empty = load_beir(str(write_beir(tmp_path / "e", corpus, queries, [("q", "d", 1)])), "")
    filled = load_beir(str(write_beir(tmp_path / "f", [{"_id": "d", "text": "the a"}], queries, [("q", "d", 1)])), "")
    said = f"none of its 1 {what} has a token with weight: "
    with pytest.raises(UserError, match=said + "all of them are empty"):
        score_dataset(BagOfWords(), empty)
    with pytest.raises(UserError, match="a token with weight"):
        score_bm25(empty)
    with pytest.raises(UserError, match=said):
        score_dataset(Silent(what), filled)
    with pytest.raises(UserError, match="documents .* though 1 of them are not empty; BM25 knows words"):
        score_bm25(filled)


def test_bm25_by_hand(tiny: Path) -> None:
    """Query "cheese" is in one of 3 documents; document 3 (mice eat cheese) has 3 terms, the mean is 10/3.

    Lucene's form: idf = ln(1 + (3 - 1 + 0.5)/(1 + 0.5)), times tf/(tf + k1(1 - b + b · 0.9)) with tf = 1.
    """
    result = score_bm25(load_beir(str(tiny), ""))
    (doc, score), *rest = result.rankings["q2"]
    expected = math.log(1 + 2.5 / 1.5) / (1 + K1 * (1 - B + B * 0.9))
    assert (doc, rest) == ("d3", []) and score == pytest.approx(expected, rel=1e-6)
    assert [doc for doc, _ in result.rankings["q1"]] == ["d1", "d2"]
    # Distinct terms: cat chase mice / dog chase cat / mice eat chees; queries: cat, chees.
    assert (result.figures["d_length"], result.figures["q_length"]) == (3, 1)
    assert result.figures["flops"] == pytest.approx(1 / 2 * 2 / 3 + 1 / 2 * 1 / 3)
    assert result.figures["engine"] == "bm25s" and result.figures["index_bytes"] > 0


def test_bm25_in_other_languages() -> None:
    """Häuser and Haus are one to German, und and der are nothing; without a language words stay as they are."""
    assert tokenize(["Die Häuser und der Hund"], "german") == [["haus", "hund"]]
    assert tokenize(["Häuser und Haus"], None) == [["häuser", "und", "haus"]]
    assert tokenize(["the houses"]) == [["hous"]]
    assert all(tokenize(["a word"], language) for language in LANGUAGES)


def test_bm25_logs_no_step(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    score_bm25(load_beir(str(tiny), ""))
    assert [record for record in caplog.records if record.name == "bm25s"] == []


def test_bm25_ties_rank_by_id_descending_at_the_cut_off(tmp_path: Path) -> None:
    corpus = [{"_id": str(i), "text": "same words here"} for i in range(1, 12)]
    folder = write_beir(tmp_path / "ties", corpus, [{"_id": "q", "text": "words"}], [("q", "1", 1)])
    run = score_bm25(load_beir(str(folder), ""), top_k=3).rankings
    assert [doc for doc, _ in run["q"]] == ["9", "8", "7"]
