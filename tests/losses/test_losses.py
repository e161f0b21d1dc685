"""Each formula worked by hand."""

import math

import pytest
import torch

from losses import (
    RANKING,
    decoupled,
    ensemble,
    flops,
    frequency_penalty,
    heaviest,
    infonce,
    kldiv,
    known_positives,
    marginmse,
    mean_of_pairs,
    quadratic,
)
from training.objective import Objective

FIRST = torch.tensor([0, 0])  # every query's positive in column 0; kldiv does not look
NO_TEACHER = torch.zeros(2, 0)


def test_kldiv_by_hand() -> None:
    """Student (ln 3, 0) is softmax (3/4, 1/4); teacher (0, 0) is (1/2, 1/2).

    KL(teacher ‖ student) = ½ ln(½ / ¾) + ½ ln(½ / ¼) = ½ ln(4/3). The second query agrees: 0. Mean: ¼ ln(4/3).
    """
    student = torch.tensor([[math.log(3), 0.0], [1.0, 2.0]])
    teacher = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert kldiv(student, teacher, FIRST).item() == pytest.approx(0.25 * math.log(4 / 3), rel=1e-6)


def test_kldiv_temperature_divides_both() -> None:
    """At τ = 2, scores (2 ln 3, 0) against (0, 0) are the case above: ½ ln(4/3) for one query."""
    value = kldiv(torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2), FIRST, temperature=2.0)
    assert value.item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)


def test_kldiv_keeps_its_shape_with_one_query() -> None:
    scores = torch.tensor([[1.0, 0.0]])
    assert kldiv(scores, scores, FIRST).item() == pytest.approx(0.0, abs=1e-7)


def test_marginmse_by_hand() -> None:
    """Margins of the student 5−3 = 2 and 5−1 = 4, of the teacher 1 and 1: ((2−1)² + (4−1)²) / 2 = 5."""
    student, teacher = torch.tensor([[5.0, 3.0, 1.0]]), torch.tensor([[2.0, 1.0, 1.0]])
    assert marginmse(student, teacher, torch.tensor([0])).item() == pytest.approx(5.0)
    assert marginmse(student, teacher, torch.tensor([0]), temperature=2.0).item() == pytest.approx(1.25)


