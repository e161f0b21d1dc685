"""Candidates with raw scores to rows to train on: combine the teachers, sort, look up the texts.

A row is {query, docs, scores} (data_type: kd) and, beside these, q_id, d_ids, first_rank (from 0, of the first judged
positive; -1 if there is none), labels (judged positive) and teacher_scores (raw, by teacher). Documents come by
combined score, highest first; among equal scores the miner's order stays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mining.normalise import Normalization, Scope, combine, scopes
from mining.scored_pairs import QueryPairs, Teacher, Texts
from mining.statistics import Counts, Statistics, TeacherCounts
from sparse_model.errors import UserError

ROWS_PER_BATCH = 100  # Arrow counts the bytes of a batch's strings in 31 bits


@dataclass(frozen=True)
class Recipe:
    """How scores become one score."""

    teachers: tuple[Teacher, ...]
    normalization: Normalization = "minmax"
    scope: Scope = "batch"
    batch_size: int = 50
    """Consecutive queries of a batch, in the order of the queries' file; the last one may be smaller."""


@dataclass(frozen=True)
class SortedPairs:
    """Consecutive queries' candidates in the order of the rows; N pairs, Q queries, T teachers."""

    queries: np.ndarray
    """int64 [Q]: positions."""
    offsets: np.ndarray
    """int64 [Q + 1]: where each query's candidates begin."""
    documents: np.ndarray
    """int64 [N]: positions."""
    labels: np.ndarray
    """bool [N]."""
    scores: np.ndarray
    """float32 [N], combined."""
    teacher_scores: np.ndarray
    """float32 [T, N], raw."""
    first_ranks: np.ndarray
    """int64 [Q]."""


def sort_pairs(
    pairs: Sequence[QueryPairs], texts: Texts, recipe: Recipe, num_candidates: int
) -> tuple[SortedPairs, Statistics]:
    """Combine and sort the candidates of consecutive queries, the first of which begins a batch.

    Raises:
        UserError: naming teacher, query and document, if a score is not finite.
    """
    lengths = np.array([len(p.documents) for p in pairs], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.repeat(np.arange(len(pairs)), lengths)
    queries = np.array([p.query for p in pairs], dtype=np.int64)
    documents = np.concatenate([p.documents for p in pairs])
    labels = np.concatenate([p.labels for p in pairs]).astype(bool)
    raw_TN = np.concatenate([p.scores for p in pairs], axis=1).astype(np.float32)
    _require_finite(raw_TN, documents, queries[rows], texts, recipe)
    scores, constant_T, n_scopes = _combined(raw_TN, lengths, recipe)
    order, first_ranks = _ranking(scores, labels, rows, offsets)
    scorers = []
    for values, constant_scopes in [*zip(raw_TN, constant_T.tolist(), strict=True), (scores, 0)]:
        ranks = _ranking(values, labels, rows, offsets)[1]
        scorers.append(TeacherCounts(np.bincount(ranks[ranks >= 0]), constant_scopes))
    counts = Counts(
        queries=len(pairs),
        pairs=len(rows),
        positive_pairs=int(labels.sum()),
        queries_without_positive=int((first_ranks < 0).sum()),
        short_queries=int((lengths < num_candidates).sum()),
        scopes=n_scopes,
    )
    ordered = SortedPairs(
        queries, offsets, documents[order], labels[order], scores[order], raw_TN[:, order], first_ranks
    )
    return ordered, Statistics(counts, scorers)


def _combined(raw_TN: np.ndarray, lengths: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, int]:
    """Combined scores float32 [N], the scopes in which each teacher was constant [T], and how many scopes there are."""
    weights_T = np.array([teacher.weight for teacher in recipe.teachers])
    scores_N = np.zeros(raw_TN.shape[1], dtype=np.float32)
    constant_T = np.zeros(len(raw_TN), dtype=np.int64)
    found = list(scopes(lengths, recipe.scope, recipe.batch_size))
    for scope in found:
        scores_N[scope], constant = combine(raw_TN[:, scope], weights_T, recipe.normalization)
        constant_T += constant
    return scores_N, constant_T, len(found)


def _ranking(
    scores: np.ndarray, labels: np.ndarray, rows: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The order by score within each row, and the rank of each row's first positive (-1: none)."""
    order = np.lexsort((-scores, rows))  # stable: equal scores stay in the miner's order
    positives = np.flatnonzero(labels[order])
    with_positive, first = np.unique(rows[positives], return_index=True)
    first_ranks = np.full(len(offsets) - 1, -1, dtype=np.int64)
    first_ranks[with_positive] = positives[first] - offsets[with_positive]
    return order, first_ranks


def _require_finite(
    raw_TN: np.ndarray, documents: np.ndarray, queries: np.ndarray, texts: Texts, recipe: Recipe
) -> None:
    bad = np.argwhere(~np.isfinite(raw_TN))
    if len(bad):
        teacher, pair = bad[0]
        raise UserError(
            f"teacher {recipe.teachers[teacher].name}: its score of query {texts.query_ids[queries[pair]]!r} and "
            f"document {texts.doc_ids[documents[pair]]!r} is {raw_TN[teacher, pair]} ({len(bad)} such scores in these "
            f"{len(np.unique(queries))} queries); look at its dtype (bfloat16 or float32 do not overflow) or leave it "
            "out."
        )


def row_schema(recipe: Recipe) -> pa.Schema:
    """The columns of a row."""
    scores = pa.list_(pa.float32())
    return pa.schema(
        {
            "query": pa.string(),
            "docs": pa.list_(pa.string()),
            "scores": scores,
            "q_id": pa.string(),
            "d_ids": pa.list_(pa.string()),
            "first_rank": pa.int64(),
            "labels": pa.list_(pa.bool_()),
            "teacher_scores": pa.struct({teacher.name: scores for teacher in recipe.teachers}),
        }
    )


def row_batches(pairs: SortedPairs, texts: Texts, recipe: Recipe) -> Iterator[pa.RecordBatch]:
    """The rows, ROWS_PER_BATCH at a time."""
    schema = row_schema(recipe)
    for first in range(0, len(pairs.queries), ROWS_PER_BATCH):
        queries = pairs.queries[first : first + ROWS_PER_BATCH].tolist()
        offsets = pairs.offsets[first : first + ROWS_PER_BATCH + 1]
        part = slice(int(offsets[0]), int(offsets[-1]))
        documents = pairs.documents[part].tolist()

        def listed(values: pa.Array, offsets: np.ndarray = offsets) -> pa.ListArray:
            return pa.ListArray.from_arrays(pa.array(offsets - offsets[0], pa.int32()), values)

        by_teacher = [listed(pa.array(scores[part])) for scores in pairs.teacher_scores]
        columns = [
            pa.array([texts.queries[i] for i in queries], pa.string()),
            listed(pa.array([texts.texts[i] for i in documents], pa.string())),
            listed(pa.array(pairs.scores[part])),
            pa.array([texts.query_ids[i] for i in queries], pa.string()),
            listed(pa.array([texts.doc_ids[i] for i in documents], pa.string())),
            pa.array(pairs.first_ranks[first : first + ROWS_PER_BATCH]),
            listed(pa.array(pairs.labels[part])),
            pa.StructArray.from_arrays(by_teacher, fields=list(schema.field("teacher_scores").type)),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
