"""Ways to make document vectors smaller: each a function of vectors and of how much is to be left.

OpenSearch's names for what its sparse encoding processor prunes by: top_k, max_ratio, abs_value, alpha_mass.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from sparse_model.pruning import Cut, document_rarity

Method = Callable[[csr_matrix, Any], csr_matrix]


def top_k(weights_NV: csr_matrix, k: int) -> csr_matrix:
    """Each document's k heaviest tokens."""
    return Cut(max_active_dims=k)(weights_NV)


def top_k_df(weights_NV: csr_matrix, k: int) -> csr_matrix:
    """Each document's k tokens of the most weight × ln(N / df), see `document_rarity`."""
    df_V = np.bincount(weights_NV.indices, minlength=weights_NV.shape[1])
    return Cut(max_active_dims=k)(weights_NV, document_rarity(df_V, weights_NV.shape[0]))


def max_ratio(weights_NV: csr_matrix, ratio: float) -> csr_matrix:
    """Tokens of at least this share of their document's heaviest."""
    return Cut(prune_ratio=ratio)(weights_NV)


def abs_value(weights_NV: csr_matrix, threshold: float) -> csr_matrix:
    """Tokens of at least this weight."""
    kept = csr_matrix(weights_NV, copy=True)
    kept.data[kept.data < threshold] = 0
    kept.eliminate_zeros()
    return kept


def alpha_mass(weights_NV: csr_matrix, alpha: float) -> csr_matrix:
    """Each document's heaviest tokens, as few as together have this share of its whole weight."""
    kept = csr_matrix(weights_NV, copy=True)
    rows = np.repeat(np.arange(kept.shape[0]), np.diff(kept.indptr))
    order = np.lexsort((kept.indices, -kept.data, rows))
    ordered = kept.data[order].astype(np.float64)
    before = np.concatenate([[0.0], np.cumsum(ordered)])
    starts = before[kept.indptr[:-1]]
    mass_before = before[:-1] - np.repeat(starts, np.diff(kept.indptr))
    total = np.repeat(before[kept.indptr[1:]] - starts, np.diff(kept.indptr))
    # One that begins at the share or behind it is not needed to reach it; what rounding adds does not count.
    kept.data[order[mass_before >= alpha * total - 1e-9 * total]] = 0
    kept.eliminate_zeros()
    return kept


def infrequent(weights_NV: csr_matrix, share: float) -> csr_matrix:
    """Tokens that at most this share of the documents have: the longest posting lists are left out, whole."""
    df_V = np.bincount(weights_NV.indices, minlength=weights_NV.shape[1])
    kept = csr_matrix(weights_NV, copy=True)
    kept.data[df_V[kept.indices] > share * kept.shape[0]] = 0
    kept.eliminate_zeros()
    return kept


def eight_bits(weights_NV: csr_matrix, k: int | None) -> csr_matrix:
    """Weights as whole multiples of 1/255 of the largest of all, none as 0; of each document's k heaviest tokens."""
    kept = top_k(weights_NV, k) if k else csr_matrix(weights_NV, copy=True)
    step = float(kept.data.max(initial=0)) / 255 or 1.0
    kept.data = (np.maximum(np.rint(kept.data / step), 1) * step).astype(np.float32)
    return kept


METHODS: dict[str, tuple[Method, tuple[Any, ...]]] = {
    "top_k": (top_k, (128, 96, 64, 48, 32, 24, 16)),
    "top_k_df": (top_k_df, (128, 96, 64, 48, 32, 24, 16)),
    "max_ratio": (max_ratio, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    "abs_value": (abs_value, (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)),
    "alpha_mass": (alpha_mass, (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)),
    "infrequent": (infrequent, (0.5, 0.3, 0.2, 0.1, 0.05)),
    "eight_bits": (eight_bits, (None, 96, 64, 48, 32)),
}
"""Name to the function and to the strengths that are tried, from the weakest."""
BYTES = {"eight_bits": 3}
"""Of a posting, where they are not 6 (4 of weight, 2 of position)."""
