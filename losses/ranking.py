"""Ranking losses over a row of scores for each query.

Every function takes scores [Q, N]: N = G, a query's own documents, or N = all documents of the (gathered) batch.
What differs between the two is only which column is a query's positive, so that is an argument.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def kldiv(
    student_QN: Tensor, teacher_QN: Tensor, temperature: float = 1.0, excluded_QN: Tensor | None = None
) -> Tensor:
    """KL(softmax(teacher / τ) ‖ softmax(student / τ)), summed over documents, mean over queries.

    The paper's distillation loss (arXiv 2504.14839, section 3.1; 2411.04403, section 3.2).

    Args:
        excluded_QN: true where a column is not part of its row (see `same_text`).
    """
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

    Args:
        positive_Q: the column of each query's positive; every other column is a negative.
        excluded_QN: true where a column is no negative either (see `same_text`).
    """
    student = student_QN.gather(1, positive_Q.unsqueeze(1)) - student_QN
    teacher = teacher_QN.gather(1, positive_Q.unsqueeze(1)) - teacher_QN
    errors_QN = ((student - teacher) / temperature).square()
    # The positive's own margin is 0 on both sides: it adds nothing to the sum and is not counted.
    n_margins = student_QN.shape[0] * (student_QN.shape[1] - 1)
    if excluded_QN is None:
        return errors_QN.sum() / n_margins
    return errors_QN.masked_fill(excluded_QN, 0.0).sum() / (n_margins - excluded_QN.sum()).clamp(min=1)


def infonce(scores_QN: Tensor, positive_Q: Tensor, excluded_QN: Tensor | None = None) -> Tensor:
    """Cross-entropy of each query's positive against all its columns, mean over queries.

    Args:
        positive_Q: the column of each query's positive.
        excluded_QN: true where a column must not count as a negative (see `same_text`).
    """
    if excluded_QN is not None:
        scores_QN = scores_QN.masked_fill(excluded_QN, float("-inf"))
    return F.cross_entropy(scores_QN, positive_Q)


def same_text(document_keys_N: Tensor, positive_Q: Tensor) -> Tensor:
    """[Q, N]: true where a document has the text of the query's positive without being it.

    Args:
        document_keys_N: one integer for each text; equal texts have equal keys.
    """
    same_QN = document_keys_N[positive_Q].unsqueeze(1) == document_keys_N.unsqueeze(0)
    return same_QN & (torch.arange(len(document_keys_N), device=same_QN.device) != positive_Q.unsqueeze(1))
