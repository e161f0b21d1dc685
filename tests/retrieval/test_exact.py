"""The exact engine against a brute-force scorer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from retrieval.exact import ExactIndex, best


def brute_force(documents: np.ndarray, queries: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    """Every score by a dense float32 product, sorted in Python."""
    ranked = []
    for scores in queries.astype(np.float32) @ documents.astype(np.float32).T:
        hits = sorted(((n, float(s)) for n, s in enumerate(scores) if s > 0), key=lambda hit: (-hit[1], hit[0]))
        ranked.append(hits[:k])
    return ranked


def found(documents: np.ndarray, queries: np.ndarray, k: int) -> list[list[tuple[int, float]]]:
    hits = ExactIndex(csr_matrix(documents)).search(csr_matrix(queries), k)
    return [list(zip(positions.tolist(), scores.tolist(), strict=True)) for positions, scores in hits]


def quarters(rows: int, columns: int) -> st.SearchStrategy[np.ndarray]:
    """Matrices of 0, 0.25 … 0.75: sums are exact in any order, and many scores are equal."""
    row = st.lists(st.integers(0, 3), min_size=columns, max_size=columns)
    return st.lists(row, min_size=rows, max_size=rows).map(
        lambda values: np.array(values, dtype=np.float32).reshape(rows, columns) / 4
    )


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 30), st.integers(1, 12))
def test_equals_brute_force_with_many_ties(data: st.DataObject, n_documents: int, k: int) -> None:
    documents, queries = data.draw(quarters(n_documents, 4)), data.draw(quarters(3, 4))
    assert found(documents, queries, k) == brute_force(documents, queries, k)


def test_random_weights_agree_with_brute_force() -> None:
    rng = np.random.default_rng(0)
    documents = rng.random((400, 50), dtype=np.float32) * (rng.random((400, 50)) < 0.2)
    queries = rng.random((20, 50), dtype=np.float32) * (rng.random((20, 50)) < 0.1)
    for ours, theirs in zip(found(documents, queries, 400), brute_force(documents, queries, 400), strict=True):
        np.testing.assert_allclose(sorted(s for _, s in ours), sorted(s for _, s in theirs), rtol=1e-6)
        assert {n for n, _ in ours} == {n for n, _ in theirs}


def test_ties_at_the_cut_off_go_to_the_first_positions() -> None:
    """Scores 1, 2, 1, 1, 3, 1 and k = 4: positions 4 and 1, then the first two of the four that score 1."""
    positions, scores = best(np.array([1, 2, 1, 1, 3, 1], dtype=np.float32), 4)
    assert positions.tolist() == [4, 1, 0, 2] and scores.tolist() == [3, 2, 1, 1]


def test_a_score_does_not_depend_on_the_other_documents() -> None:
    rng = np.random.default_rng(1)
    documents = rng.random((60, 30), dtype=np.float32)
    queries = rng.random((5, 30), dtype=np.float32)
    whole = [dict(hits) for hits in found(documents, queries, 60)]
    half = [dict(hits) for hits in found(documents[30:], queries, 60)]
    for of_all, of_half in zip(whole, half, strict=True):
        assert {n + 30: s for n, s in of_half.items()} == {n: s for n, s in of_all.items() if n >= 30}


def test_only_positive_scores_and_types() -> None:
    index = ExactIndex(csr_matrix(np.array([[1.0, 0], [0, 1], [0, 0]])))
    (positions, scores), (none, _) = index.search(csr_matrix(np.array([[2.0, -1], [0, 0]])), 10)
    assert positions.tolist() == [0] and scores.tolist() == [2.0] and none.tolist() == []
    assert positions.dtype == np.int64 and scores.dtype == np.float32
    assert index.nbytes == 2 * (4 + 4)


def test_queries_over_another_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError):
        ExactIndex(csr_matrix((2, 3))).search(csr_matrix((1, 4)), 1)
