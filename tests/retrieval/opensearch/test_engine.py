"""The engine on a real node: the exact engine's rankings, and what shards, phases and limits make of them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix, identity

from retrieval.beir_data import BeirData
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import stored_precision
from retrieval.score_dataset import DatasetScores, DropQueryId, score_dataset
from sparse_model.errors import UserError
from tests.retrieval.bag_of_words import VOCABULARY, BagOfWords
from tests.retrieval.opensearch.helpers import ALL, HOMES, SAME, TOKENS, Given, MakeEngine, on, same

pytestmark = [pytest.mark.opensearch, pytest.mark.xdist_group("opensearch"), HOMES]


def test_the_same_rankings_and_figures_as_the_exact_engine(
    make_engine: MakeEngine, data: BeirData, exact: DatasetScores
) -> None:
    result = on(make_engine(), data)
    same(result, exact)
    figures = result.figures
    assert figures["engine"] == "opensearch" and figures["index_bytes"] > 10_000 and not figures["index_reused"]
    assert 0 < figures["latency_p50_ms"] <= figures["latency_p95_ms"] <= figures["latency_p99_ms"]
    assert figures["queries_per_s_at_1"] > 0 and figures["queries_per_s_at_8"] > 0 and figures["ingest_docs_per_s"] > 0


def test_every_token_is_found_by_its_name(make_engine: MakeEngine) -> None:
    """Document i holds token i alone, and query i finds it alone: dots, spaces, quotes, the empty token."""
    engine = make_engine("names")
    eye = csr_matrix(identity(VOCABULARY, dtype=np.float32, format="csr"))
    engine.index([f"d{i}" for i in range(VOCABULARY)], VOCABULARY, Given((np.arange(VOCABULARY), eye)))
    found = [positions.tolist() for positions, _ in engine.search(eye, 10)]
    assert found == [[i] for i in range(VOCABULARY)], [TOKENS[i] for i, f in enumerate(found) if f != [i]]


def test_scores_are_predicted_by_rounded_weights(make_engine: MakeEngine) -> None:
    """To the last bit: products in single precision, their sum in double, the score in single again."""
    rng = np.random.default_rng(1)
    weights = csr_matrix(rng.random((300, VOCABULARY), dtype=np.float32) * (rng.random((300, VOCABULARY)) < 0.3))
    queries = csr_matrix(rng.random((20, VOCABULARY), dtype=np.float32) * (rng.random((20, VOCABULARY)) < 0.3))
    engine = make_engine("random weights")
    engine.index([f"d{i:03}" for i in range(300)], VOCABULARY, Given((np.arange(300), weights.copy())))
    stored = stored_precision(weights).toarray()
    for (positions, scores), query in zip(engine.search(queries, 300), queries.toarray(), strict=True):
        expected = (query * stored).sum(axis=1, dtype=np.float64).astype(np.float32)
        found = np.flatnonzero(expected)
        assert positions.tolist() == found[np.lexsort((found, -expected[found]))].tolist()
        assert scores.tolist() == expected[positions].tolist()


def test_queries_beyond_the_clause_limit_keep_their_heaviest_tokens(
    make_engine: MakeEngine, server: Server, data: BeirData, exact: DatasetScores, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine("limit")
    on(engine, data, search=False)
    try:
        server.call("PUT", "/_cluster/settings", {"transient": {"indices.query.bool.max_clause_count": 2}})
        result = on(engine, data)
    finally:
        server.call("PUT", "/_cluster/settings", {"transient": {"indices.query.bool.max_clause_count": None}})
    cut = int(sum(n > 2 for n in np.diff(BagOfWords().encode_queries(data.queries).indptr)))
    assert result.figures["queries_cut"] == cut > 0 and f"{cut} queries have more than 2 tokens" in caplog.text
    assert result.rankings != exact.rankings and result.figures["flops"] == exact.figures["flops"]


def test_two_phases_and_pruning_report_their_loss(
    make_engine: MakeEngine, data: BeirData, exact: DatasetScores
) -> None:
    """All documents of the first phase are rescored; what it misses are those with light tokens alone."""
    two = on(make_engine("two", two_phase=True), data).figures
    assert two["exact_ndcg@10"] == exact.figures["ndcg@10"]
    assert two["ndcg@10_loss"] == pytest.approx(exact.figures["ndcg@10"] - two["ndcg@10"])
    assert two["overlap@10"] == 1.0  # weights of 1 to 1.75: all are above 0.4 × the heaviest
    pruned = on(make_engine("two"), data, query_prune=0.9).figures
    in_memory = score_dataset(BagOfWords(), data, ALL, query_prune=0.9).figures
    for key in (*SAME, "exact_ndcg@10", "ndcg@10_loss", "recall@100_loss", "overlap@10", "overlap@100"):
        assert pruned[key] == in_memory[key], key
    assert pruned["overlap@10"] < 1


def test_two_phases_rescore_by_all_tokens(make_engine: MakeEngine) -> None:
    """Query 1.0, 0.3: "light" (0, 9) is not found by the heavy token; of the others the second phase's order counts."""
    documents = csr_matrix(np.array([[1, 0], [0.5, 8], [0, 9]], dtype=np.float32))
    documents.resize(3, VOCABULARY)
    query = csr_matrix(([1.0, 0.3], ([0, 0], [0, 1])), shape=(1, VOCABULARY), dtype=np.float32)
    engine = make_engine("phases", two_phase=True)
    engine.index(["heavy", "both", "light"], VOCABULARY, Given((np.arange(3), documents)))
    assert engine.search(query, 10)[0][0].tolist() == [1, 0]
    assert engine.search(query, 10)[0][1].tolist() == pytest.approx([0.5 + 8 * 0.3, 1.0])
    assert engine.search(query, 10, exhaustive=True)[0][0].tolist() == [1, 2, 0]


