"""What a device computes in and how tensors get there."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

HALVES = (torch.float16, torch.bfloat16)


def half_precision(weight: Tensor) -> torch.dtype | None:
    """The half precision that a product with `weight` is in where a run says so: autocast's, or the weight's own.

    None on a CPU: there the head finds the float32 values faster than those of bfloat16 (docs/performance.md).
    """
    device = weight.device.type
    if device == "cpu":
        return None
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return dtype if dtype in HALVES else None


def tf32_asked() -> bool:
    """Whether torch's own flags allow float32 products on a GPU to round to TF32."""
    newer = getattr(torch.backends.cuda.matmul, "fp32_precision", None)  # the flag from torch 2.9 on
    return torch.backends.cuda.matmul.allow_tf32 if newer is None else newer == "tf32"


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU's tensor on the device, without waiting for what the device is still at."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def fetched(*tensors: Tensor) -> Callable[[], list[np.ndarray]]:
    """A device's tensors for the host: a GPU copies them beside its work, the call waits until they are there."""
    if not tensors[0].is_cuda:
        return lambda: [tensor.cpu().numpy() for tensor in tensors]
    copies = [torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    done = torch.cuda.current_stream(tensors[0].device).record_event()

    def wait() -> list[np.ndarray]:
        done.synchronize()
        return [copy.numpy() for copy in copies]

    return wait
