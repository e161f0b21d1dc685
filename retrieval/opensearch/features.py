"""Tokens and weights as an index holds them: names without dots, weights of 9 significant bits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

# Lucene stores the upper 17 bits of a feature's float32 (sign, exponent, 8 bits of fraction) and drops the rest.
DROPPED_BITS = 15
LEAST = np.finfo(np.float32).tiny  # smaller weights make the server reject the document


def feature_names(tokens: Sequence[str | None]) -> list[str]:
    """A feature name for each token, all different: % and . escaped as %25 and %2E, the empty token as %.

    A query splits a field's name at its last dot, so that a token with a dot would match nothing. An id without a
    token (a padded vocabulary's) is named %-<id>.
    """
    return [
        f"%-{i}" if token is None else token.replace("%", "%25").replace(".", "%2E") or "%"
        for i, token in enumerate(tokens)
    ]


def stored_precision(weights: csr_matrix) -> csr_matrix:
    """Weights [N, V] rounded to the nearest that the index stores exactly; none that it cannot store, no zeros.

    The relative change is at most 2^-9 (0.2 %).
    """
    half = np.uint32(1 << (DROPPED_BITS - 1))
    bits = np.ascontiguousarray(weights.data, dtype=np.float32).view(np.uint32)
    rounded = (bits + half) & np.uint32(0xFFFFFFFF << DROPPED_BITS & 0xFFFFFFFF)
    kept = csr_matrix((rounded.view(np.float32), weights.indices, weights.indptr), shape=weights.shape, copy=True)
    kept.data[kept.data < LEAST] = 0
    kept.eliminate_zeros()
    return kept


def sum_of_features(field: str, names: Sequence[str], tokens: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """A query that scores Σ weight × the document's, over these of V tokens."""
    return {"bool": {"should": [clause(field, names[t], w) for t, w in zip(tokens, weights, strict=True)]}}


def clause(field: str, name: str, weight: float) -> dict[str, Any]:
    """One token of a query."""
    # Without `linear` a feature's value would be squeezed by the default, saturation.
    return {"rank_feature": {"field": f"{field}.{name}", "boost": float(str(np.float32(weight))), "linear": {}}}


def code(values: np.ndarray) -> np.ndarray:
    """The 16 bits that tell stored positive values [n] apart, as int64."""
    return (values.view(np.uint32) >> np.uint32(DROPPED_BITS)).astype(np.int64)


def value_texts() -> np.ndarray:
    """The shortest text of every positive value that can be stored, by `code`, as an object array [65280]."""
    finite = np.arange(0xFF00, dtype=np.uint32) << np.uint32(DROPPED_BITS)
    return np.array([str(value) for value in finite.view(np.float32)], dtype=object)
