"""Ranking losses over a row of scores for each query.

Every function takes scores [Q, N]: N = G, a query's own documents, or N = all documents of the (gathered) batch.
What differs between the two is only which column is a query's positive, so that is an argument.
torch is imported by the functions: what may stand in a config (`RANKING`) is told without loading it.

All take the same arguments, also what one of them does not use:
    student_QN: the model's scores.
    teacher_QN: the scores to learn from.
    positive_Q: the column of each query's positive; every other column is a negative.
    temperature: divides both scores.
    excluded_QN: true where a column is no negative either (see `known_positives`); None: nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor


def kldiv(
    student_QN: Tensor,
    teacher_QN: Tensor,
    positive_Q: Tensor,
    temperature: float = 1.0,
    excluded_QN: Tensor | None = None,
) -> Tensor:
    """KL(softmax(teacher / τ) ‖ softmax(student / τ)), summed over documents, mean over queries.

    The paper's distillation loss (arXiv 2504.14839, section 3.1; 2411.04403, section 3.2). All columns count alike:
    `positive_Q` is not used.
    """
    import torch
    import torch.nn.functional as F

    student, teacher = student_QN / temperature, teacher_QN / temperature
    if excluded_QN is not None:
        # Not -inf, whose difference to itself is NaN.
        student, teacher = (s.masked_fill(excluded_QN, torch.finfo(s.dtype).min) for s in (student, teacher))
    return F.kl_div(
        F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1), reduction="batchmean", log_target=True
    )


def marginmse(
    student_QN: Tensor,
    teacher_QN: Tensor,
    positive_Q: Tensor,
    temperature: float = 1.0,
    excluded_QN: Tensor | None = None,
) -> Tensor:
    """Mean over queries and negatives of ((s_pos − s_neg) − (t_pos − t_neg))², scores divided by τ.

    Hofstätter et al. 2020 (arXiv 2010.02666), equation 3.
    """
    student = student_QN.gather(1, positive_Q.unsqueeze(1)) - student_QN
    teacher = teacher_QN.gather(1, positive_Q.unsqueeze(1)) - teacher_QN
    errors_QN = ((student - teacher) / temperature).square()
    # The positive's own margin is 0 on both sides: it adds nothing to the sum and is not counted.
    n_margins = student_QN.shape[0] * (student_QN.shape[1] - 1)
    if excluded_QN is None:
        return errors_QN.sum() / n_margins
    return errors_QN.masked_fill(excluded_QN, 0.0).sum() / (n_margins - excluded_QN.sum()).clamp(min=1)


def infonce(
    student_QN: Tensor,
    teacher_QN: Tensor,
    positive_Q: Tensor,
    temperature: float = 1.0,
    excluded_QN: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each query's positive against all its columns, mean over queries.

    van den Oord et al. 2018 (arXiv 1807.03748), equation 4, with the score as the logarithm of f. `teacher_QN` and
    `temperature` are not used.
    """
    import torch.nn.functional as F

    if excluded_QN is not None:
        student_QN = student_QN.masked_fill(excluded_QN, float("-inf"))
    return F.cross_entropy(student_QN, positive_Q)


class Loss(Protocol):
    """See the module."""

    def __call__(
        self,
        student_QN: Tensor,
        teacher_QN: Tensor,
        positive_Q: Tensor,
        temperature: float = 1.0,
        excluded_QN: Tensor | None = None,
    ) -> Tensor: ...


class RankingLoss(NamedTuple):
    """What a name in `loss_types` stands for."""

    function: Loss
    needs_teacher: bool
    """it learns from scores: those of kd rows, or of teachers"""


RANKING = {
    "kldiv": RankingLoss(kldiv, needs_teacher=True),
    "marginmse": RankingLoss(marginmse, needs_teacher=True),
    "infonce": RankingLoss(infonce, needs_teacher=False),
}


def known_positives(document_keys_N: Tensor, query_keys_Q: Tensor, positive_Q: Tensor) -> Tensor:
    """[Q, N]: true where a document has the text of a positive of the same query, but is not the query's own positive.

    It is no negative: a mined negative often is the positive itself, and rows of several positives repeat their query.

    Args:
        document_keys_N, query_keys_Q: one integer for each text; equal texts have equal keys.
    """
    import torch

    same_query_QQ = query_keys_Q.unsqueeze(1) == query_keys_Q.unsqueeze(0)
    same_text_QN = document_keys_N[positive_Q].unsqueeze(1) == document_keys_N.unsqueeze(0)
    known_QN = same_query_QQ.float() @ same_text_QN.float() > 0
    return known_QN & (torch.arange(len(document_keys_N), device=known_QN.device) != positive_Q.unsqueeze(1))
