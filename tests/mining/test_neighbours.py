"""Hard negatives by hand: neither its own document, nor what may answer as well."""

import numpy as np
from scipy.sparse import csr_matrix

from mining.neighbours import neighbours


def test_neighbours_by_hand() -> None:
    """The query scores its own passage 10, its document's other one 4, and others 9 (too near), 7, 2, 0 and 6.

    Below 0.7 × 10, best first: 7 itself still counts, 0 was not found.
    """
    scores = [10, 4, 9, 7, 2, 0, 6]
    passages_NV = csr_matrix(np.array([[score, 1] for score in scores], np.float32))
    query_QV = csr_matrix(np.array([[1, 0]], np.float32))
    documents = np.array(["a", "a", "b", "c", "d", "e", "f"])
    for count, expected in [(9, [3, 6, 4]), (2, [3, 6])]:
        [found] = neighbours(query_QV, passages_NV, np.array([0]), documents, count)
        assert found.tolist() == expected
