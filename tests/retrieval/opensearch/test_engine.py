"""The engine on a real node: the exact engine's rankings, indexes that are reused and completed, faults on the way."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix, identity

from retrieval.beir_data import BeirData
from retrieval.engine import ExactEngine
from retrieval.evaluate import Result, evaluate
from retrieval.opensearch.client import Server
from retrieval.opensearch.engine import OpenSearchEngine
from retrieval.opensearch.features import stored_precision
from retrieval.opensearch.ingest import Loader
from retrieval.opensearch.node import Node
from retrieval.opensearch.preflight import check_server
from sparse_model.errors import RunError, UserError
from tests.retrieval.bag_of_words import VOCABULARY, BagOfWords
from tests.retrieval.opensearch.conftest import TOKENS, MakeEngine, MakeNode
from tests.retrieval.opensearch.proxy import Proxy, proxied

pytestmark = [pytest.mark.opensearch, pytest.mark.xdist_group("opensearch")]

SAME = ("queries", "documents", "ndcg@10", "recall@100", "mrr@10", "map", "flops", "q_length", "d_length")
ALL = 3000  # more than there are documents: no ranking is cut, so that ties are no matter of chance


class Watched(BagOfWords):
    """Counts the documents it encodes; may call something before each block."""

    def __init__(self, before=None) -> None:
        self.encoded, self._before = 0, before

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> csr_matrix:
        if self._before:
            self._before(self.encoded)
        self.encoded += len(texts)
        return super().encode_documents(texts, batch_size)


class Scaled(BagOfWords):
    """Another checkpoint: weights rise with the token's id."""

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> csr_matrix:
        weights = super().encode_documents(texts)
        return csr_matrix(weights.multiply(1 + np.arange(VOCABULARY) / 4))


def same(result: Result, expected: Result) -> None:
    assert result.run == expected.run
    assert {key: result.figures[key] for key in SAME} == {key: expected.figures[key] for key in SAME}


@pytest.fixture
def exact(data: BeirData) -> Result:
    return evaluate(BagOfWords(), data, ALL)


def on(engine: OpenSearchEngine, data: BeirData, encoder: BagOfWords | None = None, **options) -> Result:
    return evaluate(encoder or BagOfWords(), data, ALL, engine=engine, **options)


