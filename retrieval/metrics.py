"""Figures of a ranking (through pytrec_eval) and of sparse vectors (FLOPS, lengths)."""

import numpy as np
import pytrec_eval

Qrels = dict[str, dict[str, int]]
Run = dict[str, list[tuple[str, float]]]

METRICS = ("ndcg@10", "recall@100", "recall@1000", "mrr@10", "map")
_MEASURES = {"ndcg_cut_10": "ndcg@10", "recall_100": "recall@100", "recall_1000": "recall@1000", "map": "map"}


def per_query(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    """METRICS for every judged query; 0 for one without hits. Queries without judgements are ignored.

    Hits are ranked by score, then document id descending (trec_eval's order).
    """
    ranked = {qid: _as_ranks(run[qid]) for qid in qrels if run.get(qid)}
    ten = {qid: {doc: score for doc, score in hits.items() if score >= -10} for qid, hits in ranked.items()}
    full_values = pytrec_eval.RelevanceEvaluator(qrels, set(_MEASURES)).evaluate(ranked)
    ten_values = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(ten)
    values = {qid: dict.fromkeys(METRICS, 0.0) for qid in qrels}
    for qid in ranked:
        values[qid].update({ours: full_values[qid][theirs] for theirs, ours in _MEASURES.items()})
        values[qid]["mrr@10"] = ten_values[qid]["recip_rank"]
    return values


def score_run(qrels: Qrels, run: Run) -> dict[str, float]:
    """Means of METRICS over all judged queries, those without hits included."""
    values = per_query(qrels, run)
    return {metric: sum(v[metric] for v in values.values()) / max(len(values), 1) for metric in METRICS}


def _as_ranks(hits: list[tuple[str, float]]) -> dict[str, float]:
    """Minus the rank as the score: trec_eval keeps scores in single precision, where close doubles merge."""
    best_first = sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=True)
    return {doc: -float(position) for position, (doc, _) in enumerate(best_first, start=1)}


def flops(document_df_V: np.ndarray, n_documents: int, query_df_V: np.ndarray, n_queries: int) -> float:
    """Σ_j P_q(j) · P_d(j), P the share of queries (documents) with a non-zero weight for token j.

    The mean number of multiplications for a query-document pair (Paria et al. 2020, arXiv 2004.05665).
    """
    if not n_documents or not n_queries:
        return 0.0
    return float((query_df_V / n_queries) @ (document_df_V / n_documents))


def mean_length(df_V: np.ndarray, n: int) -> float:
    """Mean count of non-zero weights of n vectors; df_V: in how many of them each token is non-zero."""
    return float(df_V.sum() / n) if n else 0.0
