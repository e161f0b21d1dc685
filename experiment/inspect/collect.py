"""What the page shows, as plain values: scores by query, what hits score by, what missed, what tokens cost."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_matrix

from retrieval.beir_data import BeirData
from retrieval.blocks import DocumentVectors
from retrieval.metrics import Rankings
from retrieval.search.index import Match

HITS, MISSED = 10, 3
TOKENS, ADDED, POSTINGS = 12, 10, 25


@dataclass(frozen=True)
class Seen:
    """A document of a query's ranking, or one that is missing there."""

    rank: int | None
    id: str
    grade: int
    score: float
    text: str
    shared: list[Match]
    added: list[tuple[str, float]]
    """Heaviest tokens that stand in no place of its text."""
    would_do: list[tuple[str, float]] = field(default_factory=list)
    """Of one that was missed: tokens of the query that it lacks, with the weight that would bring it to rank 10."""


@dataclass(frozen=True)
class Query:
    """One query and what became of it."""

    id: str
    text: str
    score: float
    other: float
    tokens: list[tuple[str, float]]
    hits: list[Seen]
    missed: list[Seen]


@dataclass(frozen=True)
class Posting:
    """A token's posting list: the shares of documents and of queries that have it, and its share of FLOPS."""

    token: str
    documents: float
    queries: float
    flops: float
    mean_weight: float


@dataclass(frozen=True)
class Vectors:
    """What one pass over a corpus' vectors gave."""

    lengths_N: np.ndarray
    df_V: np.ndarray
    sums_V: np.ndarray
    rows: dict[int, csr_matrix]


def read_vectors(vectors: DocumentVectors, n_documents: int, vocabulary: int, wanted: set[int]) -> Vectors:
    """Lengths and frequencies of all vectors, and those at the wanted positions."""
    lengths_N, df_V = np.zeros(n_documents, np.int64), np.zeros(vocabulary, np.int64)
    sums_V = np.zeros(vocabulary)
    rows: dict[int, csr_matrix] = {}
    for positions, weights in vectors.blocks():
        lengths_N[positions] = np.diff(weights.indptr)
        df_V += np.bincount(weights.indices, minlength=vocabulary)
        sums_V += np.bincount(weights.indices, weights.data, minlength=vocabulary)
        rows |= {int(at): weights[n] for n, at in enumerate(positions.tolist()) if at in wanted}
    return Vectors(lengths_N, df_V, sums_V, rows)


class Explainer:
    """Explains rankings of a data set.

    Args:
        queries_QV: of data.queries. lines: document id to positions of its vectors (several, of passages).
        tokens: the vocabulary. words_of: the ids that stand in a text.
    """

    def __init__(
        self,
        data: BeirData,
        queries_QV: csr_matrix,
        vectors: Vectors,
        lines: dict[str, list[int]],
        texts: Sequence[str],
        tokens: Sequence[str | None],
        words_of: Callable[[str], Iterable[int]],
    ) -> None:
        self._data, self._queries_QV, self._vectors = data, queries_QV, vectors
        self._lines, self._texts, self._tokens, self._words_of = lines, texts, tokens, words_of

    def query(self, number: int, ranking: list[tuple[str, float]], score: float, other: float) -> Query:
        """A query with its first hits and the best of what it missed."""
        qid, row = self._data.query_ids[number], self._queries_QV[number]
        grades = self._data.qrels[qid]
        ranks = {name: rank for rank, (name, _) in enumerate(ranking, 1)}
        hits = [self._seen(row, name, rank, grades.get(name, 0)) for name, rank in list(ranks.items())[:HITS]]
        relevant = sorted((n for n, g in grades.items() if g > 0 and n in self._lines), key=lambda n: (-grades[n], n))
        far = [name for name in relevant if ranks.get(name, HITS + 1) > HITS]
        bar = ranking[HITS - 1][1] if len(ranking) >= HITS else 0.0
        missed = [self._seen(row, name, ranks.get(name), grades[name], bar) for name in far[:MISSED]]
        pairs = sorted(zip(row.data.tolist(), row.indices.tolist(), strict=True), reverse=True)
        tokens = [(self._token(j), weight) for weight, j in pairs]
        return Query(qid, self._data.queries[number], score, other, tokens, hits, missed)

    def _seen(self, row: csr_matrix, name: str, rank: int | None, grade: int, bar: float | None = None) -> Seen:
        vectors = self._vectors.rows
        score, at = max((float((row @ vectors[line].T)[0, 0]), -line) for line in self._lines[name])
        document, text = vectors[-at], self._texts[-at]
        weights = dict(zip(document.indices.tolist(), document.data.tolist(), strict=True))
        query = dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))
        shared = [Match(j, self._token(j), q, weights[j]) for j, q in query.items() if j in weights]
        words = set(self._words_of(text))
        added = sorted(((w, self._token(j)) for j, w in weights.items() if j not in words), reverse=True)
        lacking = sorted(((q, self._token(j)) for j, q in query.items() if j not in weights), reverse=True)
        return Seen(
            rank,
            name,
            grade,
            score,
            text,
            sorted(shared, key=lambda s: (-s.product, s.token))[:TOKENS],
            [(token, weight) for weight, token in added[:ADDED]],
            [(token, (bar - score) / q) for q, token in lacking[:TOKENS] if bar > score] if bar is not None else [],
        )

    def _token(self, j: int) -> str:
        return self._tokens[j] or f"#{j}"


def needed(data: BeirData, rankings: Rankings, numbers: Iterable[int]) -> set[str]:
    """Documents whose vectors are shown for these queries."""
    found: set[str] = set()
    for number in numbers:
        qid = data.query_ids[number]
        found |= {name for name, _ in rankings[qid][:HITS]} | {n for n, g in data.qrels[qid].items() if g > 0}
    return found


def lines_of(data: BeirData) -> dict[str, list[int]]:
    """Each document's positions in the corpus: one, or those of its passages."""
    found: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(data.doc_ids):
        found[data.passage_of.get(name, name)].append(position)
    return found


def postings(vectors: Vectors, queries_QV: csr_matrix, tokens: Sequence[str | None]) -> list[Posting]:
    """The longest posting lists, longest first."""
    n_documents, n_queries = len(vectors.lengths_N), queries_QV.shape[0]
    in_queries_V = np.bincount(queries_QV.indices, minlength=len(vectors.df_V)) / n_queries
    cost_V = in_queries_V * vectors.df_V / n_documents
    whole = float(cost_V.sum()) or 1.0
    order = np.lexsort((np.arange(len(vectors.df_V)), -vectors.df_V))[:POSTINGS]
    return [
        Posting(
            tokens[j] or f"#{j}",
            float(vectors.df_V[j] / n_documents),
            float(in_queries_V[j]),
            float(cost_V[j] / whole),
            float(vectors.sums_V[j] / vectors.df_V[j]),
        )
        for j in order.tolist()
        if vectors.df_V[j]
    ]


def spread(scores: Sequence[float], wanted: int) -> list[int]:
    """Numbers of so many queries from the worst to the best: the worst half of them, and a spread over the rest."""
    order = sorted(range(len(scores)), key=lambda n: (scores[n], n))
    if len(order) <= wanted:
        return order
    worst = order[: wanted // 2]
    rest = order[wanted // 2 :]
    places = np.linspace(0, len(rest) - 1, wanted - len(worst)).round().astype(int)
    return worst + [rest[place] for place in dict.fromkeys(places.tolist())]
