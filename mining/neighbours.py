"""Hard negatives: what a query finds beside its own passage, without what may answer it, too."""

import numpy as np
from scipy.sparse import csr_matrix

from retrieval.exact_index import ExactIndex

MAY_ANSWER = 0.7
"""The share of its own passage's score above which a passage may answer a query, too."""
SEARCHED = 20
"""So many times as many hits are looked through as are wanted."""


def neighbours(
    queries_QV: csr_matrix, passages_NV: csr_matrix, own_Q: np.ndarray, documents_N: np.ndarray, count: int
) -> list[np.ndarray]:
    """For each query the places of at most `count` passages that it finds, best first.

    Left out are the passages of its own document, and those that score above MAY_ANSWER of what its own scores: among
    the best hits of a query many are answers that nobody judged (Qu et al. 2021, RocketQA, arXiv 2010.08191).

    Args:
        own_Q: the place of each query's own passage. documents_N: the document that each passage is of.
    """
    most_Q = MAY_ANSWER * np.asarray(queries_QV.multiply(passages_NV[own_Q]).sum(axis=1)).ravel()
    found = ExactIndex(passages_NV).search(queries_QV, SEARCHED * count)
    return [
        places[(documents_N[places] != documents_N[own]) & (scores <= most)][:count]
        for (places, scores), own, most in zip(found, own_Q, most_Q, strict=True)
    ]
