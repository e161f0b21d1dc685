"""Metrics of rankings, by their ir_measures names, and figures of sparse vectors (FLOPS, lengths).

A metric is named as ir_measures names it (nDCG@10, R@100, RR@10, AP, P(rel=2)@5, …) or is one of SPECIAL.
In files it goes by its `figure_name`: ndcg@10, recall@100, mrr@10, map, p(rel=2)@5.
"""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import ir_measures
import numpy as np
from ir_measures.measures import Measure, registry

Qrels = dict[str, dict[str, int]]
"""Query id to document id to grade."""
Rankings = dict[str, list[tuple[str, float]]]
"""Query id to [(document id, score)]."""
QueryFigures = dict[str, dict[str, float]]
"""Query id to figure_name to value."""

DEFAULT_METRICS = ("nDCG@10", "R@100", "R@1000", "RR@10", "AP")
PRIMARY = "ndcg@10"
"""The figure that models are compared by: that of the first of DEFAULT_METRICS."""

LESS_IS_BETTER = ("flops", "d_length", "q_length")
"""The figures of sparse vectors: what a search costs. Of every metric more is better."""

_FIGURES = {"R": "recall", "RR": "mrr", "AP": "map"}
# Of ir_measures' ways to compute those that need no other program or library.
_PIPELINE = ir_measures.providers.FallbackProvider([ir_measures.pytrec_eval, ir_measures.judged])


def capped_recall(grades: dict[str, int], best: Sequence[str], cutoff: int) -> float:
    """Found among the first `cutoff` / min(cutoff, relevant), which a perfect ranking brings to 1 (Thakur et al. 2021).

    Args:
        grades: document id to grade, above 0 if relevant.
        best: a query's document ids, best first.
    """
    relevant = {doc for doc, grade in grades.items() if grade > 0}
    return len(relevant.intersection(best[:cutoff])) / min(cutoff, len(relevant)) if relevant else 0.0


SPECIAL: dict[str, Callable[[dict[str, int], Sequence[str], int], float]] = {"R_cap": capped_recall}
"""Metrics that ir_measures lacks, named NAME@cutoff."""


def figure_name(metric: str) -> str:
    """What a metric is called in results: ndcg@10 for nDCG@10, recall@100 for R@100."""
    if _is_special(metric):
        return metric.lower()
    measure = ir_measures.parse_measure(metric)
    name = str(measure.NAME)
    return (_FIGURES.get(name, name) + str(measure).removeprefix(name)).lower()


def metric_mistakes(metrics: Sequence[str], top_k: int) -> list[str]:
    """What is wrong with a list of metrics of which each query has top_k hits: a sentence each."""
    if not metrics:
        return ["empty; name at least one metric, such as nDCG@10."]
    found = [sentence for metric in metrics for sentence in _mistakes(metric, top_k)]
    names = [] if found else [figure_name(metric) for metric in metrics]
    return found + [f"{name} stands twice." for name in sorted(set(names)) if names.count(name) > 1]


def beyond(metrics: Sequence[str], top_k: int) -> list[str]:
    """Those of the metrics that look at more hits than a query has: R@1000 of 100 hits is the value of R@100."""
    return [metric for metric in metrics if (_cutoff(metric) or 0) > top_k]


def _mistakes(metric: str, top_k: int) -> list[str]:
    try:
        cutoff = _cutoff(metric)
    except (NameError, SyntaxError, TypeError, ValueError):
        return [f"{metric} is no metric.{_near(metric)} Those of ir_measures are known (nDCG@20, RR@10, R@1000, …)."]
    if cutoff is not None and (not isinstance(cutoff, int) or cutoff < 1):
        return [f"{metric}: the cutoff is not a number of hits, as in nDCG@10."]
    if cutoff is not None and cutoff > top_k:
        return [f"{metric} looks at more hits than top_k: {top_k} keeps; raise top_k."]
    if _is_special(metric):
        return [] if cutoff else [f"{metric} needs a cutoff: {metric}@10."]
    measure = ir_measures.parse_measure(metric)
    try:
        supported = _PIPELINE.supports(_without_cutoff(measure))
    except AssertionError as error:  # ir_measures' way to refuse parameters
        needs_cutoff = cutoff is None and getattr(measure.SUPPORTED_PARAMS.get("cutoff"), "required", False)
        return [f"{metric} needs a cutoff: {metric}@10." if needs_cutoff else f"{metric}: {error}."]
    return [] if supported else [f"{metric} cannot be computed by pytrec_eval; name another."]


