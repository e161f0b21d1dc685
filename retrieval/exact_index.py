"""The exact engine: an inverted index in memory that scores every document sharing a token with the query.

Documents are scored in blocks small enough for their scores to stay in the processor's first cache. After each block
the k-th best score so far is known to within 1 %: later documents below it are passed over, eight at a time.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from scipy.sparse import csc_matrix, csr_matrix

from retrieval.engine import Hits
from sparse_model.errors import RunError

# 32 KiB of scores; a document's number in its block fits 16 bits.
SCORE_BLOCK = 8192
# A bin of scores is what float32 numbers with the same upper 16 bits share: 128 bins between 1 and 2, 2 and 4, …
BINS = 1 << 15
# Queries × documents of some ten milliseconds: below, waiting for Python's lock costs more than another thread saves.
WORK_PER_THREAD = 4_000_000


def _compiled(function: Callable) -> Callable:
    """Machine code, kept on disk: compiling takes a second. Where no cache can be written, in memory only."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


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
    whichever index the document lies, and with any number of threads. Weights may be negative, too.
    """

    def __init__(self, weights: csr_matrix) -> None:
        """Index document weights [N, V]; row n is position n in what `search` returns.

        Raises:
            RunError: a weight that is not finite.
        """
        if not np.isfinite(weights.data).all():
            raise RunError("a document has a weight that is not a finite number: the model is damaged.")
        postings = csc_matrix(weights, dtype=np.float32, copy=True)
        postings.eliminate_zeros()
        postings.sort_indices()
        self._n_documents, self._vocabulary = postings.shape
        self._starts = _segment_starts(postings.indptr.astype(np.int64), postings.indices, self._n_documents)
        self._numbers = postings.indices.astype(np.uint16) & np.uint16(SCORE_BLOCK - 1)
        self._weights = postings.data

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All there is of it, to be written and given to `of_arrays`."""
        return {"starts": self._starts.astype(np.int64), "numbers": self._numbers, "weights": self._weights}

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray], n_documents: int) -> "ExactIndex":
        """The index whose `arrays` these are; they may lie in a file that is mapped."""
        index = cls.__new__(cls)
        index._n_documents, index._vocabulary = n_documents, len(arrays["starts"])
        index._starts = arrays["starts"].view(np.uint64).view(np.ndarray)
        index._numbers, index._weights = arrays["numbers"].view(np.ndarray), arrays["weights"].view(np.ndarray)
        return index

    def weights_of(self, position: int, tokens: np.ndarray) -> np.ndarray:
        """The weights of these tokens in the document at a position, float32; 0: it has none."""
        block, number = divmod(position, SCORE_BLOCK)
        found = np.zeros(len(tokens), np.float32)
        for i, token in enumerate(tokens):
            start, stop = (int(at) for at in self._starts[token, block : block + 2])
            at = start + int(np.searchsorted(self._numbers[start:stop], number))
            if at < stop and self._numbers[at] == number:
                found[i] = self._weights[at]
        return found

    def documents(self) -> csr_matrix:
        """The document weights [N, V] that were indexed."""
        lengths = np.diff(self._starts.astype(np.int64), axis=1)  # [V, blocks]
        in_block = np.tile(np.arange(lengths.shape[1]), len(lengths)).repeat(lengths.ravel())
        positions = in_block * SCORE_BLOCK + self._numbers
        indptr = np.concatenate([self._starts[:, 0], self._starts[-1:, -1]]).astype(np.int64)
        shape = self._n_documents, self._vocabulary
        return csc_matrix((self._weights, positions, indptr), shape=shape).tocsr()

    @property
    def nbytes(self) -> int:
        """Bytes of the postings (4 of weight, 2 of position each), which add up over indexes of parts of a corpus.

        Where the postings of a token and block start takes `table_nbytes` more.
        """
        return self._weights.nbytes + self._numbers.nbytes

    @property
    def table_nbytes(self) -> int:
        """8 bytes for each token and block of documents."""
        return self._starts.nbytes

    def search(self, queries: csr_matrix, top_k: int, threads: int | None = None) -> Hits:
        """For each row of queries [Q, V], (positions int64, scores float32) of at most top_k documents.

        Best first; equal scores by position ascending, also at the cut-off; only scores above 0.

        Args:
            threads: how many queries to search at a time, in up to N × 8 bytes each; None is torch's number of threads,
                or fewer if there is little to do.

        Raises:
            ValueError: queries over another vocabulary.
        """
        if queries.shape[1] != self._vocabulary:
            raise ValueError(f"queries have {queries.shape[1]} columns, documents {self._vocabulary}")
        queries = csr_matrix(queries, dtype=np.float32).sorted_indices()
        n_queries = queries.shape[0]
        hits: Hits = [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * n_queries
        if threads is None:
            import torch  # here: BM25 and what only names an engine need none

            threads = min(torch.get_num_threads(), n_queries * self._n_documents // WORK_PER_THREAD)
        threads = max(1, min(threads, n_queries))

        def search_every(first: int) -> None:
            scratch = np.empty(SCORE_BLOCK, np.float32), np.empty(SCORE_BLOCK, np.bool_), np.empty(BINS, np.int32)
            keys = np.empty(self._n_documents + 1, np.uint64)
            for q in range(first, n_queries, threads):
                row = slice(queries.indptr[q], queries.indptr[q + 1])
                query = queries.indices[row], queries.data[row]
                found = _candidates(*query, self._starts, self._numbers, self._weights, top_k, *scratch, keys)
                hits[q] = _decode(np.sort(keys[:found])[::-1][:top_k])

        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(search_every, range(threads)))
        else:
            search_every(0)
        return hits


@_compiled
def _segment_starts(column_starts: np.ndarray, positions: np.ndarray, n_documents: int) -> np.ndarray:
    """[V, blocks + 1]: where the postings of each token start in each block, and where its last ones end."""
    n_blocks = (n_documents + SCORE_BLOCK - 1) // SCORE_BLOCK
    starts = np.empty((len(column_starts) - 1, n_blocks + 1), np.uint64)
    for token in range(len(starts)):
        j = column_starts[token]
        for block in range(n_blocks):
            starts[token, block] = j
            while j < column_starts[token + 1] and positions[j] < (block + 1) * SCORE_BLOCK:
                j += 1
        starts[token, n_blocks] = j
    return starts


@_compiled
def _candidates(
    tokens: np.ndarray,
    query_weights: np.ndarray,
    starts: np.ndarray,
    numbers: np.ndarray,
    weights: np.ndarray,
    k: int,
    scores: np.ndarray,
    passes: np.ndarray,
    histogram: np.ndarray,
    keys: np.ndarray,
) -> int:
    """Fill keys with those of a superset of one query's k best documents, hardly larger; return how many.

    A key is the score's bits, then the inverted position: the larger the better, ties included. scores, passes
    [SCORE_BLOCK] and histogram [BINS] are scratch.
    """
    bits, eights = scores.view(np.uint32), passes.view(np.uint64)
    limit_bits = np.zeros(1, np.uint32)
    limit = limit_bits.view(np.float32)
    found, lowest, highest = np.uint64(0), 0, 0
    histogram[:] = 0
    for block in range(starts.shape[1] - 1):
        scores[:] = 0
        for i in range(len(tokens)):
            weight = query_weights[i]
            for j in range(starts[tokens[i], block], starts[tokens[i], block + 1]):
                scores[numbers[j]] += weight * weights[j]
        least = limit[0]
        for n in range(SCORE_BLOCK):
            passes[n] = scores[n] > least
        # No branch for a single document: what does not pass is overwritten by the next. (All in uint64: an index of
        # another type costs checks.)
        before, inverted = found, np.uint64(0xFFFFFFFF - block * SCORE_BLOCK)
        for e in range(np.uint64(SCORE_BLOCK // 8)):
            if eights[e]:
                for n in range(e * np.uint64(8), e * np.uint64(8) + np.uint64(8)):
                    keys[found] = (np.uint64(bits[n]) << np.uint64(32)) | (inverted - n)
                    found += np.uint64(passes[n])
        for key in keys[before:found]:
            bin_ = np.int64(key >> np.uint64(48))
            histogram[bin_] += 1
            highest = max(highest, bin_)
        # The lowest bin that the k best reach into; what is below it cannot be among them.
        above, bin_ = 0, highest
        while bin_ > lowest and above + histogram[bin_] < k:
            above += histogram[bin_]
            bin_ -= 1
        lowest = bin_
        if lowest > 0:
            limit_bits[0] = (lowest << 16) - 1
    kept = 0
    for key in keys[:found]:
        keys[kept] = key
        kept += np.int64(key >> np.uint64(48)) >= lowest
    return kept


def _decode(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(positions int64, scores float32) of `_candidates`' keys."""
    return 0xFFFFFFFF - (keys & 0xFFFFFFFF).astype(np.int64), (keys >> 32).astype(np.uint32).view(np.float32)
