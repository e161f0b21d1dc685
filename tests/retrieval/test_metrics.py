"""Metrics by hand and against pytrec_eval; FLOPS and lengths by hand."""

import math

import numpy as np
import pytest
import pytrec_eval

from retrieval.metrics import (
    DEFAULT_METRICS,
    PRIMARY,
    figure_name,
    flops,
    mean_length,
    metric_mistakes,
    per_query,
    score_rankings,
)

FIGURES = tuple(map(figure_name, DEFAULT_METRICS))


def test_graded_ndcg_and_the_rest_by_hand() -> None:
    """One query, grades a 2, b 1, c 0; ranking c, a, x, b.

    DCG = 2/log2(3) + 1/log2(5), ideal 2/log2(2) + 1/log2(3); first relevant at rank 2; AP = (1/2 + 2/4)/2.
    """
    values = per_query({"q": {"a": 2, "b": 1, "c": 0}}, {"q": [("c", 9.0), ("a", 8.0), ("x", 7.0), ("b", 6.0)]})["q"]
    expected = (2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3))
    assert values["ndcg@10"] == pytest.approx(expected)
    assert (values["mrr@10"], values["map"], values["recall@100"]) == (0.5, 0.5, 1.0)


def test_mrr_stops_at_rank_ten_and_map_does_not() -> None:
    hits = [(f"x{i:02}", 100.0 - i) for i in range(10)]
    values = per_query({"q": {"a": 1}}, {"q": [*hits, ("a", 1.0)]})["q"]
    assert values["mrr@10"] == 0 and values["map"] == pytest.approx(1 / 11)
    assert per_query({"q": {"a": 1}}, {"q": [*hits[:9], ("a", 1.0)]})["q"]["mrr@10"] == pytest.approx(0.1)


def test_recall_at_both_depths() -> None:
    hits = [(f"d{i}", 2000.0 - i) for i in range(1001)]
    means = score_rankings({"q": {"d50": 1, "d500": 1, "d1000": 1, "absent": 1}}, {"q": hits})
    assert means["recall@100"] == 0.25 and means["recall@1000"] == 0.5


def test_means_are_over_all_judged_queries() -> None:
    qrels = {"hit": {"a": 1}, "empty": {"a": 1}, "missing": {"a": 1}, "nothing relevant": {"a": 0}}
    means = score_rankings(
        qrels, {"hit": [("a", 1.0)], "empty": [], "nothing relevant": [("a", 1.0)], "other": [("a", 1.0)]}
    )
    assert means == {metric: 0.25 for metric in FIGURES}
    assert score_rankings(qrels, {}) == {metric: 0.0 for metric in FIGURES}


def test_equal_scores_rank_by_id_descending_whatever_the_order_given() -> None:
    """As strings: "d9" comes before "d10", which comes before "d1"."""
    for hits in ([("d1", 1.0), ("d10", 1.0), ("d9", 1.0)], [("d9", 1.0), ("d1", 1.0), ("d10", 1.0)]):
        for doc, rank in (("d9", 1), ("d10", 2), ("d1", 3)):
            assert per_query({"q": {doc: 1}}, {"q": hits})["q"]["mrr@10"] == pytest.approx(1 / rank)


def test_scores_that_differ_only_in_double_precision_stay_apart() -> None:
    values = per_query({"q": {"a": 1}}, {"q": [("b", 1.0), ("a", 1.0 + 1e-12)]})
    assert values["q"]["mrr@10"] == 1