def test_marginmse_in_batch_takes_each_querys_own_positive() -> None:
    """Two queries, positives in columns 0 and 1. Query 0: margin 4−1 = 3 against teacher 1 → 4.
    Query 1: margin 6−2 = 4 against 3 → 1. Mean 2.5. With column 0 as everyone's positive it would be 4 and 1."""
    student = torch.tensor([[4.0, 1.0], [2.0, 6.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    assert marginmse(student, teacher, torch.tensor([0, 1])).item() == pytest.approx(2.5)


def test_kldiv_of_excluded_columns_is_that_without_them() -> None:
    """Column 2 is out of the first row only: ½ ln(4/3) as above for it, for the second what its three columns give."""
    student = torch.tensor([[math.log(3), 0.0, 9.0], [1.0, 2.0, 0.5]], requires_grad=True)
    teacher = torch.tensor([[0.0, 0.0, -4.0], [3.0, 1.0, 1.0]])
    excluded = torch.tensor([[False, False, True], [False, False, False]])
    value = kldiv(student, teacher, FIRST, excluded_QN=excluded)
    value.backward()
    second = kldiv(student[1:], teacher[1:], FIRST).item()
    assert value.item() == pytest.approx((0.5 * math.log(4 / 3) + second) / 2, rel=1e-5)
    assert student.grad is not None and student.grad.isfinite().all() and student.grad[0, 2] == 0


def test_marginmse_does_not_count_excluded_columns() -> None:
    """The case by hand above with a fourth column that is out: still 5 over two margins."""
    student, teacher = torch.tensor([[5.0, 3.0, 1.0, 5.0]]), torch.tensor([[2.0, 1.0, 1.0, 9.0]])
    excluded = torch.tensor([[False, False, False, True]])
    assert marginmse(student, teacher, torch.tensor([0]), excluded_QN=excluded).item() == pytest.approx(5.0)


def test_ensemble_by_hand() -> None:
    """Over all pairs, the first teacher's 1 … 5 become 0, ½, ¼, 1, the second's 0 … 20 become ½, ½, 0, 1.

    Over each row, the first gives 0, 1 twice; the second's first row is constant and gives 0, 0, then 0, 1.
    """
    scores = [torch.tensor([[1.0, 3.0], [2.0, 5.0]]), torch.tensor([[10.0, 10.0], [0.0, 20.0]])]
    torch.testing.assert_close(ensemble(scores, 30.0, False), 30 * torch.tensor([[0.25, 0.5], [0.125, 1.0]]))
    torch.testing.assert_close(ensemble(scores, 30.0, True), 30 * torch.tensor([[0.0, 0.5], [0.0, 1.0]]))


def test_infonce_by_hand() -> None:
    """Scores (ln 2, 0, 0), positive first: −ln(2 / 4) = ln 2."""
    scores = torch.tensor([[math.log(2), 0.0, 0.0]])
    assert infonce(scores, NO_TEACHER, torch.tensor([0])).item() == pytest.approx(math.log(2))


def test_infonce_uses_other_queries_positives() -> None:
    """Two queries without mined negatives, all scores 0: each positive has probability ½, the loss is ln 2, not 0."""
    assert infonce(torch.zeros(2, 2), NO_TEACHER, torch.tensor([0, 1])).item() == pytest.approx(math.log(2))


def test_infonce_leaves_out_identical_texts() -> None:
    """Documents A, B, A with positives 0 and 1: query 0 must not push its own text away (column 2).

    All scores 0: query 0 has 2 candidates (ln 2), query 1 has 3 (ln 3).
    """
    excluded = known_positives(torch.tensor([7, 8, 7]), torch.tensor([1, 2]), torch.tensor([0, 1]))
    assert excluded.tolist() == [[False, False, True], [False, False, False]]
    loss = infonce(torch.zeros(2, 3), NO_TEACHER, torch.tensor([0, 1]), excluded_QN=excluded)
    assert loss.item() == pytest.approx((math.log(2) + math.log(3)) / 2)


def test_a_positive_of_the_same_query_is_no_negative() -> None:
    """Queries q, r, q with documents A B, C A, D A: q's positives are A and D wherever they stand, r's is C."""
    documents, queries, positives = torch.tensor([1, 2, 3, 1, 4, 1]), torch.tensor([8, 9, 8]), torch.tensor([0, 2, 4])
    known = known_positives(documents, queries, positives)
    assert [row.nonzero().flatten().tolist() for row in known] == [[3, 4, 5], [], [0, 3, 5]]


@pytest.mark.parametrize("in_batch", [False, True])
def test_a_negative_with_the_text_of_a_positive_counts_in_no_mode(in_batch: bool) -> None:
    """Queries q, q, r with documents A A B, C D A, E F F, every score 0.

    Alone: q has 2 candidates (A, B), then 2 (C, D: A is the other row's positive), r has 3. In-batch of 9: of q's
    positives, three A and one C, one stays in each row: 6 candidates each; r keeps 9.
    """
    objective = Objective(loss_types=("infonce",), use_in_batch_negatives=in_batch, flops_d_lambda=0.0)
    documents, queries = torch.tensor([1, 1, 2, 3, 4, 1, 5, 6, 6]), torch.tensor([8, 8, 9])
    loss, _ = objective(torch.zeros(3, 2), torch.ones(9, 2), NO_TEACHER, documents, queries, step=0)
    candidates = (6, 6, 9) if in_batch else (2, 2, 3)
    assert loss.item() == pytest.approx(sum(map(math.log, candidates)) / 3)


def test_every_ranking_loss_takes_the_same_arguments() -> None:
    """One that needs no teacher gives the same whatever the teacher's scores are."""
    student, teacher, positive = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([0])
    for name, loss in RANKING.items():
        values = {loss.function(student, scores, positive, 1.0, None).item() for scores in (teacher, 2 * teacher)}
        assert (len(values) == 2) == loss.needs_teacher, name


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="hinge is none of kldiv, marginmse, infonce"):
        Objective(loss_types=("kldiv", "hinge"))


W = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 4.0, 1.0]], [[3.0, 0.0, 0.0], [2.0, 0.0, 1.0]]])  # Q=2, G=2, V=3


