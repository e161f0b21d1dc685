"""Ranks and gathering: torch.distributed where a launcher started several processes, trivial elsewhere."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from sparse_model.errors import RunError, UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")


_main_alone = False


def _active() -> bool:
    return dist.is_available() and dist.is_initialized() and not _main_alone


def rank() -> int:
    """This process's number over all nodes, 0 when not distributed."""
    return dist.get_rank() if _active() else 0


def world_size() -> int:
    """The number of processes over all nodes."""
    return dist.get_world_size() if _active() else 1


def is_main() -> bool:
    """True in the one process that writes files and shows progress."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if _active():
        dist.barrier()


def _device() -> torch.device:
    """Where collectives take their tensors: nccl works on this process's GPU only."""
    return torch.device("cuda" if "nccl" in dist.get_backend() else "cpu")


def all_gather_arrays(array: np.ndarray) -> list[np.ndarray]:
    """Every process's array, in rank order, in every process.

    The arrays may differ in the length of their first axis (zero included), not in dtype or further axes.
    """
    if not _active():
        return [array]
    device = _device()
    length = torch.tensor([len(array)], dtype=torch.int64, device=device)
    lengths = [torch.zeros_like(length) for _ in range(world_size())]
    dist.all_gather(lengths, length)
    # Collectives want equal shapes: pad to the longest, cut afterwards.
    longest = max(int(n) for n in lengths)
    padded = torch.zeros((longest, *array.shape[1:]), dtype=torch.from_numpy(array[:0]).dtype, device=device)
    padded[: len(array)] = torch.from_numpy(np.ascontiguousarray(array))
    gathered = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(gathered, padded)
    return [part[: int(n)].cpu().numpy() for part, n in zip(gathered, lengths, strict=True)]


def broadcast(value: T) -> T:
    """Rank 0's value (small and picklable) in every process; what the others pass is ignored."""
    if not _active():
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0, device=_device())
    return box[0]


def on_main(function: Callable[[], T]) -> T:
    """Call function in rank 0 only; its value or its error reaches every process, so that none hangs.

    For the function, rank 0 is the only process: it may call what would otherwise be called in every process.
    """
    global _main_alone
    value: T | None = None
    mistake: UserError | RunError | None = None
    if is_main():
        outer, _main_alone = _main_alone, True
        try:
            value = function()
        except UserError as error:
            mistake = error
        except Exception as error:
            if not _active():
                raise
            logger.exception("rank 0 failed")
            mistake = RunError(f"{type(error).__name__}: {error}")
        finally:
            _main_alone = outer
    value, mistake = broadcast((value, mistake))
    if mistake is not None:
        raise mistake
    return value  # type: ignore[return-value]
