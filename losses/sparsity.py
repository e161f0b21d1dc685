"""The sparsity regulariser: FLOPS, the ℓ0 mask over it, and the decoupled activation.

FLOPS (Paria et al. 2020, arXiv 2004.05665, equation 4) is Σ_j (mean_i w_ij)². The ℓ0 mask (arXiv 2504.14839,
section 3.1) leaves out documents that are short enough already; the mean still divides by all of them.
All of it in float32: with weights of 2.0 over 30,522 entries the sum is 122,088, which float16 cannot hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def flops(weights_QGV: Tensor, threshold: float | None = None, pooled: bool = False) -> Tensor:
    """The regulariser over Q queries × G documents each.

    Args:
        threshold: documents with at most this many non-zero weights are left out (None: no mask).
        pooled: one mean over all Q·G documents, as sentence-transformers and others take it. The published
            code, to which the paper's λ belong, takes the mean over queries for each of the G slots and sums
            over the slots: about G times as much.
    """
    import torch

    with torch.autocast(weights_QGV.device.type, enabled=False):
        weights_QGV = weights_QGV.float()
        if threshold is not None:
            weights_QGV = weights_QGV * (lengths(weights_QGV) > threshold).unsqueeze(-1)
        if pooled:
            return weights_QGV.flatten(0, 1).mean(dim=0).square().sum()
        return weights_QGV.mean(dim=0).square().sum()


def lengths(weights: Tensor) -> Tensor:
    """‖w‖₀, the number of non-zero weights along the last axis."""
    return (weights > 0).sum(dim=-1)


def decoupled(weights: Tensor) -> Tensor:
    """log1p(w): what the regulariser sees when `decouple_activation` is on; ranking and inference see w."""
    return weights.log1p()
