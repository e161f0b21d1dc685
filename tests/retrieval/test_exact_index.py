"""The exact engine against a brute-force scorer, and against float32 sums in the order it promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from retrieval.exact_index import SCORE_BLOCK, ExactIndex, best


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


def in_token_order(documents: csr_matrix, queries: csr_matrix, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each score summed over ascending tokens, every product and sum rounded to float32."""
    columns, ranked = documents.tocsc(), []
    for query in queries.toarray().astype(np.float32):
        scores = np.zeros(documents.shape[0], dtype=np.float32)
        for token in np.flatnonzero(query):
            scores += query[token] * columns[:, token].toarray().ravel().astype(np.float32)
        ranked.append(best(scores, k))
    return ranked


def assert_identical(ours: list, theirs: list) -> None:
    for (positions, scores), (expected, expected_scores) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(positions, expected)
        np.testing.assert_array_equal(scores, expected_scores)


def random_rows(rng: np.random.Generator, rows: int, columns: int, density: float, steps: int | None) -> csr_matrix:
    """Weights in (0, 1), multiples of 1 / steps if given; where rows are many, some are empty."""
    weights = rng.random((rows, columns), dtype=np.float32)
    if steps:
        weights = np.ceil(weights * steps) / np.float32(steps)
    return csr_matrix(weights * (rng.random((rows, columns)) < density))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_documents=st.integers(0, 60),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    steps=st.sampled_from([None, 1, 3]),
    negative=st.booleans(),
    k=st.integers(1, 80),
    threads=st.integers(1, 3),
)
def test_identical_to_sums_in_token_order(
    seed: int, n_documents: int, density: float, steps: int | None, negative: bool, k: int, threads: int
) -> None:
    rng = np.random.default_rng(seed)
    documents, queries = (random_rows(rng, rows, 12, density, steps) for rows in (n_documents, 5))
    if negative:
        documents.data *= rng.choice(np.float32([-1, 1]), documents.nnz)
    assert_identical(ExactIndex(documents).search(queries, k, threads), in_token_order(documents, queries, k))


@pytest.mark.parametrize(
    "n_documents", [1, SCORE_BLOCK - 1, SCORE_BLOCK, SCORE_BLOCK + 1, 2 * SCORE_BLOCK, 2 * SCORE_BLOCK + 1]
)
@pytest.mark.parametrize("steps", [None, 2])
def test_blocks(n_documents: int, steps: int | None) -> None:
    rng = np.random.default_rng(n_documents)
    documents, queries = (random_rows(rng, rows, 20, 0.3, steps) for rows in (n_documents, 4))
    index = ExactIndex(documents)
    for k in (1, 10, 1000, n_documents, 3 * SCORE_BLOCK):
        assert_identical(index.search(queries, k), in_token_order(documents, queries, k))


@pytest.mark.parametrize("order", ["ascending", "descending", "equal", "tiny"])
def test_orders_in_which_scores_may_come(order: str) -> None:
    """Ascending scores make every document a candidate; equal ones tie at every cut-off; tiny ones are subnormal."""
    n = 2 * SCORE_BLOCK + 5
    steps = np.arange(1, n + 1, dtype=np.float32)
    weights = {"ascending": steps, "descending": steps[::-1], "equal": 0 * steps + 1, "tiny": steps * np.float32(1e-45)}
    documents, queries = csr_matrix(weights[order][:, None]), csr_matrix(np.ones((1, 1), dtype=np.float32))
    for k in (1, 100, n):
        assert_identical(ExactIndex(documents).search(queries, k), in_token_order(documents, queries, k))


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    documents, queries = random_rows(rng, 3000, 60, 0.2, None), random_rows(rng, 41, 60, 0.15, None)
    alone = ExactIndex(documents).search(queries, 100, threads=1)
    for threads in (2, 5, 64):
        assert_identical(ExactIndex(documents).search(queries, 100, threads), alone)
    monkeypatch.setattr("retrieval.exact_index.WORK_PER_THREAD", 1)
    assert_identical(ExactIndex(documents).search(queries, 100), alone)


def test_unsorted_and_repeated_tokens_zeros_and_empty_queries() -> None:
    rng = np.random.default_rng(3)
    documents = random_rows(rng, 50, 6, 0.5, 4)
    indptr, tokens, weights = [0, 4, 4, 6], [5, 2, 5, 0, 1, 3], np.float32([0.5, 0.25, 0.5, 1, 0, 0])
    queries = csr_matrix((weights, tokens, indptr), shape=(3, 6))
    plain = csr_matrix(np.float32([[1, 0, 0.25, 0, 0, 1], [0] * 6, [0] * 6]))
    assert_identical(ExactIndex(documents).search(queries, 50), in_token_order(documents, plain, 50))
    assert ExactIndex(documents).search(queries[:0], 50) == []


def test_an_index_takes_less_than_eight_bytes_a_posting() -> None:
    rng = np.random.default_rng(4)
    tokens = rng.integers(0, 30522, (10_000, 120), dtype=np.int32)
    documents = csr_matrix((np.ones(tokens.size, np.float32), tokens.ravel(), np.arange(10_001) * 120), (10_000, 30522))
    index = ExactIndex(documents)
    assert index.nbytes == 6 * documents.nnz and index.nbytes + index.table_nbytes <= 8 * documents.nnz


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
    assert index.nbytes == 2 * (4 + 2)


def test_queries_over_another_vocabulary_are_refused() -> None:
    with pytest.raises(ValueError):
        ExactIndex(csr_matrix((2, 3))).search(csr_matrix((1, 4)), 1)
