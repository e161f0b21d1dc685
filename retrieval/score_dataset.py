"""Score a model on a BEIR data set, in any number of processes: encode, index, search, compute figures."""

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.beir_data import BeirData
from retrieval.blocks import DocumentVectors, Encoder, FreshVectors
from retrieval.engine import Engine, Hits, frequencies
from retrieval.exact_engine import ExactEngine
from retrieval.metrics import (
    DEFAULT_METRICS,
    QueryFigures,
    Rankings,
    figure_name,
    flops,
    mean_length,
    means,
    per_query,
    score_rankings,
)
from retrieval.passages import Passages, by_document, depth
from retrieval.shaped import NO_SHAPE, Shape, ShapedVectors
from retrieval.strings import Ordered
from retrieval.vectors import VectorCache
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

DropQueryId: TypeAlias = bool | Literal["auto"]


@dataclass(frozen=True)
class DatasetScores:
    """The outcome on one data set."""

    figures: dict[str, Any]
    """What goes into evaluation/<dataset>.json; the same in every process."""
    rankings: Rankings
    """Each query's hits, best first; empty in processes other than rank 0."""
    per_query: QueryFigures
    """The metrics of each query; empty in processes other than rank 0."""


def score_dataset(
    encoder: Encoder,
    data: BeirData,
    top_k: int = 1000,
    query_prune: float = 0.0,
    batch_size: int = 32,
    engine: Engine | None = None,
    search: bool = True,
    metrics: Sequence[str] = DEFAULT_METRICS,
    vectors_folder: Path | None = None,
    drop_query_id: DropQueryId = "auto",
    shape: Shape = NO_SHAPE,
    passages: Passages = "best",
) -> DatasetScores:
    """Encode, index and search data. To be called in every process; each encodes its own blocks of documents.

    Args:
        top_k: documents a query that are kept.
        query_prune: see `prune`.
        engine: where documents go, by id descending: trec_eval's order among equal scores (None: the exact engine).
        search: False: index only; the figures are then those of the index, there are no rankings.
        metrics: see `retrieval.metrics`; of an approximate search, the first two are given of an exact one too.
        vectors_folder: where the documents' vectors are kept and taken from (see `VectorCache`); None: nowhere.
        drop_query_id: see `own_documents`.
        shape: what becomes of the vectors before they are indexed; those that are kept are the model's.
        passages: how a document is scored whose passages are what is indexed.

    Raises:
        UserError: no document has a weight, or no query.
    """
    started = time.perf_counter()
    engine = engine or ExactEngine()
    whole_queries = prune(encoder.encode_queries(data.queries), 0)
    queries = prune(whole_queries, query_prune)
    require_weights(queries.nnz, data, "queries", OF_QUERIES)
    vectors = document_vectors(encoder, data, queries.shape[1], batch_size, vectors_folder, shape)
    document_df = engine.index(Ordered(data.doc_ids, data.doc_ids.order), queries.shape[1], vectors)
    require_weights(document_df.any(), data, "documents", OF_DOCUMENTS)
    if not search:
        return DatasetScores({"documents": len(data.doc_ids), **engine.measure(queries[:0], top_k)}, {}, {})
    distributed.barrier()
    searching = time.perf_counter()
    n_hits = depth(data, top_k)
    hits = engine.search(queries, n_hits)
    search_s = time.perf_counter() - searching
    approximate = engine.approximate or query_prune > 0
    exact_hits = engine.search(whole_queries, n_hits, exhaustive=True) if approximate else None
    measured = engine.measure(queries, n_hits)
    rankings, values, figures = {}, {}, {}
    if distributed.is_main():
        own = own_documents(data, drop_query_id)
        rankings = make_rankings(data, hits, top_k, own, passages)
        values = per_query(data.qrels, rankings, metrics)
        figures = {
            **quality_figures(data, values, metrics),
            **vector_figures(document_df, len(data.doc_ids), frequencies(queries), len(data.queries)),
            **measured,
            "search_queries_per_s": len(data.queries) / search_s,
        }
        if exact_hits is not None:
            exact = make_rankings(data, exact_hits, top_k, own, passages)
            figures |= loss_figures(figures, score_rankings(data.qrels, exact, metrics[:2]), rankings, exact)
        figures["seconds"] = time.perf_counter() - started
    return DatasetScores(distributed.broadcast(figures), rankings, values)


def document_vectors(
    encoder: Encoder,
    data: BeirData,
    vocabulary: int,
    batch_size: int,
    folder: Path | None = None,
    shape: Shape = NO_SHAPE,
) -> DocumentVectors:
    """The documents' vectors [N, V], by id descending, in a shape.

    Args:
        vocabulary: V.
        folder: where the model's vectors are taken from, with what it lacks encoded into it; None: encoded anew.
    """
    texts = Ordered(data.texts, data.doc_ids.order)
    vectors: DocumentVectors = FreshVectors(encoder, texts, batch_size)
    if folder is not None:
        vectors = VectorCache(folder, texts, lambda lists, progress: encoder.encode_blocks(lists, batch_size, progress))
    return ShapedVectors(vectors, shape, vocabulary, texts, encoder.count_tokens, folder) if shape else vectors


