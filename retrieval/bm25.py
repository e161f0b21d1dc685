"""BM25 as a baseline, through the library bm25s."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import bm25s
import numpy as np
import snowballstemmer

from retrieval import distributed
from retrieval.beir_data import BeirData
from retrieval.exact_index import best
from retrieval.metrics import DEFAULT_METRICS, per_query
from retrieval.passages import Passages, depth
from retrieval.score_dataset import (
    DatasetScores,
    DropQueryId,
    make_rankings,
    own_documents,
    quality_figures,
    require_weights,
    vector_figures,
)
from retrieval.strings import Ordered

logging.getLogger("bm25s").setLevel(logging.WARNING)  # its import has set it to tell every step

# Anserini's parameters, with which BEIR's BM25 figures were published (Thakur et al. 2021, arXiv 2104.08663).
K1, B = 0.9, 0.4
REMEDY = "BM25 knows words of two letters or more that are no stop words of its language (bm25_language)"


def tokenize(texts: Sequence[str], language: str | None = "english") -> list[list[str]]:
    """Lower-case words of two letters or more, without a language's stop words, Snowball-stemmed.

    Args:
        language: one that snowballstemmer has a stemmer for and bm25s stop words (of English Lucene's); None: words as
            they are.
    """
    stem = snowballstemmer.stemmer(language).stemWords if language else None
    return bm25s.tokenize(list(texts), stopwords=language or [], stemmer=stem, return_ids=False, show_progress=False)


def score_bm25(
    data: BeirData,
    top_k: int = 1000,
    metrics: Sequence[str] = DEFAULT_METRICS,
    drop_query_id: DropQueryId = "auto",
    passages: Passages = "best",
    language: str | None = "english",
) -> DatasetScores:
    """Rank data by BM25 (Lucene's form). To be called in every process; rank 0 does the work.

    Lengths are mean counts of distinct terms, and FLOPS is over the corpus's own terms.

    Args:
        drop_query_id: see `own_documents`. passages: see `by_document`. language: see `tokenize`.

    Raises:
        UserError: no document has a word, or no query.
    """
    scores = DatasetScores({}, {}, {})

    def score() -> dict[str, Any]:
        nonlocal scores
        scores = _score(data, top_k, metrics, drop_query_id, passages, language)
        return scores.figures

    figures = distributed.on_main(score)
    return replace(scores, figures=figures)


def _score(
    data: BeirData,
    top_k: int,
    metrics: Sequence[str],
    drop_query_id: DropQueryId,
    passages: Passages,
    language: str | None,
) -> DatasetScores:
    started = time.perf_counter()
    texts = Ordered(data.texts, data.doc_ids.order)
    documents, asked = tokenize(texts, language), tokenize(data.queries, language)
    require_weights(any(documents), data, "documents", REMEDY)
    require_weights(any(asked), data, "queries", REMEDY)
    vocabulary = {term: i for i, term in enumerate(sorted(set(chain.from_iterable(documents))))}
    ids = [[vocabulary[term] for term in terms] for terms in documents]
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    indexed = time.perf_counter()
    queries = [[vocabulary[t] for t in terms if t in vocabulary] for terms in asked]
    none = np.zeros(len(documents), np.float32)
    n_hits = depth(data, top_k)
    hits = [best(index.get_scores_from_ids(q) if q else none, n_hits) for q in queries]
    finished = time.perf_counter()
    rankings = make_rankings(data, hits, top_k, own_documents(data, drop_query_id), passages)
    values = per_query(data.qrels, rankings, metrics)
    frequencies = [_frequencies(rows, len(vocabulary)) for rows in (ids, queries)]
    figures: dict[str, Any] = {
        **quality_figures(data, values, metrics),
        **vector_figures(frequencies[0], len(ids), frequencies[1], len(queries)),
        "engine": "bm25s",
        "encode_docs_per_s": len(documents) / (indexed - started),
        "search_queries_per_s": len(queries) / (finished - indexed),
        "index_bytes": sum(a.nbytes for a in getattr(index, "scores", {}).values() if isinstance(a, np.ndarray)),
        "seconds": time.perf_counter() - started,
    }
    return DatasetScores(figures, rankings, values)


def _frequencies(rows: list[list[int]], vocabulary: int) -> np.ndarray:
    """[vocabulary] in how many rows each term occurs."""
    distinct = [np.unique(np.array(row, dtype=np.int64)) for row in rows]
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *distinct]), minlength=vocabulary)
