"""SciFact, where it is at hand: BM25's published figure, and the speed of the exact engine."""

import os
import time

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrieval.beir_data import BeirData, load_beir
from retrieval.bm25 import score_bm25
from retrieval.exact_index import ExactIndex

SHARED = os.environ.get("SPARSE_SHARED") or None
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(SHARED is None, reason="SPARSE_SHARED (a folder with beir/scifact in it) is not set"),
]


def vectors(rows: int, length: int) -> csr_matrix:
    """Random vectors over 30522 tokens, some tokens far more frequent than others, as in text."""
    rng = np.random.default_rng(rows)
    tokens = np.minimum(rng.zipf(1.1, rows * length), 30522) - 1
    weights = rng.random(rows * length, dtype=np.float32)
    return csr_matrix((weights, (np.repeat(np.arange(rows), length), tokens)), shape=(rows, 30522))


@pytest.fixture(scope="module")
def scifact() -> BeirData:
    return load_beir("scifact", os.path.join(str(SHARED), "beir"))


@pytest.mark.slow
def test_bm25_reaches_the_published_figure(scifact: BeirData) -> None:
    assert (len(scifact.doc_ids), len(scifact.queries), scifact.notes) == (5183, 300, [])
    assert score_bm25(scifact).figures["ndcg@10"] == pytest.approx(0.676, abs=0.01)


def test_exact_search_takes_well_under_a_second(scifact: BeirData) -> None:
    """Random vectors of a sparse model's sizes: 5183 × about 150 and 300 × about 20 over 30522 tokens."""
    index, queries = ExactIndex(vectors(len(scifact.doc_ids), 150)), vectors(len(scifact.queries), 20)
    started = time.perf_counter()
    index.search(queries, 1001)
    assert time.perf_counter() - started < 0.5
