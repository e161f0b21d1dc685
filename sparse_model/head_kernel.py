"""`segments` in one kernel each, whose products never reach memory: on NVIDIA's GPUs, where Triton is."""

import functools
import importlib.util
import logging
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparse_model.device import HALVES, sent, tf32_asked

logger = logging.getLogger(__name__)

# Entries that a program takes; bytes of a row of the product's inputs; entries and columns of a sum.
BLOCK_V, BLOCK_BYTES, BLOCK_K, BLOCK_COLUMNS = 128, 128, 16, 256
# With 4 warps the maximum's registers do not suffice (tests/kernels).
OPTIONS = {"num_warps": 8, "num_stages": 3}


@functools.cache
def _here() -> bool:
    """Whether Triton is here and what it builds runs: for that it needs a C compiler and Python's headers."""
    if torch.version.cuda is None or importlib.util.find_spec("triton") is None:
        return False
    try:
        zero, one = torch.zeros(1, dtype=torch.long, device="cuda"), torch.ones(1, 1, device="cuda")
        row_sums(zero, zero, one[0], one, 1)
    except Exception as error:  # of the compiler, the linker, the driver
        logger.warning("Triton cannot build kernels here: the head takes a slower form with the same values. %s", error)
        return False
    return True


def sums_here(values: Tensor) -> bool:
    """Whether `row_sums` runs on these."""
    return values.is_cuda and _here() and values.dtype == torch.float32


def pays(hidden: Tensor) -> bool:
    """Whether `highest` runs on these, and on tensor cores: float32's own product is cuBLAS's, see docs/head.md."""
    fitting = hidden.dtype in HALVES or (hidden.dtype == torch.float32 and tf32_asked())
    return hidden.is_cuda and _here() and fitting and _tensor_cores(hidden.device)


def screens(weight: Tensor) -> bool:
    """Whether `highest` runs on 8-bit integers and `highest_of` on these float32 weights."""
    return weight.is_cuda and _here() and weight.dtype == torch.float32 and _tensor_cores(weight.device)


def _tensor_cores(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def highest(
    hidden_TD: Tensor, lengths: Sequence[int], weight_VD: Tensor, winners: bool
) -> tuple[Tensor, Tensor | None]:
    """As `segments.highest`; int8 gives int32."""
    shape = len(lengths), len(weight_VD)
    return _highest(hidden_TD, lengths, weight_VD, None, shape, winners)


def highest_of(
    hidden_TD: Tensor, lengths: Sequence[int], weight_VD: Tensor, documents_K: Tensor, entries_K: Tensor
) -> tuple[Tensor, Tensor]:
    """(max of h · w, the first token it comes from), both [K], of these documents and entries, in order of document."""
    if not len(entries_K):
        return hidden_TD.new_empty(0), torch.empty_like(entries_K)
    bounds = torch.arange(len(lengths) + 1, device=documents_K.device)
    listed = torch.searchsorted(documents_K, bounds, out_int32=True), entries_K
    values_K, tokens_K = _highest(hidden_TD, lengths, weight_VD, listed, entries_K.shape, winners=True)
    assert tokens_K is not None
    return values_K, tokens_K


def _highest(
    hidden_TD: Tensor,
    lengths: Sequence[int],
    weight_VD: Tensor,
    listed: tuple[Tensor, Tensor] | None,
    shape: Sequence[int],
    winners: bool,
) -> tuple[Tensor, Tensor | None]:
    from sparse_model.triton_kernels import highest_products

    starts = sent(torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)), hidden_TD.device)
    blocks = block_sizes(hidden_TD.dtype, hidden_TD.shape[1], max(lengths))
    beyond = -hidden_TD.shape[1] % blocks["BLOCK_D"]
    hidden_TD, weight_VD = (
        F.pad(rows, (0, beyond)) if beyond else rows.contiguous() for rows in (hidden_TD, weight_VD)
    )
    kind = torch.int32 if hidden_TD.dtype == torch.int8 else torch.float32
    values = torch.empty(shape, dtype=kind, device=hidden_TD.device)
    tokens = torch.empty(shape if winners else (1,), dtype=torch.int32, device=hidden_TD.device)
    sizes = len(lengths), len(weight_VD)
    arguments = (hidden_TD, weight_VD, starts, *(listed or (starts, starts)), values, tokens, *sizes)
    precision = "tf32" if tf32_asked() and listed is None else "ieee"
    constants = {"D": hidden_TD.shape[1], "LISTED": listed is not None, "WINNERS": winners, "PRECISION": precision}
    programs = sizes[0] * -(-sizes[1] // BLOCK_V)
    with torch.cuda.device_of(hidden_TD):
        highest_products[(programs,)](*arguments, **constants, **blocks, **OPTIONS)
    return values, tokens if winners else None


def block_sizes(dtype: torch.dtype, size: int, longest: int) -> dict[str, int]:
    """What a program takes at a time of inputs with D = `size`, where a document has `longest` tokens at most."""
    most = BLOCK_BYTES // dtype.itemsize
    width = next((width for width in (most, most // 2) if size % width == 0), 32)
    return {"BLOCK_T": min(128, max(16, 1 << (longest - 1).bit_length())), "BLOCK_V": BLOCK_V, "BLOCK_D": width}


def row_sums(rows: Tensor, columns: Tensor, values: Tensor, dense: Tensor, n_rows: int) -> Tensor:
    """As `segments.row_sums`, of float32, in the same order each time."""
    from sparse_model.triton_kernels import summed_rows

    rows, order = rows.sort(stable=True)
    starts = torch.searchsorted(rows, torch.arange(n_rows + 1, device=rows.device), out_int32=True)
    sums = dense.new_empty(n_rows, dense.shape[1])
    arguments = starts, columns[order], values[order], dense.contiguous(), sums, dense.shape[1]
    grid = n_rows, -(-dense.shape[1] // BLOCK_COLUMNS)
    with torch.cuda.device_of(dense):
        summed_rows[grid](*arguments, BLOCK_K=BLOCK_K, BLOCK_D=BLOCK_COLUMNS)
    return sums
