"""Score a model on a BEIR data set, in any number of processes: encode, search exactly, compute figures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.beir_data import BeirData
from retrieval.encode import Encoder, encode_corpus
from retrieval.exact import ExactIndex, Hits
from retrieval.metrics import Run, flops, mean_length, score_run


@dataclass(frozen=True)
class Result:
    """The outcome on one data set."""

    figures: dict[str, Any]
    """What goes into evaluation/<dataset>.json; the same in every process."""
    run: Run
    """Query id to [(document id, score)], best first; empty in processes other than rank 0."""


def evaluate(
    encoder: Encoder, data: BeirData, top_k: int = 1000, query_prune: float = 0.0, batch_size: int = 32
) -> Result:
    """Encode and search data with the exact engine. To be called in every process.

    Each process encodes its blocks of documents and searches all queries in them; rank 0 merges.
    top_k documents a query are kept, that of the query's own id left out; query_prune: see `prune`.
    """
    started = time.perf_counter()
    order = trec_order(data.doc_ids)
    queries = prune(encoder.encode_queries(data.queries), query_prune)
    encoding = time.perf_counter()
    positions, documents = encode_corpus(encoder, [data.texts[i] for i in order], queries.shape[1], batch_size)
    documents.eliminate_zeros()
    distributed.barrier()
    indexing = time.perf_counter()
    index = ExactIndex(documents)
    index.search(queries[:1], 1)  # the first search of an installation compiles
    searching = time.perf_counter()
    # One more than asked for, in case the query's own document is among them.
    hits = merge_hits(positions, index.search(queries, top_k + 1), top_k + 1)
    finished = time.perf_counter()
    document_df = np.sum(distributed.all_gather_arrays(_frequencies(documents)), axis=0)
    index_bytes = np.sum(distributed.all_gather_arrays(np.array([index.nbytes])))
    run, figures = {}, {}
    if distributed.is_main():
        run = make_run(data, order, hits, top_k)
        figures = {
            **run_figures(data, run),
            **vector_figures(document_df, len(data.doc_ids), _frequencies(queries), len(data.queries)),
            "engine": "exact",
            "encode_docs_per_s": len(data.doc_ids) / (indexing - encoding),
            "search_queries_per_s": len(data.queries) / (finished - searching),
            "index_bytes": int(index_bytes),
            "seconds": time.perf_counter() - started,
        }
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


def merge_hits(positions: np.ndarray, hits: Hits, top_k: int) -> Hits:
    """The best top_k of every query over all processes, by score descending, then position ascending.

    Args:
        positions: [n] positions in the whole corpus of this process's documents, ascending.
        hits: this process's hits, as `ExactIndex.search` returns them.
    """
    counts = distributed.all_gather_arrays(np.array([len(found) for found, _ in hits], dtype=np.int64))
    found = distributed.all_gather_arrays(np.concatenate([positions[:0], *(positions[p] for p, _ in hits)]))
    scores = distributed.all_gather_arrays(np.concatenate([np.zeros(0, np.float32), *(s for _, s in hits)]))
    if len(counts) == 1:
        return [(positions[p], s) for p, s in hits]
    parts = [
        (np.split(f, np.cumsum(c)[:-1]), np.split(s, np.cumsum(c)[:-1]))
        for c, f, s in zip(counts, found, scores, strict=True)
    ]
    merged = []
    for q in range(len(hits)):
        query_positions = np.concatenate([part[0][q] for part in parts])
        query_scores = np.concatenate([part[1][q] for part in parts])
        best = np.lexsort((query_positions, -query_scores))[:top_k]
        merged.append((query_positions[best], query_scores[best]))
    return merged


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


def _frequencies(weights: csr_matrix) -> np.ndarray:
    """[V] int64, in how many rows each column is stored (zeros must be gone)."""
    return np.bincount(weights.indices, minlength=weights.shape[1]).astype(np.int64)
