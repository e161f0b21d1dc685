"""Kernels in Triton's language, which only `head_kernel` imports, where Triton is."""
# Its types are Triton's: pointers and numbers of the device.
# mypy: disable-error-code="no-untyped-def"

import triton
import triton.language as tl

LOWEST: tl.constexpr = tl.constexpr(float("-inf"))
LOWEST_INT: tl.constexpr = tl.constexpr(-(2**31))


@triton.jit
def highest_products(
    hidden,  # [T, D]
    weight,  # [V, D]
    starts,  # [N + 1] int32: the first token of each document, and T
    listed,  # [N + 1] int32: where each document's entries begin in `columns`, and K
    columns,  # [K] the entries
    values,  # [N, V], or [K] if LISTED
    tokens,  # the same in int32
    N,
    V,
    D: tl.constexpr,
    LISTED: tl.constexpr,
    WINNERS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One document and BLOCK_V entries: the maximum of h · w over its tokens, and the first token that reaches it.

    The entries are all of them, or if LISTED those that `columns` names for the document. What lies beyond the last
    token or entry is that one once more, so that nothing need be masked: the copy of a token has the same product and
    comes after it. D is a multiple of BLOCK_D.
    """
    # Programs that run at the same time share the entries: their weights are read from memory once.
    document, tile = tl.program_id(0) % N, tl.program_id(0) // N
    start, end = tl.load(starts + document), tl.load(starts + document + 1)
    places = tile * BLOCK_V + tl.arange(0, BLOCK_V)
    if LISTED:
        places += tl.load(listed + document)
        after = tl.load(listed + document + 1)
        # A document has fewer entries than there are programs for it: the others have nothing to do.
        end = tl.where(tl.min(places, axis=0) < after, end, start)
        entries = tl.load(columns + tl.maximum(tl.minimum(places, after - 1), 0)).to(tl.int64)
        outputs = places.to(tl.int64)
    else:
        after = V
        entries = tl.minimum(places, V - 1).to(tl.int64)
        outputs = document.to(tl.int64) * V + places
    inner = tl.arange(0, BLOCK_D)
    weights = weight + entries[None, :] * D + inner[:, None]
    kind: tl.constexpr = values.dtype.element_ty
    best = tl.full((BLOCK_V,), LOWEST_INT if kind == tl.int32 else LOWEST, kind)
    winner = tl.full((BLOCK_V,), 0, tl.int32) + start
    for first in range(start, end, BLOCK_T):
        rows = tl.minimum(first + tl.arange(0, BLOCK_T), end - 1)
        states = hidden + rows.to(tl.int64)[:, None] * D + inner[None, :]
        products = tl.zeros((BLOCK_T, BLOCK_V), kind)
        for d in range(0, D, BLOCK_D):
            products = tl.dot(
                tl.load(states + d), tl.load(weights + d), products, input_precision=PRECISION, out_dtype=kind
            )
        highest = tl.max(products, axis=0)
        if kind == tl.float32:  # which a maximum may pass over
            undefined = tl.max((products != products).to(tl.int32), axis=0) > 0
            highest = tl.where(undefined, float("nan"), highest)
        better = (highest > best) | ((highest != highest) & (best == best))
        best = tl.where(better, highest, best)
        if WINNERS:
            reaching = tl.where(products < highest[None, :], end, rows[:, None])
            winner = tl.where(better, tl.min(reaching, axis=0), winner)
    tl.store(values + outputs, best, mask=places < after)
    if WINNERS:
        tl.store(tokens + outputs, winner, mask=places < after)


@triton.jit
def summed_rows(
    starts,  # [R + 1] int32: where each row's entries begin, and K
    columns,  # [K] rows of `dense`
    factors,  # [K]
    dense,  # [., D]
    sums,  # [R, D]
    D,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One row and BLOCK_D columns of Σ factor · dense[column]; in the order of the entries, the same each time."""
    row = tl.program_id(0)
    places = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    start, end = tl.load(starts + row), tl.load(starts + row + 1)
    total = tl.zeros((BLOCK_D,), tl.float32)
    for first in range(start, end, BLOCK_K):
        entries = first + tl.arange(0, BLOCK_K)
        factor = tl.load(factors + entries, mask=entries < end, other=0.0)
        column = tl.load(columns + entries, mask=entries < end, other=0).to(tl.int64)
        inside = (entries < end)[:, None] & (places < D)[None, :]
        total += tl.sum(factor[:, None] * tl.load(dense + column[:, None] * D + places[None, :], inside, 0.0), axis=0)
    tl.store(sums + row.to(tl.int64) * D + places, total, mask=places < D)
