"""Scores of several teachers as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def ensemble(scores: Sequence[Tensor], scale: float, by_query: bool) -> Tensor:
    """Each teacher's scores [Q, N] brought to [0, 1], averaged over teachers and multiplied by `scale`.

    From 0 at the smallest score to 1 at the largest (Shen et al. 2024, arXiv 2411.04403, section 3.2); a teacher whose
    scores are all equal says nothing and gives 0.

    Args:
        by_query: smallest and largest of each query's own row; else of all rows together. With rows as short as two
            documents the former would leave nothing but 0 and 1.
    """
    import torch

    return scale * torch.stack([_min_max(teacher, by_query) for teacher in scores]).mean(dim=0)


def _min_max(scores_QN: Tensor, by_query: bool) -> Tensor:
    smallest, largest = scores_QN.aminmax(dim=1, keepdim=True) if by_query else scores_QN.aminmax()
    spread = largest - smallest
    return (scores_QN - smallest) / spread.where(spread > 0, 1.0)
