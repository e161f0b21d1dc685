"""What to do where a step does not fit into memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from sparse_model.errors import RunError

# How torch begins or goes on where an allocation fails: on a GPU, on a CPU, on Apple silicon.
SAYS = ("out of memory", "can't allocate memory", "not enough memory", "DefaultCPUAllocator")


@contextmanager
def memory_told(documents: int, pieces: int | None) -> Iterator[None]:
    """Around training: what a step that is too large needs.

    Args:
        documents: of a process's batch; pieces: how many go through the model at a time (None: all).

    Raises:
        RunError: in place of torch's error, with the key that mends it.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not any(said in str(error) for said in SAYS):
            raise
        size = max(1, (pieces or documents) // (2 if pieces else 8))
        remedy = (
            f"micro_batch_documents={size} trains alike in the memory of so many documents at a time"
            if pieces != 1
            else "a lower max_seq_length or gradient_checkpointing=true needs less"
        )
        raise RunError(f"a step of {documents} documents does not fit into memory; {remedy}.") from error
