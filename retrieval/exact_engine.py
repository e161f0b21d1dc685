"""The exact engine: the corpus in memory, each process's documents in its own index (see `retrieval.exact_index`)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.blocks import DocumentVectors, concatenated
from retrieval.engine import Hits, counted, over_processes
from retrieval.exact_index import ExactIndex


class ExactEngine:
    """The whole corpus in memory, each process's documents in its own; every document is scored.

    Args:
        adapt: changes document weights before they are indexed, e.g. to another engine's precision.
    """

    approximate = False

    def __init__(self, adapt: Callable[[csr_matrix], csr_matrix] | None = None) -> None:
        self._adapt = adapt

    def index(self, doc_ids: Sequence[str], vocabulary: int, vectors: DocumentVectors) -> np.ndarray:
        """See `Engine.index`."""
        document_df, self._vectors = np.zeros(vocabulary, np.int64), vectors
        blocks = ((positions, self._adapt(w) if self._adapt else w) for positions, w in vectors.blocks())
        self._positions, documents = concatenated(counted(blocks, document_df), vocabulary)
        self._index = ExactIndex(documents)
        self._index.search(csr_matrix((1, vocabulary), dtype=np.float32), 1)  # the first search of all compiles
        return over_processes(document_df)

    def search(self, queries: csr_matrix, top_k: int, exhaustive: bool = False) -> Hits:
        """See `Engine.search`."""
        return merge_hits(self._positions, self._index.search(queries, top_k), top_k)

    def measure(self, queries: csr_matrix, top_k: int) -> dict[str, Any]:
        """See `Engine.measure`; the index is as large as its postings."""
        index_bytes = int(np.sum(distributed.all_gather_arrays(np.array([self._index.nbytes]))))
        return {"engine": "exact", "encode_docs_per_s": self._vectors.docs_per_s(), "index_bytes": index_bytes}

    def close(self, keep: bool) -> None:
        """See `Engine.close`; nothing of it lasts."""
        del self._index, self._vectors


def merge_hits(positions: np.ndarray, hits: Hits, top_k: int) -> Hits:
    """The best top_k of every query over all processes, by score descending, then position ascending.

    Args:
        positions: [n] positions in the whole corpus of this process's documents, ascending.
        hits: this process's hits, as `ExactIndex.search` returns them.
    """
    counts = distributed.all_gather_arrays(np.array([len(found) for found, _ in hits], dtype=np.int64))
    found = distributed.all_gather_arrays(np.concatenate([positions[:0], *(positions[p] for p, _ in hits)]))
    scores = distributed.all_gather_arrays(np.concatenate([np.zeros(0, np.float32), *(s for _, s in hits)]))
    if len(counts) == 1:
        return [(positions[p], s) for p, s in hits]
    parts = [
        (np.split(f, np.cumsum(c)[:-1]), np.split(s, np.cumsum(c)[:-1]))
        for c, f, s in zip(counts, found, scores, strict=True)
    ]
    merged = []
    for q in range(len(hits)):
        query_positions = np.concatenate([part[0][q] for part in parts])
        query_scores = np.concatenate([part[1][q] for part in parts])
        best = np.lexsort((query_positions, -query_scores))[:top_k]
        merged.append((query_positions[best], query_scores[best]))
    return merged
