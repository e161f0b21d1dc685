"""How much may be on its way to a node of so much heap, worked by hand."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrieval.opensearch.heap import MIB, MOST_BYTES, needed_heap, what_fits
from retrieval.opensearch.ingest import Loader

MSMARCO = 8_841_823  # documents: 270 MiB


@pytest.mark.parametrize(
    ("heap", "documents", "processes", "threads", "fits"),
    [
        (0, MSMARCO, 8, 4, (4, MOST_BYTES)),  # the server does not say
        (1024, MSMARCO, 1, 4, (4, MOST_BYTES)),  # 498 MiB left, 4 × 16 wanted
        (1024, MSMARCO, 8, 4, (3, MOST_BYTES)),  # 62 MiB for each process
        (1024, MSMARCO, 64, 4, (1, 4_081_000)),  # 7.8 MiB for each: requests of half of that
        (272, 0, 1, 4, (1, MOST_BYTES)),  # room for one
        (272, 0, 4, 4, (1, 2 * MIB)),  # for a quarter of one
    ],
)
def test_requests_fit_the_heap(heap: int, documents: int, processes: int, threads: int, fits: tuple[int, int]) -> None:
    at_once, most_bytes = what_fits(heap * MIB, documents, processes, threads)
    assert (at_once, most_bytes) == fits
    if heap:
        parsed = processes * at_once * most_bytes * 2
        assert needed_heap(documents, 0) + parsed <= heap * MIB


def test_requests_are_no_larger_than_they_may_be() -> None:
    """200 documents of some 110 bytes, 1000 bytes a request."""
    sent: list[bytes] = []

    class Server:
        patience_s, address = 1, "nowhere"

        def call(self, method: str, path: str, body: bytes, *_: object, **__: object) -> dict:
            sent.append(body)
            return {"items": [{"index": {"status": 201}}] * (body.count(b"\n") // 2)}

    names = [f"token{i}" for i in range(5)]
    rows = csr_matrix(np.full((200, 5), 1.5, np.float32))
    loader = Loader(Server(), "x", names, [f"d{i}" for i in range(200)], 2, 1000)  # type: ignore[arg-type]
    loader.load([(np.arange(200), rows)])
    assert loader.documents == 200 and max(map(len, sent)) <= 1000 and len(sent) > 20
    ids = [json.loads(line)["index"]["_id"] for body in sent for line in body.splitlines()[::2]]
    assert sorted(ids) == sorted(f"d{i}" for i in range(200))
