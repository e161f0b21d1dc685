"""Names and weights as an index holds them; requests of the right size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from retrieval.opensearch.client import Server
from retrieval.opensearch.features import LEAST, code, feature_names, stored_precision, value_texts
from retrieval.opensearch.index import index_name
from retrieval.opensearch.ingest import LEAST_BYTES, MOST_BYTES, Formatter, Loader, check_ids
from retrieval.opensearch.preflight import _least_free
from retrieval.opensearch.search import keep_heaviest
from sparse_model.errors import RunError, UserError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


def row(*values: float) -> csr_matrix:
    return csr_matrix(np.array([values], dtype=np.float32))


@given(st.lists(texts | st.sampled_from([".", "%", "%2E", "%25", "", "%.", "..."]), unique=True))
def test_names_have_no_dots_and_stay_apart(tokens: list[str]) -> None:
    names = feature_names([*tokens, None, None])
    assert len(set(names)) == len(names) and not any("." in name or name == "" for name in names)


def test_weights_are_rounded_to_nine_bits() -> None:
    """1.2345678 lies between 316/256 = 1.234375 and 317/256; 1.2365 is nearer to 317/256 = 1.23828125."""
    rounded = stored_precision(row(1.2345678, 1.2365, 0, 1e-40, 2.0))
    assert rounded.data.tolist() == [1.234375, 1.23828125, 2.0] and rounded.indices.tolist() == [0, 1, 4]


@given(st.lists(st.floats(float(LEAST), 2.0**99, width=32), min_size=1))
def test_rounding_is_small_and_stays(values: list[float]) -> None:
    once = stored_precision(row(*values))
    assert (np.abs(once.data - np.float32(values)) <= np.float32(values) * 2.0**-9).all()
    assert stored_precision(once).data.tolist() == once.data.tolist()
    stored = once.data.view(np.uint32) >> 15 << 15  # what Lucene keeps
    assert stored.view(np.float32).tolist() == once.data.tolist()


def test_every_text_reads_back_as_its_value() -> None:
    """Java's parser takes a double and makes it a float."""
    read = np.array([float(text) for text in value_texts()]).astype(np.float32)
    assert (code(read) == np.arange(len(read))).all() and (
        stored_precision(row(*read[1:])).nnz == np.sum(read >= LEAST)
    )


def test_an_index_is_named_by_data_and_contents() -> None:
    name = index_name("Web/is Touché.2020", {"files": "a"})
    assert name.startswith("web-is-touch-2020-") and name != index_name("Web/is Touché.2020", {"files": "b"})
    assert index_name("...", {}).startswith("data-")


def test_the_heaviest_tokens_are_kept() -> None:
    """Of 3, 1, 3, 2 two stay (the threes); of two entries none goes."""
    queries = csr_matrix(np.array([[3, 1, 3, 2], [0, 5, 0, 1]], dtype=np.float32))
    kept, cut = keep_heaviest(queries, 2)
    assert kept.toarray().tolist() == [[3, 0, 3, 0], [0, 5, 0, 1]] and cut == 1 and queries.nnz == 6


def test_lines_of_a_block() -> None:
    weights = stored_precision(csr_matrix(np.array([[0, 0.5, 2], [0, 0, 0]], dtype=np.float32)))
    lines = Formatter(["a", "b", 'c"']).lines((np.array([1024, 1025]), weights), {1024: "x", 1025: 'y"'})  # type: ignore[arg-type]
    read = [[json.loads(part) for part in line.splitlines()] for line in lines]
    assert read[0] == [{"index": {"_id": "x"}}, {"block": 1, "text_sparse": {"b": 0.5, 'c"': 2.0}}]
    assert read[1] == [{"index": {"_id": 'y"'}}, {"block": 1}]


def test_a_weight_that_is_no_number_names_its_document() -> None:
    weights = csr_matrix(np.array([[0, 1], [1, np.nan]], dtype=np.float32))
    with pytest.raises(RunError, match="'second'"):
        Formatter(["a", "b"]).lines((np.arange(2), weights), ["first", "second"])


def test_an_id_that_no_index_can_hold_is_refused() -> None:
    check_ids(["é" * 256])
    with pytest.raises(UserError, match="514 bytes"):
        check_ids(["a", "é" * 257])
    with pytest.raises(UserError, match=r"'x\\ud800' holds half of a surrogate pair"):
        check_ids(["x\ud800"])


def test_watermarks() -> None:
    assert _least_free("95%", 1000) == pytest.approx(50) and _least_free("0.9", 1000) == pytest.approx(100)
    assert _least_free("500mb", 10**12) == 500 * 2**20 and _least_free("?", 10) == 0


