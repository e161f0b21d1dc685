"""Static pruning: document vectors cut to their heaviest tokens, without training (Lassance et al. 2023).

The paper: arXiv 2304.12702.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparse_model import limits

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class Cut:
    """What is kept of a document's vector; both limits hold where both are given.

    Args:
        max_active_dims: at most so many tokens, the heaviest, of equal ones those of lower ids; None: all.
        prune_ratio: tokens of at least this share of the document's heaviest; None: all.

    Raises:
        UserError: for what can be neither.
    """

    max_active_dims: int | None = None
    prune_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.max_active_dims is not None:
            limits.whole(self.max_active_dims, "max_active_dims")
        limits.share(self.prune_ratio, "prune_ratio")

    def __bool__(self) -> bool:
        """Whether anything may be dropped."""
        return self.max_active_dims is not None or bool(self.prune_ratio)

    def __call__(self, weights_NV: csr_matrix, factor_V: np.ndarray | None = None) -> csr_matrix:
        """The vectors [N, V] without what is not kept, their zeros included; the weights themselves stay as they are.

        Args:
            factor_V: by what a token's weight is multiplied before tokens are compared (see `document_rarity`).
        """
        from scipy.sparse import csr_matrix  # here: what only says a cut needs none

        weights_NV = csr_matrix(weights_NV, copy=True)
        weights_NV.eliminate_zeros()
        heaviness = weights_NV.data if factor_V is None else weights_NV.data * factor_V[weights_NV.indices]
        kept = np.ones(weights_NV.nnz, dtype=bool)
        if self.prune_ratio:
            kept &= heaviness >= self.prune_ratio * _spread(_largest(heaviness, weights_NV.indptr), weights_NV.indptr)
        if self.max_active_dims is not None:
            kept &= _rank(heaviness, weights_NV) < self.max_active_dims
        weights_NV.data[~kept] = 0
        weights_NV.eliminate_zeros()
        return weights_NV


def document_rarity(document_df_V: np.ndarray, n_documents: int) -> np.ndarray:
    """ln(N / df_j), float32 [V], df_j the number of a corpus's N vectors in which token j has a weight; df 0: 0.

    Weight × rarity is what a token adds to a document's score beyond what it adds to every document's.
    """
    df = np.maximum(document_df_V.astype(np.float64), 1)
    return np.where(document_df_V > 0, np.log(n_documents / df), 0).astype(np.float32)


def _rank(heaviness: np.ndarray, weights_NV: csr_matrix) -> np.ndarray:
    """Of each stored value its place in its row, 0 for the heaviest; equal ones by column."""
    rows = _spread(np.arange(weights_NV.shape[0]), weights_NV.indptr)
    order = np.lexsort((weights_NV.indices, -heaviness, rows))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - _spread(weights_NV.indptr[:-1], weights_NV.indptr)
    return rank


def _largest(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """The largest value of each row; 0 of an empty one."""
    filled = np.diff(indptr) > 0
    largest = np.zeros(len(filled), dtype=values.dtype)
    if filled.any():
        largest[filled] = np.maximum.reduceat(values, indptr[:-1][filled])
    return largest


def _spread(values_N: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Of each stored value, its row's."""
    return np.repeat(values_N, np.diff(indptr))
