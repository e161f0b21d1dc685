"""The exact engine: an inverted index in memory that scores every document sharing a token with the query."""

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

Hits = list[tuple[np.ndarray, np.ndarray]]


def best(scores_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best positive scores: (positions int64, scores), by score descending, then position ascending.

    The order among equal scores holds at the cut-off too: no document makes the list by chance.
    """
    positions = np.flatnonzero(scores_N > 0)
    scores = scores_N[positions]
    if len(scores) > k:
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        above, tied = np.flatnonzero(scores > threshold), np.flatnonzero(scores == threshold)
        kept = np.sort(np.concatenate([above, tied[: k - len(above)]]))
        positions, scores = positions[kept], scores[kept]
    best_first = np.argsort(-scores, kind="stable")
    return positions[best_first].astype(np.int64), scores[best_first]


class ExactIndex:
    """Postings by token over N documents; scores are float32 dot products.

    A score is summed over the query's tokens in ascending id, for each document on its own: it is the same in
    whichever index the document lies. One query is scored at a time, in N × 4 bytes.
    """

    def __init__(self, weights: csr_matrix) -> None:
        """Index document weights [N, V]; row n is position n in what `search` returns."""
        self._postings: csc_matrix = csc_matrix(weights, dtype=np.float32)
        self._postings.eliminate_zeros()

    @property
    def nbytes(self) -> int:
        """Bytes of the postings (weights and positions), which add up over indexes of parts of a corpus."""
        return self._postings.data.nbytes + self._postings.indices.nbytes

    def search(self, queries: csr_matrix, top_k: int) -> Hits:
        """For each row of queries [Q, V], (positions int64, scores float32) of at most top_k documents.

        Best first; equal scores by position ascending, also at the cut-off; only scores above 0.

        Raises:
            ValueError: queries over another vocabulary.
        """
        if queries.shape[1] != self._postings.shape[1]:
            raise ValueError(f"queries have {queries.shape[1]} columns, documents {self._postings.shape[1]}")
        queries = csr_matrix(queries, dtype=np.float32).sorted_indices()
        return [best(self._scores(queries, q), top_k) for q in range(queries.shape[0])]

    def _scores(self, queries: csr_matrix, q: int) -> np.ndarray:
        row = slice(queries.indptr[q], queries.indptr[q + 1])
        return self._postings[:, queries.indices[row]] @ queries.data[row]
