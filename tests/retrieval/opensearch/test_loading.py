"""Indexes on a real node: reused, completed, left alone; disks, heaps and evaluations side by side."""

import threading
import time

import pytest

from retrieval.beir_data import BeirData
from retrieval.exact_engine import ExactEngine
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import stored_precision
from retrieval.opensearch.index import REPLICAS_S
from retrieval.opensearch.ingest import Loader
from retrieval.opensearch.node import Node
from retrieval.opensearch.preflight import check_server
from retrieval.score_dataset import DatasetScores, score_dataset
from sparse_model.errors import RunError, UserError
from tests.retrieval.bag_of_words import BagOfWords
from tests.retrieval.opensearch.helpers import ALL, MakeEngine, Scaled, Watched, on, same

pytestmark = [pytest.mark.opensearch, pytest.mark.xdist_group("opensearch")]


def test_a_complete_index_is_reused(make_engine: MakeEngine, data: BeirData, exact: DatasetScores) -> None:
    with pytest.raises(UserError, match="holds no complete index random-.*keep_index"):
        on(make_engine("reuse", skip_ingest=True), data)
    on(make_engine("reuse"), data, search=False)
    encoder = Watched()
    result = on(make_engine("reuse", skip_ingest=True), data, encoder)
    same(result, exact)
    assert encoder.encoded == 0 and result.figures["index_reused"]


def test_loading_that_was_cut_short_goes_on(
    make_engine: MakeEngine, data: BeirData, exact: DatasetScores, monkeypatch: pytest.MonkeyPatch
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
    make_engine: MakeEngine, server: Server, data: BeirData, exact: DatasetScores
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
    check_server(server, 1000, "")
    try:
        server.call("PUT", "/_cluster/settings", {"transient": levels})
        with pytest.raises(UserError, match="below its flood stage"):
            check_server(server, 1000, "")
        off = {"cluster.routing.allocation.disk.threshold_enabled": False}
        server.call("PUT", "/_cluster/settings", {"transient": off})
        check_server(server, 1000, "")
        levels |= off
    finally:
        server.call("PUT", "/_cluster/settings", {"transient": dict.fromkeys(levels)})
    with pytest.raises(UserError, match="MiB of heap, but 100000000 documents take .*give opensearch_heap=9g"):
        check_server(server, 10**8, "give opensearch_heap=9g")


def test_two_evaluations_at_once_are_both_right(make_engine: MakeEngine, data: BeirData, exact: DatasetScores) -> None:
    results: dict[str, DatasetScores] = {}

    def run(name: str, encoder: BagOfWords) -> None:
        results[name] = on(make_engine(name), data, encoder)

    threads = [threading.Thread(target=run, args=(type(e).__name__, e)) for e in (BagOfWords(), Scaled())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(results["BagOfWords"], exact)
    same(results["Scaled"], score_dataset(Scaled(), data, ALL, engine=ExactEngine(stored_precision)))
    assert results["Scaled"].figures["index"] != results["BagOfWords"].figures["index"]


def test_replicas_are_added_to_a_complete_index_and_not_waited_for_in_vain(
    make_engine: MakeEngine, server: Server, data: BeirData, exact: DatasetScores, caplog: pytest.LogCaptureFixture
) -> None:
    on(make_engine("replicas"), data, search=False)
    started = time.monotonic()
    same(on(make_engine("replicas", replicas=1), data), exact)
    assert "index_replicas: not all of 1 replicas have a node to lie on; the cluster has 1" in caplog.text
    assert time.monotonic() - started < REPLICAS_S / 2
    engine = make_engine("replicas")  # asks for none, and takes none away
    on(engine, data, search=False)
    settings = server.call("GET", f"/{engine.name}/_settings")[engine.name]["settings"]
    assert settings["index"]["number_of_replicas"] == "1"