def test_flops_published_grouping_by_hand() -> None:
    """Slot 0: means (2, 1, 0) → 5. Slot 1: means (1, 2, 1) → 6. Sum 11."""
    assert flops(W).item() == pytest.approx(11.0)


def test_flops_pooled_by_hand() -> None:
    """Means over four documents (1.5, 1.5, 0.5): 2.25 + 2.25 + 0.25 = 4.75."""
    assert flops(W, pooled=True).item() == pytest.approx(4.75)


def test_flops_over_pairs_by_hand() -> None:
    """Sums by query (1, 6, 1) and (5, 0, 1), products 5, 0, 1, each twice, of 2 · 1 · 2² = 8 ordered pairs: 12 / 8."""
    assert mean_of_pairs(W).item() == pytest.approx(1.5)
    assert flops(W, unbiased=True).item() == flops(W, pooled=True, unbiased=True).item() == pytest.approx(1.5)
    document = W[:, :1]  # one document a query: Σ_j w_0j · w_1j = 3
    assert mean_of_pairs(document).item() == pytest.approx(3.0)
    with pytest.raises(ValueError, match="two queries"):
        mean_of_pairs(W[:1])


def test_penalty_by_frequency_by_hand() -> None:
    """alpha = 1/4: the exponent is log_{1/4} 2 = -1/2. f = 1/4: 4^(1/2) - 1 = 1, 1/2. f = 1/16: 4 - 1 = 3, 1/(1 + 3²).
    No document: 0. All: 1. In FLOPS each entry's square is multiplied by it: means (1.5, 1.5, 0.5) pooled,
    2.25/2 + 0 + 0.25 = 1.375. The mask counts tokens before that: without (3, 0, 0) the means are (0.5, 1, 0) and
    (1, 2, 1), 0.125 + 0.5 + 1 = 1.625."""
    penalty = frequency_penalty(torch.tensor([0.25, 1 / 16, 0.0, 1.0]), 0.25, 2.0)
    torch.testing.assert_close(penalty, torch.tensor([0.5, 0.1, 0.0, 1.0]))
    of_three = torch.tensor([0.5, 0.0, 1.0])
    assert flops(W, pooled=True, penalty_V=of_three).item() == pytest.approx(1.375)
    assert flops(W, penalty_V=torch.ones(3)).item() == pytest.approx(11.0)
    assert flops(W, threshold=1, penalty_V=of_three).item() == pytest.approx(1.625)


@pytest.mark.parametrize(("queries", "group"), [(2, 1), (8, 1), (8, 4), (32, 2)])
def test_mean_of_pairs_has_the_same_mean_whatever_the_batch(queries: int, group: int) -> None:
    """Over batches of independent documents: Σ_j (E w_j)², and its gradient's mean; pooled FLOPS lies above it."""
    generator = torch.Generator().manual_seed(queries * 10 + group)
    probability = torch.tensor([0.9, 0.5, 0.1, 0.02])
    draws = 4000
    batches = (torch.rand(draws, queries, group, 4, generator=generator) < probability).float()
    scale = torch.ones(4, requires_grad=True)
    values = torch.stack([mean_of_pairs(batch * scale) for batch in batches])
    expected = probability.square().sum().item()
    error = 4 * values.std().item() / draws**0.5
    assert values.mean().item() == pytest.approx(expected, abs=error)
    gradient = torch.autograd.grad(values.mean(), scale)[0]
    torch.testing.assert_close(gradient, 2 * probability.square(), rtol=0.1, atol=0.01)
    pooled = torch.stack([flops(batch, pooled=True) for batch in batches]).mean().item()
    variance = (probability * (1 - probability)).sum().item() / (queries * group)
    assert pooled == pytest.approx(expected + variance, abs=error)


