"""Files of retrieval.encode --format opensearch-bulk, sent to a real node as they are: the exact product's ranking."""

import json
from pathlib import Path

import numpy as np
import pytest

import sparse_model
from retrieval.encode.__main__ import main
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import stored_precision
from tests.conftest import SENTENCES, write_jsonl
from tests.retrieval.opensearch.helpers import HOMES

pytestmark = [pytest.mark.opensearch, pytest.mark.xdist_group("opensearch"), HOMES]


def test_bulk_files_and_bodies(server: Server, any_model: Path, tmp_path: Path) -> None:
    texts = [" ".join((SENTENCES[i % 6] + " " + SENTENCES[i // 6]).split()[i % 5 : 9 + i % 7]) for i in range(36)]
    queries = ["weather in new york", "insulin binds protein", "loud music", "the red bird"]
    write_jsonl(tmp_path / "c.jsonl", [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    (tmp_path / "q.txt").write_text("\n".join(queries))
    words = [any_model, tmp_path / "c.jsonl", tmp_path / "out", "--format", "opensearch-bulk"]
    assert main([*map(str, words), "--queries", str(tmp_path / "q.txt"), "--use-cpu"]) == 0
    server.call("PUT", "/bulk", {"mappings": {"properties": {"text_sparse": {"type": "rank_features"}}}})
    try:
        bulk = (tmp_path / "out" / "documents-000000.ndjson").read_bytes()
        assert server.call("POST", "/bulk/_bulk", bulk, {"refresh": "true"})["errors"] is False
        encoder = sparse_model.load(any_model)
        stored = stored_precision(encoder.encode_documents(texts))
        expected = (encoder.encode_queries(queries) @ stored.T).toarray()
        for line, scores in zip((tmp_path / "out" / "queries.jsonl").read_text().splitlines(), expected, strict=True):
            hits = server.call("POST", "/bulk/_search", json.loads(line)["body"], {"size": 36})["hits"]["hits"]
            assert [hit["_score"] for hit in hits] == pytest.approx(
                np.sort(scores[scores > 0])[::-1].tolist(), rel=1e-6
            )
            assert all(hit["_score"] == pytest.approx(scores[int(hit["_id"][1:])], rel=1e-6) for hit in hits)
    finally:
        server.call("DELETE", "/bulk", missing={})
