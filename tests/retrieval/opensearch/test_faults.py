"""A run goes on where requests go astray, a node is killed, or a cluster loses one."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrieval.beir_data import BeirData
from retrieval.opensearch.client import Server
from retrieval.opensearch.node import Node
from retrieval.opensearch.opensearch_engine import OpenSearchEngine, Options
from retrieval.score_dataset import DatasetScores
from sparse_model.errors import RunError
from tests.retrieval.bag_of_words import BagOfWords
from tests.retrieval.opensearch.helpers import ALL, TOKENS, MakeEngine, MakeNode, Watched, on, same
from tests.retrieval.opensearch.proxy import Proxy

pytestmark = [pytest.mark.opensearch, pytest.mark.xdist_group("opensearch")]


def test_nothing_is_lost_where_requests_are_refused_dropped_and_delayed(
    make_engine: MakeEngine, server: Server, proxy: Proxy, data: BeirData, exact: DatasetScores, monkeypatch
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
    hits = [qid for qid, _ in on(make_engine("proxy", through), data).rankings.items()]
    assert len(hits) == len(data.queries)


def test_a_late_answer_is_asked_for_again(
    make_engine: MakeEngine, proxy: Proxy, data: BeirData, exact: DatasetScores, monkeypatch
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


def test_a_node_killed_while_loading_and_started_again(
    make_node: MakeNode, data: BeirData, exact: DatasetScores, monkeypatch
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

    engine = OpenSearchEngine(Server([node.url], patience_s=90), TOKENS, "random", {}, options=Options())
    same(on(engine, data, Watched(crash)), exact)
    assert engine._index.count() == 2500
    over.set()
    node.stop()


def test_a_cluster_loses_nothing_with_a_node(make_node: MakeNode, data: BeirData, exact: DatasetScores) -> None:
    """Three nodes, three shards and a replica of each; one node is killed while queries are under way."""
    first = make_node(cluster=True)
    first.start()
    others = [make_node(name=name, seeds=[first.transport]) for name in ("node-2", "node-3")]
    with ThreadPoolExecutor() as pool:  # left at the end: nodes end with the threads that started them
        list(pool.map(Node.start, others))
        lose_a_node([first, *others], data, exact)
        for node in (first, *others):
            node.stop()


def lose_a_node(nodes: list[Node], data: BeirData, exact: DatasetScores) -> None:
    server = Server([node.url for node in nodes], patience_s=60)
    engine = OpenSearchEngine(server, TOKENS, "random", {}, options=Options(shards=3, replicas=1))
    same(on(engine, data), exact)
    health = server.call("GET", "/_cluster/health")
    assert (health["number_of_nodes"], health["status"]) == (3, "green")
    copies = server.call("GET", "/_cat/shards", params={"format": "json", "h": "node,state"})
    assert len(copies) == 6 and {copy["node"] for copy in copies} == {"node-1", "node-2", "node-3"}
    queries = BagOfWords().encode_queries(data.queries * 5)
    threading.Timer(0.1, nodes[1].kill).start()
    for _ in range(3):
        hits = engine.search(queries, ALL)
        for q, (positions, _) in enumerate(hits):
            qid = data.query_ids[q % len(data.query_ids)]
            found = [engine._doc_ids[p] for p in positions]
            assert found == [doc for doc, _ in exact.rankings[qid]]
        assert nodes[1].pid == 0


def test_an_index_that_is_removed_while_it_is_loaded_is_not_made_anew(
    make_engine: MakeEngine, server: Server, data: BeirData, exact: DatasetScores
) -> None:
    """Servers create an index at its first document, with a mapping that is not ours, unless told otherwise."""
    engine = make_engine("removed")
    server.call("PUT", "/_cluster/settings", {"transient": {"action.auto_create_index": True}})
    try:
        with pytest.raises(RunError, match="the index was removed; start again"):
            on(engine, data, Watched(lambda encoded: server.call("DELETE", f"/{engine.name}", missing={})))
        assert server.call("GET", f"/{engine.name}*/_mapping") == {}
    finally:
        server.call("PUT", "/_cluster/settings", {"transient": {"action.auto_create_index": None}})
    same(on(make_engine("removed"), data), exact)


def test_of_several_nodes_one_may_be_silent_or_gone(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes connections and never answers, and one that nobody listens to."""
    monkeypatch.setattr("retrieval.opensearch.client.FIRST_ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        urls = [f"http://127.0.0.1:{silent.getsockname()[1]}", "http://127.0.0.1:9", node.url]
        for turn in range(3):
            assert Server(urls[turn:] + urls[:turn]).first_contact()
