"""What an evaluation asks of a search engine, and the exact engine as the first of them."""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.encode import Block, concatenated
from retrieval.exact import ExactIndex, Hits


class Engine(Protocol):
    """An index of one corpus. Every method is to be called in every process."""

    @property
    def approximate(self) -> bool:
        """Whether `search` may rank otherwise than by all scores unless it is told to."""
        ...

    def index(
        self, doc_ids: Sequence[str], vocabulary: int, encode: Callable[[Container[int]], Iterator[Block]]
    ) -> np.ndarray:
        """Take in the corpus; returns in how many of its documents each token has a weight, int64 [vocabulary].

        Args:
            doc_ids: the corpus, by id descending (trec_eval's order among equal scores).
            encode: this process's blocks, without those with the numbers that it is given.
        """
        ...

    def search(self, queries: csr_matrix, top_k: int, exhaustive: bool = False) -> Hits:
        """For each row of queries [Q, V] (positions in doc_ids int64, scores float32), at most top_k documents.

        Best first, equal scores by position ascending, only scores above 0; the same in every process.
        exhaustive: as if the engine were not `approximate`.
        """
        ...

    def measure(self, queries: csr_matrix, top_k: int) -> dict[str, Any]:
        """Figures of the index and of its speed; engine, encode_docs_per_s and index_bytes at least."""
        ...


class Meter:
    """Counts documents and seconds while blocks pass by."""

    def __init__(self, vocabulary: int) -> None:
        self.documents, self.seconds = 0, 0.0
        self.document_df = np.zeros(vocabulary, np.int64)

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks without zeros; the time taken to make them is counted, that of their use is not."""
        iterator = iter(blocks)
        while True:
            started = time.perf_counter()
            block = next(iterator, None)
            self.seconds += time.perf_counter() - started
            if block is None:
                return
            block[1].eliminate_zeros()
            self.documents += len(block[0])
            self.document_df += frequencies(block[1])
            yield block

    def totals(self) -> tuple[np.ndarray, float]:
        """(document frequencies [V], documents encoded in a second) over all processes."""
        document_df = np.sum(distributed.all_gather_arrays(self.document_df), axis=0)
        documents, seconds = np.transpose(
            distributed.all_gather_arrays(np.array([self.documents, self.seconds], dtype=np.float64))
        )
        slowest = float(seconds.max())
        return document_df, float(documents.sum()) / slowest if slowest > 0 else 0.0


class ExactEngine:
    """The whole corpus in memory, each process's documents in its own; every document is scored.

    Args:
        adapt: changes document weights before they are indexed, e.g. to another engine's precision.
    """

    approximate = False

    def __init__(self, adapt: Callable[[csr_matrix], csr_matrix] | None = None) -> None:
        self._adapt = adapt

    def index(
        self, doc_ids: Sequence[str], vocabulary: int, encode: Callable[[Container[int]], Iterator[Block]]
    ) -> np.ndarray:
        """See `Engine.index`."""
        meter = Meter(vocabulary)
        blocks = ((positions, self._adapt(w) if self._adapt else w) for positions, w in encode(()))
        self._positions, documents = concatenated(meter.watch(blocks), vocabulary)
        document_df, self._encode_docs_per_s = meter.totals()
        self._index = ExactIndex(documents)
        self._index.search(csr_matrix((1, vocabulary), dtype=np.float32), 1)  # the first search of all compiles
        return document_df

    def search(self, queries: csr_matrix, top_k: int, exhaustive: bool = False) -> Hits:
        """See `Engine.search`."""
        return merge_hits(self._positions, self._index.search(queries, top_k), top_k)

    def measure(self, queries: csr_matrix, top_k: int) -> dict[str, Any]:
        """See `Engine.measure`; the index is as large as its postings."""
        index_bytes = int(np.sum(distributed.all_gather_arrays(np.array([self._index.nbytes]))))
        return {"engine": "exact", "encode_docs_per_s": self._encode_docs_per_s, "index_bytes": index_bytes}


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


def frequencies(weights: csr_matrix) -> np.ndarray:
    """[V] int64, in how many rows each column is stored (zeros must be gone)."""
    return np.bincount(weights.indices, minlength=weights.shape[1]).astype(np.int64)