def test_the_same_rankings_and_figures_as_the_exact_engine(
    make_engine: MakeEngine, data: BeirData, exact: Result
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
    engine.index([f"d{i}" for i in range(VOCABULARY)], VOCABULARY, lambda skip: iter([(np.arange(VOCABULARY), eye)]))
    found = [positions.tolist() for positions, _ in engine.search(eye, 10)]
    assert found == [[i] for i in range(VOCABULARY)], [TOKENS[i] for i, f in enumerate(found) if f != [i]]


def test_scores_are_predicted_by_rounded_weights(make_engine: MakeEngine) -> None:
    """To the last bit: products in single precision, their sum in double, the score in single again."""
    rng = np.random.default_rng(1)
    weights = csr_matrix(rng.random((300, VOCABULARY), dtype=np.float32) * (rng.random((300, VOCABULARY)) < 0.3))
    queries = csr_matrix(rng.random((20, VOCABULARY), dtype=np.float32) * (rng.random((20, VOCABULARY)) < 0.3))
    engine = make_engine("random weights")
    engine.index([f"d{i:03}" for i in range(300)], VOCABULARY, lambda skip: iter([(np.arange(300), weights.copy())]))
    stored = stored_precision(weights).toarray()
    for (positions, scores), query in zip(engine.search(queries, 300), queries.toarray(), strict=True):
        expected = (query * stored).sum(axis=1, dtype=np.float64).astype(np.float32)
        found = np.flatnonzero(expected)
        assert positions.tolist() == found[np.lexsort((found, -expected[found]))].tolist()
        assert scores.tolist() == expected[positions].tolist()


def test_a_complete_index_is_reused(make_engine: MakeEngine, data: BeirData, exact: Result) -> None:
    with pytest.raises(UserError, match="holds no complete index random-.*keep_index"):
        on(make_engine("reuse", skip_ingest=True), data)
    on(make_engine("reuse"), data, search=False)
    encoder = Watched()
    result = on(make_engine("reuse", skip_ingest=True), data, encoder)
    same(result, exact)
    assert encoder.encoded == 0 and result.figures["index_reused"]


def test_loading_that_was_cut_short_goes_on(
    make_engine: MakeEngine, data: BeirData, exact: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine("cut")

    def stop(encoded: int) -> None:
        if encoded:
            while engine._index.count() < 1024:
                time.sleep(0.1)
                engine._index.refresh()
            raise KeyboardInterrupt

    requests = Loader._requests
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        # No document of a block waits for the next block.
        patched.setattr(Loader, "_requests", lambda self, lines, last: requests(self, lines, last=True))
        on(engine, data, Watched(stop))
    encoder = Watched()
    same(on(make_engine("cut"), data, encoder), exact)
    assert encoder.encoded == 2500 - 1024


def test_an_index_that_lost_documents_is_completed(
    make_engine: MakeEngine, server: Server, data: BeirData, exact: Result
) -> None:
    engine = make_engine("lost")
    on(engine, data)
    server.call("DELETE", f"/{engine.name}/_doc/{data.doc_ids[7]}", params={"refresh": "true"})
    encoder = Watched()
    same(on(make_engine("lost"), data, encoder), exact)
    assert 0 < encoder.encoded <= 1024


def test_an_index_of_somebody_else_is_left_alone(make_engine: MakeEngine, server: Server, data: BeirData) -> None:
    engine = make_engine("foreign")
    server.call("PUT", f"/{engine.name}", {"mappings": {"properties": {"own": {"type": "keyword"}}}})
    with pytest.raises(UserError, match="was not made by this program"):
        on(engine, data)
    assert "own" in server.call("GET", f"/{engine.name}/_mapping")[engine.name]["mappings"]["properties"]


@pytest.fixture
def proxy(node) -> Iterator[Proxy]:
    with proxied(node.url) as proxy:
        yield proxy


def test_nothing_is_lost_where_requests_are_refused_dropped_and_delayed(
    make_engine: MakeEngine, server: Server, proxy: Proxy, data: BeirData, exact: Result, monkeypatch
) -> None:
    """30 % of requests refused with 429, others dropped before or after the server saw them, or late."""
    monkeypatch.setattr("retrieval.opensearch.ingest.LEAST_BYTES", 10_000)  # many requests
    monkeypatch.setattr("retrieval.opensearch.client.LONGEST_PAUSE_S", 0.3)
    proxy.refused, proxy.dropped, proxy.lost, proxy.delayed = 0.3, 0.1, 0.1, 0.2
    through = Server([proxy.url], patience_s=60)
    engine = make_engine("proxy", through)
    on(engine, data, search=False)
    assert engine._index.count() == 2500 and min(proxy.counts.values()) >= 2, proxy.counts
    same(on(make_engine("proxy", server, skip_ingest=True), data), exact)
    hits = [qid for qid, _ in on(make_engine("proxy", through), data).run.items()]
    assert len(hits) == len(data.queries)


def test_a_late_answer_is_asked_for_again(
    make_engine: MakeEngine, proxy: Proxy, data: BeirData, exact: Result, monkeypatch
) -> None:
    proxy.delayed = 0.3
    monkeypatch.setattr("retrieval.opensearch.client.REQUEST_S", 0.25)
    through = Server([proxy.url], patience_s=30)
    call = through.call
    monkeypatch.setattr(through, "call", lambda *a, **k: call(*a, **{"timeout_s": 2.0, **k}))
    same(on(make_engine("late", through), data), exact)
    assert proxy.counts["delayed"] > 0


def test_a_server_that_stays_away_ends_the_run(make_engine: MakeEngine, proxy: Proxy, data: BeirData) -> None:
    def vanish(encoded: int) -> None:
        proxy.dropped = 1.0

    started = time.monotonic()
    with pytest.raises(RunError, match="_bulk: no answer"):
        on(make_engine("away", Server([proxy.url], patience_s=2)), data, Watched(vanish))
    assert time.monotonic() - started < 60


def test_a_full_disk_is_said_and_ends_the_run(
    make_engine: MakeEngine, node: Node, server: Server, data: BeirData
) -> None:
    engine = make_engine("full", Server([node.url], patience_s=3600))

    def fill(encoded: int) -> None:
        # What the node does to every index when its disk is above the flood stage.
        server.call("PUT", f"/{engine.name}/_settings", {"index.blocks.read_only_allow_delete": True})

    started = time.monotonic()
    with pytest.raises(RunError, match="disk is above the flood stage"):
        on(engine, data, Watched(fill))
    assert time.monotonic() - started < 600
    server.call("PUT", f"/{engine.name}/_settings", {"index.blocks.read_only_allow_delete": None})
    assert on(make_engine("full"), data, search=False).figures["documents"] == 2500


def test_the_preflight_sees_a_disk_below_its_flood_stage_and_a_small_heap(server: Server) -> None:
    disk = "cluster.routing.allocation.disk.watermark."
    levels = {disk + level: "900000gb" for level in ("low", "high", "flood_stage")}
    check_server(server, 1000, 2, "")
    try:
        server.call("PUT", "/_cluster/settings", {"transient": levels})
        with pytest.raises(UserError, match="below its flood stage"):
            check_server(server, 1000, 2, "")
    finally:
        server.call("PUT", "/_cluster/settings", {"transient": dict.fromkeys(levels)})
    with pytest.raises(UserError, match="MiB of heap, but 100000000 documents take .*give opensearch_heap=9g"):
        check_server(server, 10**8, 2, "give opensearch_heap=9g")


def test_two_evaluations_at_once_are_both_right(make_engine: MakeEngine, data: BeirData, exact: Result) -> None:
    results: dict[str, Result] = {}

    def run(name: str, encoder: BagOfWords) -> None:
        results[name] = on(make_engine(name), data, encoder)

    threads = [threading.Thread(target=run, args=(type(e).__name__, e)) for e in (BagOfWords(), Scaled())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(results["BagOfWords"], exact)
    same(results["Scaled"], evaluate(Scaled(), data, ALL, engine=ExactEngine(stored_precision)))
    assert results["Scaled"].figures["index"] != results["BagOfWords"].figures["index"]


def test_queries_beyond_the_clause_limit_keep_their_heaviest_tokens(
    make_engine: MakeEngine, server: Server, data: BeirData, exact: Result, caplog: pytest.LogCaptureFixture
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
    assert result.run != exact.run and result.figures["flops"] == exact.figures["flops"]


def test_two_phases_and_pruning_report_their_loss(make_engine: MakeEngine, data: BeirData, exact: Result) -> None:
    """All documents of the first phase are rescored; what it misses are those with light tokens alone."""
    two = on(make_engine("two", two_phase=True), data).figures
    assert two["exact_ndcg@10"] == exact.figures["ndcg@10"]
    assert two["ndcg@10_loss"] == pytest.approx(exact.figures["ndcg@10"] - two["ndcg@10"])
    assert two["overlap@10"] == 1.0  # weights of 1 to 1.75: all are above 0.4 × the heaviest
    pruned = on(make_engine("two"), data, query_prune=0.9).figures
    in_memory = evaluate(BagOfWords(), data, ALL, query_prune=0.9).figures
    for key in (*SAME, "exact_ndcg@10", "ndcg@10_loss", "recall@100_loss", "overlap@10", "overlap@100"):
        assert pruned[key] == in_memory[key], key
    assert pruned["overlap@10"] < 1


def test_two_phases_rescore_by_all_tokens(make_engine: MakeEngine) -> None:
    """Query 1.0, 0.3: "light" (0, 9) is not found by the heavy token; of the others the second phase's order counts."""
    documents = csr_matrix(np.array([[1, 0], [0.5, 8], [0, 9]], dtype=np.float32))
    documents.resize(3, VOCABULARY)
    query = csr_matrix(([1.0, 0.3], ([0, 0], [0, 1])), shape=(1, VOCABULARY), dtype=np.float32)
    engine = make_engine("phases", two_phase=True)
    engine.index(["heavy", "both", "light"], VOCABULARY, lambda skip: iter([(np.arange(3), documents)]))
    assert engine.search(query, 10)[0][0].tolist() == [1, 0]
    assert engine.search(query, 10)[0][1].tolist() == pytest.approx([0.5 + 8 * 0.3, 1.0])
    assert engine.search(query, 10, exhaustive=True)[0][0].tolist() == [1, 2, 0]


def test_more_hits_than_a_window(make_engine: MakeEngine, data: BeirData, exact: Result) -> None:
    engine = make_engine("window", two_phase=True)
    assert evaluate(BagOfWords(), data, 12_000, engine=engine).run == exact.run


def test_shards_change_nothing(make_engine: MakeEngine, data: BeirData, exact: Result) -> None:
    same(on(make_engine("shards", shards=3), data), exact)


def test_empty_texts(make_engine: MakeEngine, data: BeirData) -> None:
    empty = replace(data, doc_ids=["a", "b"], texts=["", ""], query_ids=["q"], queries=[""], qrels={"q": {"a": 1}})
    result = on(make_engine("empty"), empty)
    assert result.run == {"q": []} and result.figures["d_length"] == 0 and "latency_p50_ms" not in result.figures


def test_a_node_killed_while_loading_and_started_again(
    make_node: MakeNode, data: BeirData, exact: Result, monkeypatch
) -> None:
    """kill -9 in the middle; later it is back on the same data folder and port, and the run never noticed."""
    monkeypatch.setattr("retrieval.opensearch.ingest.LEAST_BYTES", 50_000)
    node = make_node()
    node.start()
    node._port = int(node.url.rpartition(":")[2])

    over = threading.Event()

    def restart() -> None:
        time.sleep(1)
        node.start()
        over.wait()  # the node ends with its thread

    def crash(encoded: int) -> None:
        if encoded == 2048:
            node.kill()
            threading.Thread(target=restart).start()

    engine = OpenSearchEngine(Server([node.url], patience_s=90), TOKENS, "random", {}, options=_options())
    same(on(engine, data, Watched(crash)), exact)
    assert engine._index.count() == 2500
    over.set()
    node.stop()


def test_a_cluster_loses_nothing_with_a_node(make_node: MakeNode, data: BeirData, exact: Result) -> None:
    """Two nodes, two shards and a replica of each; one node is killed while queries are under way."""
    first = make_node(cluster=True)
    first.start()
    second = make_node(name="node-2", seeds=[first.transport])
    second.start()
    server = Server([first.url, second.url], patience_s=60)
    engine = OpenSearchEngine(server, TOKENS, "random", {}, options=_options(shards=2, replicas=1))
    same(on(engine, data), exact)
    health = server.call("GET", "/_cluster/health")
    assert (health["number_of_nodes"], health["status"]) == (2, "green")
    copies = server.call("GET", "/_cat/shards", params={"format": "json", "h": "node,state"})
    assert len(copies) == 4 and {copy["node"] for copy in copies} == {"node-1", "node-2"}
    queries = BagOfWords().encode_queries(data.queries * 5)
    threading.Timer(0.1, second.kill).start()
    for _ in range(3):
        hits = engine.search(queries, ALL)
        for q, (positions, _) in enumerate(hits):
            qid = data.query_ids[q % len(data.query_ids)]
            found = [engine._doc_ids[p] for p in positions]
            assert [doc for doc in found if doc != qid] == [doc for doc, _ in exact.run[qid]]
        assert second.pid == 0
    first.stop()


def _options(**options):
    from retrieval.opensearch.engine import Options

    return Options(**options)
