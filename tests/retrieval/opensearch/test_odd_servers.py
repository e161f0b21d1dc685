"""Servers that answer otherwise than OpenSearch: late, in drops, with other shapes, with what somebody else wrote."""

import base64
import json
import math
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrieval.opensearch import client
from retrieval.opensearch.client import Server
from retrieval.opensearch.index import MADE_BY, Index
from retrieval.opensearch.opensearch_engine import OpenSearchEngine, Options
from retrieval.opensearch.search import Searcher
from sparse_model.errors import RunError, UserError

Answer = Callable[[str, str], Any]
"""Of method and path, what is answered; a number: that status with {}; None: one byte in a while."""


@contextmanager
def listening(answer: Answer, patience_s: float = 0.5) -> Iterator[Server]:
    """A server of its own on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            said = answer(self.command, self.path.partition("?")[0])
            body = json.dumps({} if isinstance(said, int) else said).encode()
            self.send_response(said if isinstance(said, int) else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(100 if said is None else len(body)))
            self.end_headers()
            for _ in range(100 if said is None else 0):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
                time.sleep(0.05)
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = reply

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    server = Server([f"http://127.0.0.1:{http.server_address[1]}"], patience_s=patience_s)
    try:
        yield server
    finally:
        server.close()
        http.shutdown()
        http.server_close()


def test_an_answer_has_a_deadline_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte after another, each in time for the library's own time-out."""
    monkeypatch.setattr(client, "FIRST_ANSWER_S", 0.3)
    monkeypatch.setattr(client, "GRACE_S", 0.1)
    with listening(lambda method, path: None, patience_s=0.1) as server:
        started = time.monotonic()
        with pytest.raises(UserError, match="nothing answers"):
            server.first_contact()
        with pytest.raises(RunError, match="no whole answer within 0 s"):
            server.call("GET", "/x", timeout_s=0.3)
        assert time.monotonic() - started < 4


def test_too_many_requests_for_ever_end_with_patience() -> None:
    with listening(lambda method, path: 429) as server, pytest.raises(RunError, match="GET /x: 429"):
        server.call("GET", "/x")


@pytest.mark.parametrize("said", [{}, [1], "words"])
def test_an_answer_of_another_shape_is_said_at_once(said: Any) -> None:
    """Asked for an index that it says it has just made."""
    with listening(lambda method, path: said, patience_s=300) as server, pytest.raises(RunError, match="the answer"):
        Index(server, "x", 2).open_for_loading()


def mapping(meta: Any) -> dict[str, Any]:
    return {"x": {"mappings": {"_meta": meta}}}


def mark(document_df: Any) -> dict[str, Any]:
    return {"made by": MADE_BY, "complete": {"documents": 2, "document_df": document_df, "figures": {}}}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"theirs": {"mappings": {}}}, "it is an alias of theirs"),
        ({"x": {}}, "it was not made by this program"),
        ({"x": ["?"]}, "it was not made by this program"),
        (mapping(["?"]), "it was not made by this program"),
        (mapping(mark("!")), "its mark of completeness is damaged"),
        (mapping(mark(base64.b64encode(b"not packed").decode())), "its mark of completeness is damaged"),
        (mapping(mark(None)), "its mark of completeness is damaged"),
        (mapping({"made by": MADE_BY, "complete": ["?"]}), "its mark of completeness is damaged"),
    ],
)
def test_a_foreign_index_of_our_name_is_named_with_the_remedy(said: Any, why: str) -> None:
    with listening(lambda method, path: said) as server, pytest.raises(UserError) as error:
        Index(server, "x", 2).loaded()
    assert f"index x: {why}; remove it (DELETE /x), and start again" in str(error.value)


def test_a_foreign_document_and_another_vocabulary_are_named() -> None:
    """The index holds two documents over three tokens; a search finds a third."""
    packed = base64.b64encode(zlib.compress(np.ones(3, "<i4").tobytes())).decode()
    with listening(lambda method, path: {engine.name: mapping(mark(packed))["x"], "count": 2}) as server:
        engine = OpenSearchEngine(server, ["a", "b", "c"], "data", {}, Options(skip_ingest=True))
        engine._doc_ids, engine._index = ["d0", "d1"], Index(server, engine.name, 2)
        with pytest.raises(RunError, match=f"{engine.name}: it holds a document 'theirs'.*remove it"):
            engine._as_hits([[("d1", 1.0), ("theirs", 0.5)]])
        loaded = engine._index.loaded()
        assert loaded is not None and loaded.document_df.tolist() == [1, 1, 1]
        assert "of 3 tokens, not of 4" in str(engine._index.other_vocabulary(3, 4))


GOOD = {"status": 200, "_shards": {"failed": 0}}
HIT = {"_id": "a", "_score": 1.0}


@pytest.mark.parametrize(
    "said",
    [
        *(None, "x", [], {}, {"status": 200}, {"_shards": "x"}, {"error": "boom"}, {"error": {"root_cause": ["x"]}}),
        *({**GOOD, "hits": hits} for hits in ([], "x", {"hits": "abc"}, {"hits": ["x"]})),
        *({**GOOD, "hits": {"hits": [hit]}} for hit in ({"_id": "a"}, {"_score": 1.0}, {**HIT, "_id": 3})),
        *({**GOOD, "hits": {"hits": [{**HIT, "_score": score}]}} for score in (None, "x", True, math.nan, math.inf)),
        {**GOOD, "hits": {"hits": [HIT, HIT]}},
    ],
    ids=str,
)
def test_a_search_answered_in_another_shape(said: Any) -> None:
    """An empty answer among them would be a query that finds nothing."""
    with (
        listening(lambda method, path: {"responses": [said]}) as server,
        pytest.raises(RunError, match="another shape"),
    ):
        Searcher(server, "x", ["f0"], 1).search(csr_matrix([[1.0]]), 3)


def test_a_search_without_hits_is_answered_without_them() -> None:
    with listening(lambda method, path: {"responses": [GOOD]}) as server:
        searcher = Searcher(server, "x", ["f0"], 1)
        assert searcher.search(csr_matrix([[1.0]]), 3) == [[]]
        with pytest.raises(RunError, match="another shape"):
            searcher.token_counts()
