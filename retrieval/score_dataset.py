"""Score a model on a BEIR data set, in any number of processes: encode, index, search, compute figures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.beir_data import BeirData
from retrieval.encode import Encoder, encode_blocks
from retrieval.engine import Engine, ExactEngine, frequencies
from retrieval.exact import Hits
from retrieval.metrics import Run, flops, mean_length, score_run


@dataclass(frozen=True)
class Result:
    """The outcome on one data set."""

    figures: dict[str, Any]
    """What goes into evaluation/<dataset>.json; the same in every process."""
    run: Run
    """Query id to [(document id, score)], best first; empty in processes other than rank 0."""


def evaluate(
    encoder: Encoder,
    data: BeirData,
    top_k: int = 1000,
    query_prune: float = 0.0,
    batch_size: int = 32,
    engine: Engine | None = None,
    search: bool = True,
) -> Result:
    """Encode, index and search data. To be called in every process; each encodes its own blocks of documents.

    Args:
        top_k: documents a query that are kept, that of the query's own id left out.
        query_prune: see `prune`.
        engine: where documents go (None: the exact engine).
        search: False: index only; the figures are then those of the index, the run is empty.
    """
    started = time.perf_counter()
    engine = engine or ExactEngine()
    order = trec_order(data.doc_ids)
    texts = [data.texts[i] for i in order]
    whole_queries = prune(encoder.encode_queries(data.queries), 0)
    queries = prune(whole_queries, query_prune)
    document_df = engine.index(
        [data.doc_ids[i] for i in order],
        queries.shape[1],
        lambda skip: encode_blocks(encoder, texts, batch_size, skip),
    )
    if not search:
        return Result({"documents": len(texts), **engine.measure(queries[:0], top_k)}, {})
    distributed.barrier()
    searching = time.perf_counter()
    # One more than asked for, in case the query's own document is among them.
    hits = engine.search(queries, top_k + 1)
    search_s = time.perf_counter() - searching
    approximate = engine.approximate or query_prune > 0
    exact_hits = engine.search(whole_queries, top_k + 1, exhaustive=True) if approximate else None
    measured = engine.measure(queries, top_k + 1)
    run, figures = {}, {}
    if distributed.is_main():
        run = make_run(data, order, hits, top_k)
        figures = {
            **run_figures(data, run),
            **vector_figures(document_df, len(data.doc_ids), frequencies(queries), len(data.queries)),
            **measured,
            "search_queries_per_s": len(data.queries) / search_s,
        }
        if exact_hits is not None:
            exact = make_run(data, order, exact_hits, top_k)
            figures |= loss_figures(figures, run_figures(data, exact), run, exact)
        figures["seconds"] = time.perf_counter() - started
    return Result(distributed.broadcast(figures), run)


def trec_order(doc_ids: Sequence[str]) -> list[int]:
    """Positions of doc_ids by id descending: trec_eval's order among equal scores."""
    return sorted(range(len(doc_ids)), key=doc_ids.__getitem__, reverse=True)


def prune(queries: csr_matrix, share: float) -> csr_matrix:
    """Query weights [Q, V] without zeros; if share > 0, without those <= share × their query's maximum."""
    queries = csr_matrix(queries, dtype=np.float32, copy=True)
    if share > 0:
        maxima = queries.max(axis=1).toarray().ravel()
        queries.data[queries.data <= share * np.repeat(maxima, np.diff(queries.indptr))] = 0
    queries.eliminate_zeros()
    return queries


def make_run(data: BeirData, order: Sequence[int], hits: Hits, top_k: int) -> Run:
    """Hits as ids and floats; position p is document order[p]. The query's own id is left out."""
    run: Run = {}
    for qid, (positions, scores) in zip(data.query_ids, hits, strict=True):
        named = [(data.doc_ids[order[p]], float(s)) for p, s in zip(positions, scores, strict=True)]
        run[qid] = [hit for hit in named if hit[0] != qid][:top_k]
    return run


def run_figures(data: BeirData, run: Run) -> dict[str, Any]:
    """What was scored, and the metrics."""
    counts = {"queries": len(data.queries), "documents": len(data.doc_ids)}
    return {"dataset": data.name, "split": data.split, **counts, **score_run(data.qrels, run)}


def vector_figures(document_df_V: np.ndarray, n_documents: int, query_df_V: np.ndarray, n_queries: int) -> dict:
    """FLOPS and mean lengths, from the number of documents and queries in which each token is non-zero."""
    return {
        "flops": flops(document_df_V, n_documents, query_df_V, n_queries),
        "q_length": mean_length(query_df_V, n_queries),
        "d_length": mean_length(document_df_V, n_documents),
    }


def loss_figures(figures: dict[str, Any], exact_figures: dict[str, Any], run: Run, exact: Run) -> dict[str, float]:
    """What an approximate ranking (pruned queries, two phases) loses against that by all scores.

    exact_<metric> and <metric>_loss = exact - approximate, for NDCG@10 and recall@100; overlap@k: the share of the
    exact ranking's first k that are among the approximate one's first k, as a mean over queries with hits.
    """
    found: dict[str, float] = {}
    for metric in ("ndcg@10", "recall@100"):
        found[f"exact_{metric}"] = exact_figures[metric]
        found[f"{metric}_loss"] = exact_figures[metric] - figures[metric]
    for k in (10, 100):
        pairs = [({doc for doc, _ in exact[qid][:k]}, {doc for doc, _ in run[qid][:k]}) for qid in exact if exact[qid]]
        found[f"overlap@{k}"] = sum(len(best & kept) / len(best) for best, kept in pairs) / max(len(pairs), 1)
    return found