def prune(queries: csr_matrix, share: float) -> csr_matrix:
    """Query weights [Q, V] without zeros; if share > 0, without those <= share × their query's maximum."""
    queries = csr_matrix(queries, dtype=np.float32, copy=True)
    if share > 0:
        maxima = queries.max(axis=1).toarray().ravel()
        queries.data[queries.data <= share * np.repeat(maxima, np.diff(queries.indptr))] = 0
    queries.eliminate_zeros()
    return queries


# Where to look if none of the texts has a token with weight.
OF_QUERIES = "look at the query weights (idf_path) and the tokenizer"
OF_DOCUMENTS = "look at max_seq_length, which counts special tokens too, at prune_ratio and the model"


def require_weights(found: Any, data: BeirData, what: Literal["documents", "queries"], remedy: str) -> None:
    """Refuse documents or queries without a single weight: every figure would be 0.

    Args:
        found: whether there is one; remedy: where to look if not all of the texts are empty.
    """
    if found:
        return
    texts = data.texts if what == "documents" else data.queries
    filled = sum(map(bool, texts))
    why = f"though {filled} of them are not empty; {remedy}" if filled else "all of them are empty"
    raise UserError(f"{data.name}: none of its {len(texts)} {what} has a token with weight: {why}.")


def own_documents(data: BeirData, drop: DropQueryId) -> Collection[str]:
    """The queries whose rankings leave out the document of the query's own id, unless it is judged relevant.

    Args:
        drop: True: all that have one, as BEIR does; "auto": those whose document is the query itself; False: none.
    """
    same: Iterable[str] = data.in_corpus if drop == "auto" else ()
    if drop is True:
        same = compress(data.query_ids, data.doc_ids.positions(data.query_ids) >= 0)
    own = {qid for qid in same if data.qrels[qid].get(qid, 0) <= 0}
    if own:
        logger.info("%s: %d queries do not find the document of their own id (drop_query_id)", data.name, len(own))
    return own


def make_rankings(
    data: BeirData, hits: Hits, top_k: int, own: Collection[str] = (), passages: Passages = "best"
) -> Rankings:
    """Hits, whose positions are those of the ids by id descending, as ids and floats.

    Args:
        own: see `own_documents`; passages: see `by_document`.
    """
    rankings: Rankings = {}
    for qid, (positions, scores) in zip(data.query_ids, hits, strict=True):
        ids = data.doc_ids.take(data.doc_ids.order[positions])
        named = list(zip(ids, scores.astype(float).tolist(), strict=True))
        named = by_document(named, data, passages) if data.passage_of else named
        rankings[qid] = [hit for hit in named if hit[0] != qid or qid not in own][:top_k]
    return rankings


def quality_figures(data: BeirData, values: QueryFigures, metrics: Sequence[str]) -> dict[str, Any]:
    """What was scored, the names of the metrics' figures, and their means over queries."""
    counts = {"queries": len(data.queries), "documents": len(data.doc_ids)}
    names = [figure_name(metric) for metric in metrics]
    return {"dataset": data.name, "split": data.split, **counts, "metrics": names, **means(values, metrics)}


def vector_figures(document_df_V: np.ndarray, n_documents: int, query_df_V: np.ndarray, n_queries: int) -> dict:
    """FLOPS and mean lengths, from the number of documents and queries in which each token is non-zero."""
    return {
        "flops": flops(document_df_V, n_documents, query_df_V, n_queries),
        "q_length": mean_length(query_df_V, n_queries),
        "d_length": mean_length(document_df_V, n_documents),
    }


def loss_figures(
    figures: dict[str, Any], exact_figures: dict[str, float], rankings: Rankings, exact: Rankings
) -> dict[str, float]:
    """What an approximate ranking (pruned queries, two phases) loses against that by all scores.

    exact_<metric> and <metric>_loss = exact - approximate, for each of exact_figures; overlap@k: the share of the
    exact ranking's first k that are among the approximate one's first k, as a mean over queries with hits.
    """
    found: dict[str, float] = {}
    for name, value in exact_figures.items():
        found |= dict(zip(loss_names(name), (value, value - figures[name]), strict=True))
    for k in (10, 100):
        found[f"overlap@{k}"] = _overlap(rankings, exact, k)
    return found


def loss_names(metric: str) -> tuple[str, str]:
    """The figures of `loss_figures` for a metric: by the exact ranking, and what the approximate one loses."""
    return f"exact_{metric}", f"{metric}_loss"


def _overlap(rankings: Rankings, exact: Rankings, k: int) -> float:
    shared = []
    for qid, hits in exact.items():
        if best := {doc for doc, _ in hits[:k]}:
            shared.append(len(best.intersection(doc for doc, _ in rankings[qid][:k])) / len(best))
    return sum(shared) / max(len(shared), 1)
