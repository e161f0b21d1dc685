"""Metrics by hand and against pytrec_eval; FLOPS and lengths by hand."""

import math

import numpy as np
import pytest
import pytrec_eval

from retrieval.metrics import METRICS, flops, mean_length, per_query, score_run


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
    means = score_run({"q": {"d50": 1, "d500": 1, "d1000": 1, "absent": 1}}, {"q": hits})
    assert means["recall@100"] == 0.25 and means["recall@1000"] == 0.5


def test_means_are_over_all_judged_queries() -> None:
    qrels = {"hit": {"a": 1}, "empty": {"a": 1}, "missing": {"a": 1}, "nothing relevant": {"a": 0}}
    means = score_run(
        qrels, {"hit": [("a", 1.0)], "empty": [], "nothing relevant": [("a", 1.0)], "other": [("a", 1.0)]}
    )
    assert means == {metric: 0.25 for metric in METRICS}
    assert score_run(qrels, {}) == {metric: 0.0 for metric in METRICS}


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


def test_flops_and_lengths_by_hand() -> None:
    """Token 0 is in 1 of 2 queries and 3 of 4 documents, token 1 in both and in 1: 1/2 · 3/4 + 1 · 1/4."""
    documents, queries = np.array([3, 1, 2]), np.array([1, 2, 0])
    assert flops(documents, 4, queries, 2) == pytest.approx(0.625)
    assert mean_length(documents, 4) == 1.5 and mean_length(queries, 2) == 1.5