def _cutoff(metric: str) -> Any:
    """What stands after the @; None without one."""
    if _is_special(metric):
        cutoff = metric.partition("@")[2]
        return int(cutoff) if cutoff else None
    return ir_measures.parse_measure(metric).params.get("cutoff")


def _near(metric: str) -> str:
    """A question for the metric that may be meant; "" if none is near."""
    name, at, cutoff = metric.partition("@")
    known = {alias.lower(): str(measure) for alias, measure in registry.items()}
    known |= {special.lower(): special for special in SPECIAL}
    match = difflib.get_close_matches(name.lower(), known, n=1)
    meant = f"{known[match[0]]}{at}{cutoff if cutoff.isdecimal() else '10' * bool(at)}" if match else metric
    return f" Did you mean {meant}?" if meant != metric else ""


def _is_special(metric: str) -> bool:
    return metric.partition("@")[0] in SPECIAL


def per_query(qrels: Qrels, rankings: Rankings, metrics: Sequence[str] = DEFAULT_METRICS) -> QueryFigures:
    """The metrics of every judged query; 0 for one without hits. Other queries are ignored.

    Hits are ranked by score, then document id descending (trec_eval's order).
    """
    best = {qid: _best_first(rankings[qid]) for qid in qrels if rankings.get(qid)}
    values = {qid: dict.fromkeys(map(figure_name, metrics), 0.0) for qid in qrels}
    for metric in filter(_is_special, metrics):
        name, _, cutoff = metric.partition("@")
        for qid, docs in best.items():
            values[qid][figure_name(metric)] = SPECIAL[name](qrels[qid], docs, int(cutoff))
    measures = {figure_name(m): ir_measures.parse_measure(m) for m in metrics if not _is_special(m)}
    # Numbers stand for ids, hits first: trec_eval ends an id at a NUL, and half a surrogate pair ends the process.
    queries = {str(n): qid for n, qid in enumerate(qrels)}
    numbers = {qid: _numbered([*best.get(qid, ()), *grades]) for qid, grades in qrels.items()}
    # Grades below 0 are one to trec_eval; where a query has no others, its metrics are 0, and the process may end.
    judged = {
        n: {numbers[qid][doc]: max(grade, -1) for doc, grade in qrels[qid].items()}
        for n, qid in queries.items()
        if any(grade >= 0 for grade in qrels[qid].values())
    }
    for depth, names in _by_depth(measures).items():
        asked = {_without_cutoff(measures[name]): name for name in names}
        hits = {n: best[qid][:depth] for n, qid in queries.items() if qid in best}
        ranked = {n: {numbers[queries[n]][doc]: -float(r) for r, doc in enumerate(hits[n])} for n in hits}
        for value in _PIPELINE.iter_calc(asked, judged, ranked):
            values[queries[value.query_id]][asked[value.measure]] = float(value.value)
    return values


def _numbered(names: list[str]) -> dict[str, str]:
    """A number, as text, for each distinct name."""
    return {name: str(n) for n, name in enumerate(dict.fromkeys(names))}


def score_rankings(qrels: Qrels, rankings: Rankings, metrics: Sequence[str] = DEFAULT_METRICS) -> dict[str, float]:
    """Means of the metrics over all judged queries, those without hits included."""
    return means(per_query(qrels, rankings, metrics), metrics)


def means(values: QueryFigures, metrics: Sequence[str]) -> dict[str, float]:
    """The mean of each metric over queries, by `figure_name` (0 without queries)."""
    names = [figure_name(metric) for metric in metrics]
    return {name: sum(row[name] for row in values.values()) / max(len(values), 1) for name in names}


def _best_first(hits: list[tuple[str, float]]) -> list[str]:
    """Document ids in trec_eval's order; their ranks then stand for the scores.

    trec_eval keeps scores in single precision, where close doubles merge.
    """
    return [doc for doc, _ in sorted(hits, key=lambda hit: (hit[1], hit[0]), reverse=True)]


def _by_depth(measures: dict[str, Measure]) -> dict[int | None, list[str]]:
    """Names of measures by the depth that rankings are cut to first: reciprocal ranks' cutoff, else none."""
    groups: dict[int | None, list[str]] = {}
    for name, measure in measures.items():
        depth = measure.params["cutoff"] if _without_cutoff(measure) is not measure else None
        groups.setdefault(depth, []).append(name)
    return groups


def _without_cutoff(measure: Measure) -> Measure:
    """RR@k as RR: trec_eval has no cutoff for it, so that rankings are cut instead. Others as they are."""
    if measure.NAME != "RR" or "cutoff" not in measure.params or measure["judged_only"]:
        return measure
    return type(measure)(**{key: value for key, value in measure.params.items() if key != "cutoff"})


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
