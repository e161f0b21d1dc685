"""What is asked of a search engine, and what every engine counts."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.blocks import Block, DocumentVectors

Hits = list[tuple[np.ndarray, np.ndarray]]
"""For each query (positions in the corpus int64, scores float32), best first."""


class Engine(Protocol):
    """An index of one corpus. Every method is to be called in every process."""

    @property
    def approximate(self) -> bool:
        """Whether `search` may rank otherwise than by all scores unless it is told to."""
        ...

    def index(self, doc_ids: Sequence[str], vocabulary: int, vectors: DocumentVectors) -> np.ndarray:
        """Take in the corpus; returns in how many of its documents each token has a weight, int64 [vocabulary].

        Args:
            doc_ids: the corpus, by id descending (trec_eval's order among equal scores).
            vectors: asked only for what the index lacks.
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

    def close(self, keep: bool) -> None:
        """Give back what the corpus takes; keep: what lasts beyond this process stays, for the next one to use."""
        ...


def counted(blocks: Iterable[Block], document_df_V: np.ndarray) -> Iterator[Block]:
    """The same blocks without zeros; their `frequencies` are added to document_df_V on the way."""
    for positions, weights in blocks:
        weights.eliminate_zeros()
        document_df_V += frequencies(weights)
        yield positions, weights


def over_processes(counts: np.ndarray) -> np.ndarray:
    """The sum of every process's counts, in every process."""
    return np.sum(distributed.all_gather_arrays(counts), axis=0)


def frequencies(weights: csr_matrix) -> np.ndarray:
    """[V] int64, in how many rows each column is stored (zeros must be gone)."""
    return np.bincount(weights.indices, minlength=weights.shape[1]).astype(np.int64)