class ScriptedServer(Server):
    """Takes bulk requests; the first answers put documents off as `script` says."""

    def __init__(self, script: list[Any]) -> None:
        self.address, self.patience_s, self.script = "here", 5.0, script
        self.sizes: list[int] = []
        self.taken: list[str] = []

    def call(self, method: str, path: str, body: Any = None, *_: Any, **__: Any) -> Any:
        self.sizes.append(len(body))
        ids = [json.loads(line)["index"]["_id"] for line in body.splitlines()[::2]]
        step = self.script.pop(0) if self.script else {}
        self.taken += [doc_id for doc_id in ids if doc_id not in step]
        items = [{"index": step[i] if i in step else {"status": 201}} for i in ids]
        return {"items": items}


def load(server: Server, documents: int, tokens: int, threads: int = 2) -> Loader:
    vocabulary = 2 * tokens
    ids = [f"d{i}" for i in range(documents)]
    loader = Loader(server, "index", [f"token{i}" for i in range(vocabulary)], ids, threads)
    rng = np.random.default_rng(0)

    def blocks():
        for start in range(0, documents, 1024):
            n = min(1024, documents - start)
            columns = np.sort(rng.integers(0, vocabulary, (n, tokens)), axis=1).ravel()
            values = rng.random(n * tokens, dtype=np.float32) + 0.1
            weights = csr_matrix((values, columns, np.arange(n + 1) * tokens), shape=(n, vocabulary))
            yield np.arange(start, start + n), stored_precision(weights)

    loader.load(blocks())
    return loader


def test_requests_have_5_to_8_mib() -> None:
    server = ScriptedServer([])
    loader = load(server, 12 * 1024, 150)
    assert sorted(server.taken) == sorted(f"d{i}" for i in range(12 * 1024))
    assert len(server.sizes) > 3 and all(LEAST_BYTES <= size <= MOST_BYTES for size in server.sizes[:-1])
    assert (loader.documents, loader.requests, loader.repeated) == (12 * 1024, len(server.sizes), 0)


def refused(status: int, kind: str, reason: str = "why") -> dict[str, Any]:
    return {"status": status, "error": {"type": kind, "reason": reason}}


def test_a_slow_encoders_documents_do_not_wait_for_a_full_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.opensearch.ingest.LONGEST_WAIT_S", -1.0)
    server = ScriptedServer([])
    load(server, 4 * 1024, 5)
    assert len(server.sizes) == 4 and len(server.taken) == 4 * 1024


def test_only_what_was_put_off_is_sent_again() -> None:
    busy = refused(429, "rejected_execution_exception")
    server = ScriptedServer([{"d1": busy, "d3": refused(503, "unavailable_shards_exception")}, {"d3": busy}])
    loader = load(server, 5, 3)
    assert sorted(server.taken) == ["d0", "d1", "d2", "d3", "d4"] and len(server.sizes) == 3
    assert (loader.documents, loader.repeated) == (5, 3)


def test_a_full_disk_ends_it_at_once() -> None:
    blocked = refused(429, "cluster_block_exception", "disk usage exceeded flood-stage watermark")
    server = ScriptedServer([{"d1": blocked}] * 9)
    with pytest.raises(RunError, match="flood stage"):
        load(server, 5, 3)
    assert len(server.sizes) == 1


def test_a_rejected_document_is_named() -> None:
    server = ScriptedServer([{"d2": refused(400, "mapper_parsing_exception", "failed to parse")}])
    with pytest.raises(RunError, match="document 'd2' is rejected: failed to parse"):
        load(server, 5, 3)


def test_no_thread_goes_on_after_a_failure(tmp_path: Path) -> None:
    script = [{f"d{i}": refused(400, "x") for i in range(99999)}] + [
        {f"d{i}": refused(429, "x") for i in range(99999)}
    ] * 50
    with pytest.raises(RunError, match="rejected"):
        load(ScriptedServer(script), 12 * 1024, 150)


@pytest.mark.parametrize(
    "item",
    [None, [], 7, {}, {"index": None}, {"create": {"status": 201}}, {"index": {"status": "201"}}]
    + [{"index": {"status": 500}}, {"index": {"status": 400, "error": "no"}}, {"index": {"error": {"type": "x"}}}],
)
def test_an_answer_that_takes_no_document_in_is_none(item: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as loaded unless the server says that it is."""
    for items, said in (([item], "no answer to a bulk request"), (item, "1 documents sent, .* answered")):
        server = ScriptedServer([])
        monkeypatch.setattr(server, "call", lambda *_, items=items, **__: {"items": items})
        with pytest.raises(RunError, match=said):
            load(server, 1, 3)