def test_equals_pytrec_eval_on_float32_scores() -> None:
    rng = np.random.default_rng(0)
    qrels = {f"q{q}": {f"d{d}": int(rng.integers(0, 4)) for d in rng.choice(300, 20, False)} for q in range(15)}
    scores = np.round(rng.random((15, 300)), 1).astype(np.float32)
    run = {f"q{q}": {f"d{d}": float(scores[q, d]) for d in range(300)} for q in range(15)}
    measures = {"ndcg_cut_10", "recall_100", "recall_1000", "map"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    ours = per_query(qrels, {qid: list(hits.items()) for qid, hits in run.items()})
    for qid, values in theirs.items():
        assert ours[qid]["ndcg@10"] == values["ndcg_cut_10"] and ours[qid]["map"] == values["map"]
        assert ours[qid]["recall@100"] == values["recall_100"] and ours[qid]["recall@1000"] == 1


def test_ids_that_trec_eval_cannot_take() -> None:
    """Equal up to a NUL, or half a surrogate pair: other ids all the same, in queries and documents."""
    for end in ("\0y", "\ud800"):
        qrels = {"q": {"x": 1}, f"q{end}": {f"x{end}": 1}}
        values = per_query(qrels, {qid: [("x", 2.0), (f"x{end}", 1.0)] for qid in qrels}, ["RR@10", "R@1"])
        assert values == {"q": {"mrr@10": 1, "recall@1": 1}, f"q{end}": {"mrr@10": 0.5, "recall@1": 0}}


def test_flops_and_lengths_by_hand() -> None:
    """Token 0 is in 1 of 2 queries and 3 of 4 documents, token 1 in both and in 1: 1/2 · 3/4 + 1 · 1/4."""
    documents, queries = np.array([3, 1, 2]), np.array([1, 2, 0])
    assert flops(documents, 4, queries, 2) == pytest.approx(0.625)
    assert mean_length(documents, 4) == 1.5 and mean_length(queries, 2) == 1.5


GRADES = {"q": {"a": 2, "b": 1, "c": 0, "e": 1}}
HITS = {"q": [("c", 9.0), ("a", 8.0), ("x", 7.0), ("b", 6.0)]}


@pytest.mark.parametrize(
    ("metric", "figure", "value"),
    [
        ("nDCG@2", "ndcg@2", 2 / math.log2(3) / (2 + 1 / math.log2(3))),
        ("P@4", "p@4", 0.5),
        ("P(rel=2)@2", "p(rel=2)@2", 0.5),
        ("R@2", "recall@2", 1 / 3),
        ("R_cap@2", "r_cap@2", 0.5),
        ("RR", "mrr", 0.5),
        ("RR@1", "mrr@1", 0.0),
        ("RR(rel=1)@2", "mrr@2", 0.5),
        ("AP@2", "map@2", 0.5 / 3),
        ("Success@1", "success@1", 0.0),
        ("Judged@4", "judged@4", 0.75),
    ],
)
def test_any_metric_by_name(metric: str, figure: str, value: float) -> None:
    """Grades a 2, b 1, c 0, e 1; ranking c, a, x, b."""
    assert figure_name(metric) == figure
    assert per_query(GRADES, HITS, [metric])["q"] == {figure: pytest.approx(value)}


def test_figures_do_not_depend_on_the_other_metrics() -> None:
    asked = ["RR@1", "RR@10", "AP", "nDCG@10", "R_cap@3", "RR", "P(rel=2)@5"]
    together = per_query(GRADES, HITS, asked)["q"]
    assert together == {name: v for m in asked for name, v in per_query(GRADES, HITS, [m])["q"].items()}


def test_names_of_todays_figures() -> None:
    assert FIGURES == ("ndcg@10", "recall@100", "recall@1000", "mrr@10", "map") and FIGURES[0] == PRIMARY


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        (["ndcg@10"], "ndcg@10 is no metric. Did you mean nDCG@10?"),
        (["nDGC@20"], "nDGC@20 is no metric. Did you mean nDCG@20?"),
        (["mrr@10"], "mrr@10 is no metric. Did you mean RR@10?"),
        (["recall@5"], "recall@5 is no metric. Did you mean R@5?"),
        (["r_cap@5"], "r_cap@5 is no metric. Did you mean R_cap@5?"),
        (["what is this"], "what is this is no metric. Those of ir_measures are known"),
        (["P"], "P needs a cutoff: P@10."),
        (["R_cap"], "R_cap needs a cutoff: R_cap@10."),
        (["nDCG@0"], "nDCG@0: the cutoff is not a number of hits"),
        (["R@50"], "R@50 looks at more hits than top_k: 20 keeps"),
        (["SetP(depth=3)"], "SetP(depth=3): unsupported params"),
        (["ERR@10"], "ERR@10 cannot be computed by pytrec_eval"),
        (["RR@10", "MRR@10"], "mrr@10 stands twice."),
        ([], "empty; name at least one metric"),
    ],
)
def test_mistakes_are_named(metrics: list[str], sentence: str) -> None:
    assert metric_mistakes(metrics, top_k=20)[0].startswith(sentence)


def test_every_mistake_is_told() -> None:
    assert len(metric_mistakes(["ndcg@10", "nDCG@10", "P"], 1000)) == 2
    assert metric_mistakes(DEFAULT_METRICS, 1000) == []


@pytest.mark.parametrize("grade", [-1, -2, -1000])
def test_grades_below_zero(grade: int) -> None:
    """They count alike; trec_eval ends the process at a query that has no others."""
    metrics = ["nDCG@10", "R@10", "P@1", "AP", "RR@10", "Bpref"]
    hits = {"q": [("a", 3.0), ("b", 2.0), ("c", 1.0)], "p": [("a", 1.0)]}
    found = per_query({"q": {"a": grade, "b": 1, "c": 0}, "p": {"a": grade, "b": grade}}, hits, metrics)
    assert found["q"] == per_query({"q": {"a": 0, "b": 1, "c": 0}}, hits, metrics[:-1])["q"] | {"bpref": 1.0}
    assert set(found["p"].values()) == {0.0} and len(found["p"]) == len(metrics)
