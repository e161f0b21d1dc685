"""Candidates with made-up scores, the same for a query whoever asks for it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mining.scored_pairs import QueryPairs


@dataclass(frozen=True)
class Texts:
    """What mining.scored_pairs.Texts asks for."""

    query_ids: list[str]
    queries: list[str]
    doc_ids: list[str]
    texts: list[str]


def make_texts(n_queries: int, n_documents: int) -> Texts:
    return Texts(
        [f"q{i}" for i in range(n_queries)],
        [f"query {i}" for i in range(n_queries)],
        [f"d{i}" for i in range(n_documents)],
        [f"text of document {i}" for i in range(n_documents)],
    )


def make_pairs(query: int, n_documents: int, n_candidates: int, n_teachers: int = 2) -> QueryPairs:
    """One judged positive, which scores higher; a query in 11 has no candidate, one in 7 few; scores repeat."""
    random = np.random.default_rng(query)
    n = 0 if query % 11 == 3 else n_candidates // 2 if query % 7 == 2 else n_candidates
    labels = np.zeros(n, dtype=bool)
    labels[: min(1, n)] = True
    documents = random.choice(n_documents, n, replace=False)
    mixed = random.permutation(n)
    scores = np.round(random.normal(size=(n_teachers, n)), 1).astype(np.float32)
    scores += 2 * labels
    return QueryPairs(query, documents[mixed], labels[mixed], scores[:, mixed])


def reader(n_documents: int, n_candidates: int, n_teachers: int = 2):
    def read(start: int, stop: int) -> Iterator[QueryPairs]:
        return (make_pairs(query, n_documents, n_candidates, n_teachers) for query in range(start, stop))

    return read