def test_heaviest_keeps_k_and_their_gradient() -> None:
    weights = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.5, 0.0, 0.0, 0.0]], requires_grad=True)
    cut = heaviest(weights, 2)
    assert cut.tolist() == [[3.0, 0.0, 2.0, 0.0], [0.5, 0.0, 0.0, 0.0]]
    cut.sum().backward()
    assert weights.grad is not None and weights.grad[0].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert torch.equal(heaviest(weights, 4), weights)


def test_elastic_lengths_by_hand() -> None:
    """Query (1, 1, 1); step 0 cuts to one token, step 1 to none, step 2 begins again; half of the whole loss is added.

    Whole scores are 3 and 5 for query 0's two documents; cut to their heaviest token 2 and 4.
    """
    query, document = torch.ones(1, 3), torch.tensor([[1.0, 2.0, 0.0], [0.0, 4.0, 1.0]])
    objective = Objective(("infonce",), flops_d_lambda=0.0, elastic_lengths=(1, None), contrastive_temperature=2.0)
    keys = torch.arange(2), torch.arange(1)

    def at(step: int) -> tuple[float, dict]:
        loss, parts = objective(query, document, torch.empty(1, 0), *keys, step)
        return loss.item(), parts

    def infonce_of(a: float, b: float) -> float:
        return math.log(1 + math.exp((b - a) / 2))

    (first, parts), (second, whole), (third, _) = at(0), at(1), at(2)
    assert first == third == pytest.approx(infonce_of(2, 4) + 0.5 * infonce_of(3, 5))
    assert float(parts["infonce"]) == pytest.approx(infonce_of(2, 4)) and "whole_infonce" in parts
    assert second == pytest.approx(infonce_of(3, 5)) and "whole_infonce" not in whole


def test_l0_mask_is_strict_and_divides_by_all_documents() -> None:
    """Lengths 2, 2 / 1, 2. At t = 1 the third document (length 1) is left out but still counted:
    slot 0: (½, 1, 0) → 1.25; slot 1 as before 6. At t = 2 none exceeds the threshold: 0."""
    assert flops(W, threshold=1).item() == pytest.approx(7.25)
    assert flops(W, threshold=2).item() == 0.0


def test_masked_documents_have_no_gradient() -> None:
    weights = W.clone().requires_grad_()
    flops(weights, threshold=1).backward()
    assert weights.grad is not None and weights.grad[1, 0].abs().sum() == 0 and weights.grad[0, 0].abs().sum() > 0


def test_flops_stays_finite_under_half_precision() -> None:
    """30,522 entries of weight 2: 122,088, beyond float16's 65,504."""
    weights = torch.full((1, 1, 30522), 2.0, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert flops(weights).item() == pytest.approx(122088.0)


def test_decoupled_is_one_more_log1p() -> None:
    assert decoupled(torch.tensor(math.e - 1)).item() == pytest.approx(1.0)


def test_schedule_by_hand() -> None:
    """λ = 0.4, T = 4: 0.4 · (1/16, 4/16, 9/16, 16/16), then 0.4."""
    values = [quadratic(step, 0.4, 4) for step in range(6)]
    assert values == pytest.approx([0.025, 0.1, 0.225, 0.4, 0.4, 0.4])


def test_flops_equals_sentence_transformers() -> None:
    module = pytest.importorskip("sentence_transformers.sparse_encoder.losses")
    weights = torch.rand(6, 11).relu() * (torch.rand(6, 11) > 0.6)
    theirs = module.FlopsLoss(model=None, threshold=3).compute_loss_from_embeddings(weights)
    assert flops(weights.unsqueeze(1), threshold=3).item() == pytest.approx(float(theirs), rel=1e-6)