def test_more_hits_than_a_window(make_engine: MakeEngine, data: BeirData, exact: DatasetScores) -> None:
    engine = make_engine("window", two_phase=True)
    assert score_dataset(BagOfWords(), data, 10**9, engine=engine).rankings == exact.rankings


def test_shards_change_nothing(make_engine: MakeEngine, data: BeirData, exact: DatasetScores) -> None:
    same(on(make_engine("shards", shards=3), data), exact)


def test_empty_texts(make_engine: MakeEngine, data: BeirData) -> None:
    qrels = {"q": {"a": 1}, "r": {"b": 1}}
    some = replace(data, doc_ids=["a", "b"], texts=["", "x"], query_ids=["q", "r"], queries=["", "x"], qrels=qrels)
    result = on(make_engine("some"), some)
    assert result.rankings["q"] == [] and len(result.rankings["r"]) == 1 and result.figures["d_length"] == 0.5
    with pytest.raises(UserError, match="none of its 2 documents has a token with weight"):
        on(make_engine("empty"), replace(some, texts=["", ""]))


@pytest.mark.parametrize("drop", ["auto", False])
def test_a_querys_own_document(make_engine: MakeEngine, data: BeirData, drop: DropQueryId) -> None:
    """Left out as by the exact engine, and the next one takes its place."""
    qid, query = data.query_ids[0], data.queries[0]
    texts = [query if name == qid else text for name, text in zip(data.doc_ids, data.texts, strict=True)]
    qrels = data.qrels | {qid: {"d1": 1}}
    own = replace(data, texts=texts, qrels=qrels, in_corpus=frozenset({qid}))
    # Loaded in the order of ids: of documents that tie at the cut-off, the server takes those that came first.
    engine = make_engine("own", threads=1)
    result = score_dataset(BagOfWords(), own, 5, engine=engine, drop_query_id=drop)
    same(result, score_dataset(BagOfWords(), own, 5, drop_query_id=drop))
    assert len(result.rankings[qid]) == 5 and (qid in dict(result.rankings[qid])) == (drop is False)
