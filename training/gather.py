"""One batch out of all processes' batches, with the gradient of a single process."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather(tensor: Tensor) -> Tensor:
    """The tensors of all processes one after another by rank; only the local part has gradient.

    Their shapes are equal, since `EpochSampler` cuts whole batches.
    Data-parallel training averages gradients over processes, while each process here computes the loss of the
    whole batch; its local gradient is therefore multiplied by the number of processes, so that the average is
    the sum over parts: N processes of batch b train as one process of batch N·b. The loss itself stays as it is.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1 or tensor.numel() == 0:
        return tensor
    return _Gather.apply(tensor)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad.chunk(dist.get_world_size())[dist.get_rank()] * dist.get_world_size()
