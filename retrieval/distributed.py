"""Ranks and gathering: torch.distributed where a launcher started several processes, trivial elsewhere.

torch is not loaded to find out that there is one process: without it, no launcher's processes can have met.
"""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from sparse_model.disk_errors import disk_problem
from sparse_model.errors import RunError, UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")


class _State(threading.local):
    """Of a thread: two evaluations may be under way in one process."""

    in_rank_0_alone = False


_state = _State()


def _group() -> Any:
    """torch.distributed where several processes have met, else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _for_a_collective() -> Any:
    """`_group`, for what all processes must do together.

    Raises:
        RuntimeError: within `on_main`, where the other processes would never come. With one process too, so that a
            test without a launcher shows it.
    """
    if _state.in_rank_0_alone:
        raise RuntimeError("what rank 0 does alone cannot wait for the other processes: take this out of on_main")
    return _group()


def rank() -> int:
    """This process's number over all nodes, 0 when not distributed."""
    dist = _group()
    return dist.get_rank() if dist else 0


def world_size() -> int:
    """The number of processes over all nodes."""
    dist = _group()
    return dist.get_world_size() if dist else 1


def is_main() -> bool:
    """True in the one process that writes files and shows progress."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    dist = _for_a_collective()
    if dist:
        dist.barrier()


def _device(dist: Any) -> Any:
    """Where collectives take their tensors: nccl works on this process's GPU only."""
    import torch

    return torch.device("cuda" if "nccl" in dist.get_backend() else "cpu")


def all_gather_arrays(array: np.ndarray) -> list[np.ndarray]:
    """Every process's array, in rank order, in every process.

    The arrays may differ in the length of their first axis (zero included), not in dtype or further axes.
    """
    dist = _for_a_collective()
    if not dist:
        return [array]
    import torch

    device = _device(dist)
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
    dist = _for_a_collective()
    if not dist:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0, device=_device(dist))
    return box[0]


def on_main(function: Callable[[], T]) -> T:
    """Call function in rank 0 only; its value or its error reaches every process, so that none hangs.

    Raises:
        RuntimeError: within another `on_main`, and if the function itself waits for other processes.
    """
    _for_a_collective()
    value, mistake = broadcast(_alone(function) if is_main() else (None, None))
    if mistake is not None:
        raise mistake
    return value  # type: ignore[return-value]


def _alone(function: Callable[[], T]) -> tuple[T | None, UserError | RunError | None]:
    """(the function's value, the error to be raised in every process)."""
    _state.in_rank_0_alone = True
    try:
        return function(), None
    except UserError as error:
        return None, error
    except Exception as error:
        if not _group():
            raise
        if problem := disk_problem(error):
            return None, problem
        logger.exception("rank 0 failed")
        return None, RunError(f"{type(error).__name__}: {error}")
    finally:
        _state.in_rank_0_alone = False
