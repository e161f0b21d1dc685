"""Sorted rows, by hand."""

import numpy as np
import pyarrow as pa
import pytest

from mining.rows import ROWS_PER_BATCH, Recipe, row_batches, row_schema, sort_pairs
from mining.scored_pairs import QueryPairs, Teacher
from sparse_model import UserError
from tests.mining.synthetic import make_texts

TEXTS = make_texts(3, 10)
PAIRS = [
    QueryPairs(
        0,
        np.array([4, 2, 9, 7]),
        np.array([False, False, True, False]),
        np.array([[1, 3, 2, 3], [0, 1, 1, 1]], dtype=np.float32),
    ),
    QueryPairs(1, np.array([], dtype=np.int64), np.array([], dtype=bool), np.zeros((2, 0), dtype=np.float32)),
    QueryPairs(2, np.array([5, 4]), np.array([False, False]), np.array([[5, 1], [1, 0]], dtype=np.float32)),
]


def rows_of(recipe: Recipe) -> list[dict]:
    ordered, _ = sort_pairs(PAIRS, TEXTS, recipe, num_candidates=4)
    return pa.Table.from_batches(row_batches(ordered, TEXTS, recipe), row_schema(recipe)).to_pylist()


def test_rows_of_one_query_scope() -> None:
    """Query 0: a = (1, 3, 2, 3) to (0, 1, .5, 1), b = (0, 1, 1, 1) stays; weights 1 and 3: (0, 1, .875, 1).

    Documents 2 and 7 tie: the miner had 2 first. The positive, document 9, comes third: first_rank 2.
    """
    first, empty, last = rows_of(Recipe((Teacher("a", 1), Teacher("b", 3)), scope="query"))
    assert first == {
        "query": "query 0",
        "docs": [f"text of document {i}" for i in (2, 7, 9, 4)],
        "scores": [1.0, 1.0, 0.875, 0.0],
        "q_id": "q0",
        "d_ids": ["d2", "d7", "d9", "d4"],
        "first_rank": 2,
        "labels": [False, False, True, False],
        "teacher_scores": {"a": [3.0, 3.0, 2.0, 1.0], "b": [1.0, 1.0, 1.0, 0.0]},
    }
    assert (empty["docs"], empty["scores"], empty["first_rank"], empty["teacher_scores"]["b"]) == ([], [], -1, [])
    assert (last["d_ids"], last["scores"], last["first_rank"]) == (["d5", "d4"], [1.0, 0.0], -1)


def test_rows_of_a_batch_scope() -> None:
    """Over all three queries a ranges from 1 to 5, b from 0 to 1; weights 1 and 1.

    Query 0: a to (0, .5, .25, .5), mean with b (0, .75, .625, .75). Query 2: (1, 0), mean with (1, 0) the same.
    """
    first, _, last = rows_of(Recipe((Teacher("a"), Teacher("b")), scope="batch", batch_size=3))
    assert (first["scores"], last["scores"]) == ([0.75, 0.75, 0.625, 0.0], [1.0, 0.0])


def test_statistics_of_the_rows() -> None:
    """By a alone the positive (2) is third, by b it ties with two others of which one came before it: rank 1."""
    recipe = Recipe((Teacher("a", 1), Teacher("b", 3)), scope="query")
    _, statistics = sort_pairs(PAIRS, TEXTS, recipe, num_candidates=4)
    counts = statistics.counts
    assert (counts.queries, counts.pairs, counts.positive_pairs, counts.scopes) == (3, 6, 1, 2)
    assert (counts.queries_without_positive, counts.short_queries) == (2, 2)
    assert [scorer.first_ranks.tolist() for scorer in statistics.scorers] == [[0, 0, 1], [0, 1], [0, 0, 1]]


def test_constant_scopes_are_counted() -> None:
    constant = QueryPairs(0, np.array([1, 2]), np.array([True, False]), np.array([[3, 1], [7, 7]], dtype=np.float32))
    recipe = Recipe((Teacher("a"), Teacher("b")), scope="query")
    ordered, statistics = sort_pairs([constant], TEXTS, recipe, num_candidates=2)
    assert ordered.scores.tolist() == [1.0, 0.0]
    assert [scorer.constant_scopes for scorer in statistics.scorers] == [0, 1, 0]


def test_more_rows_than_a_batch_of_arrow() -> None:
    n = 2 * ROWS_PER_BATCH + 1
    texts, recipe = make_texts(n, 10), Recipe((Teacher("a"),))
    pairs = [QueryPairs(q, np.array([q % 10]), np.array([True]), np.array([[q]], dtype=np.float32)) for q in range(n)]
    batches = list(row_batches(sort_pairs(pairs, texts, recipe, 1)[0], texts, recipe))
    rows = pa.Table.from_batches(batches).to_pylist()
    assert len(batches) == 3 and [row["q_id"] for row in rows] == texts.query_ids
    assert [row["d_ids"] for row in rows] == [[f"d{q % 10}"] for q in range(n)]
    assert [row["teacher_scores"]["a"] for row in rows] == [[float(q)] for q in range(n)]


def test_a_score_that_is_not_finite_is_named() -> None:
    scores = np.array([[1, 2], [np.inf, 0]], dtype=np.float32)
    pairs = [PAIRS[1], QueryPairs(2, np.array([5, 4]), np.array([False, False]), scores)]
    with pytest.raises(UserError, match="teacher b: its score of query 'q2' and document 'd5' is inf"):
        sort_pairs(pairs, TEXTS, Recipe((Teacher("a"), Teacher("b"))), 2)
