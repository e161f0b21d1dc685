"""The sparsity regulariser: FLOPS, the ℓ0 mask over it, and the decoupled activation.

FLOPS (Paria et al. 2020, arXiv 2004.05665, equation 4) is Σ_j (mean_i w_ij)². The ℓ0 mask (arXiv 2504.14839,
section 3.1) leaves out documents that are short enough already; the mean still divides by all of them.
All of it in float32: with weights of 2.0 over 30,522 entries the sum is 122,088, which float16 cannot hold.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def flops(
    weights_QGV: Tensor,
    threshold: float | None = None,
    pooled: bool = False,
    unbiased: bool = False,
    penalty_V: Tensor | None = None,
) -> Tensor:
    """The regulariser over Q queries × G documents each.

    Args:
        threshold: documents with at most this many non-zero weights are left out (None: no mask).
        pooled: one mean over all Q·G documents, as sentence-transformers and others take it. The published
            code, to which the paper's λ belong, takes the mean over queries for each of the G slots and sums
            over the slots: about G times as much.
        unbiased: see `mean_of_pairs`; grouping then has no part in it.
        penalty_V: what each entry's part of the sum is multiplied by, as of `frequency_penalty`; None: 1.
    """
    import torch

    with torch.autocast(weights_QGV.device.type, enabled=False):
        weights_QGV = weights_QGV.float()
        if threshold is not None:
            weights_QGV = weights_QGV * (lengths(weights_QGV) > threshold).unsqueeze(-1)
        if penalty_V is not None:  # under the square of each form
            weights_QGV = weights_QGV * penalty_V.sqrt()
        if unbiased:
            return mean_of_pairs(weights_QGV)
        if pooled:
            return weights_QGV.flatten(0, 1).mean(dim=0).square().sum()
        return weights_QGV.mean(dim=0).square().sum()


def mean_of_pairs(weights_QGV: Tensor) -> Tensor:
    """Σ_j of the mean of w_ij · w_kj over all pairs of documents of two different queries.

    Its mean over batches is Σ_j (E w_j)², whatever Q, G and the number of processes are; the square of a mean holds a
    variance beside it, which falls with the batch. From sums alone:
    Σ_pairs = (Σ_i w_ij)² − Σ_q (Σ_{i of q} w_ij)², and there are Q·(Q − 1)·G² pairs.

    Raises:
        ValueError: for a batch of one query, which has no such pair.
    """
    queries, group = weights_QGV.shape[:2]
    if queries < 2:
        raise ValueError("the unbiased form needs two queries or more in a batch")
    sums_QV = weights_QGV.sum(dim=1)
    of_pairs_V = sums_QV.sum(dim=0).square() - sums_QV.square().sum(dim=0)
    return of_pairs_V.sum() / (queries * (queries - 1) * group**2)


def frequency_penalty(frequency_V: Tensor, alpha: float, beta: float) -> Tensor:
    """How much of FLOPS each entry pays, by the share of documents that it has a weight in (DF-FLOPS, 2505.15070).

    1 / (1 + (f^(log_alpha 2) - 1)^beta): 0 where no document has it, 1/2 where a share alpha has it, 1 where all have.

    Args:
        frequency_V: shares of documents, 0 to 1.
        alpha: between 0 and 1; beta: above 0, how steep the penalty rises around alpha.
    """
    exponent = math.log(2) / math.log(alpha)
    return 1 / (1 + (frequency_V.float() ** exponent - 1) ** beta)


def heaviest(weights_NV: Tensor, k: int) -> Tensor:
    """Each row's k heaviest weights, the rest 0 (static pruning); gradients go to what is kept."""
    import torch

    if k >= weights_NV.shape[-1]:
        return weights_NV
    kept = weights_NV.detach().topk(k, dim=-1).indices
    return weights_NV * torch.zeros_like(weights_NV).scatter_(-1, kept, 1.0)


def lengths(weights: Tensor) -> Tensor:
    """‖w‖₀, the number of non-zero weights along the last axis."""
    return (weights > 0).sum(dim=-1)


def decoupled(weights: Tensor) -> Tensor:
    """log1p(w): what the regulariser sees when `decouple_activation` is on; ranking and inference see w."""
    return weights.log1p()
