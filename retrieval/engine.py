"""What is asked of a search engine, and what every engine counts."""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.encode import Block

Hits = list[tuple[np.ndarray, np.ndarray]]
"""For each query (positions in the corpus int64, scores float32), best first."""


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


def frequencies(weights: csr_matrix) -> np.ndarray:
    """[V] int64, in how many rows each column is stored (zeros must be gone)."""
    return np.bincount(weights.indices, minlength=weights.shape[1]).astype(np.int64)
