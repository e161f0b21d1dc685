"""The vocabulary head: the maximum over a document's tokens of every vocabulary entry's logit, where above zero.

`positive_logits_dense` is the plain autograd form (holds N × L × V, the tested reference). `positive_logits` gives
the same values and gradients and never holds more than a tile of tokens × entries. It rests on two facts. The
maximum passes its gradient to one token, and every saturation passes none to entries at or below zero, so backward
touches the few active (document, entry) pairs and nothing else. And nearly all entries of a document are at or
below zero: a product in bfloat16 and a proved bound on its error (`Screen`) tell the few that may not be, and only
those are computed in float32. The screen decides what is computed, never a value.

Shapes: N documents, T tokens of all documents one after another, L tokens of one, D hidden size, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Tokens multiplied at a time, and elements of the product held at a time: two megabytes in bfloat16 on a CPU.
CPU_TOKENS, CPU_TILE = 1024, 1 << 20
GPU_TOKENS, GPU_TILE = 1 << 14, 1 << 28
# From this share of entries passing the screen on, float32 for all of them is faster.
DENSE = 0.3

Span = tuple[int, int]  # first token of a document, and the one after its last


class Active(NamedTuple):
    """The entries above zero, each [K]: which document, which entry, its value, and the token it comes from."""

    documents: Tensor
    entries: Tensor
    values: Tensor
    tokens: Tensor


def positive_logits_dense(hidden_NLD: Tensor, mask_NL: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
    """relu(max_i (h_i · W + b)) over the tokens i with mask 1, as [N, V]; every document needs at least one token."""
    logits_NLV = hidden_NLD @ weight_VD.T + bias_V
    return logits_NLV.masked_fill(~mask_NL.bool().unsqueeze(-1), float("-inf")).amax(dim=1).relu()


def positive_logits(
    hidden_TD: Tensor,
    lengths: Sequence[int],
    weight_VD: Tensor,
    bias_V: Tensor,
    product_dtype: torch.dtype | None = None,
) -> Tensor:
    """The same values as `positive_logits_dense`, from tokens without padding.

    Gradients equal those of the dense form where the maximum is unique and not exactly zero; where tokens tie,
    this form gives the whole gradient to one of them (on a CPU the first), `amax` spreads it over all.

    Args:
        hidden_TD: the inputs of the masked LM's output layer, the documents' tokens one after another;
        lengths: tokens of each document, at least 1 each, T in all;
        weight_VD, bias_V: the output layer, in the dtype of `hidden_TD`;
        product_dtype: a lower precision for the product h · W of the forward pass (None: the inputs' own).

    Returns:
        [N, V] in the inputs' dtype.
    """
    return _PositiveLogits.apply(hidden_TD, lengths, weight_VD, bias_V, product_dtype)


class Screen:
    """Tells which entries may be above zero, from a product in bfloat16.

    With ĥ and ŵ the rounded h and w, |h·w − ĥ·ŵ| ≤ ‖h − ĥ‖·‖w‖ + ‖ĥ‖·‖w − ŵ‖ (Cauchy–Schwarz, over residuals that
    are measured), and two float32 sums over D terms, ĥ·ŵ here and h·w in the product it stands for, add at most
    D · 2⁻²⁴ · ‖h‖·‖w‖ each (Higham, Accuracy and Stability, equation 3.5), twice that where hardware truncates.
    Bias and bound go into the product's own bias, rounded up by 2⁻⁷ (more than its rounding to bfloat16, and the
    sum's, can take off): an entry may be above zero only if its sum is, whose sign rounding does not change.
    """

    def __init__(self, weight_VD: Tensor, bias_V: Tensor) -> None:
        self.weight_VD = weight_VD.bfloat16()
        self.bias_V = bias_V + bias_V.abs() * 2**-7
        self.norm_V = torch.linalg.vector_norm(weight_VD, dim=1)
        self.residual_V = torch.linalg.vector_norm(weight_VD - self.weight_VD, dim=1)

    def __call__(self, hidden_TD: Tensor, spans: list[Span]) -> Tensor:
        """bool [len(spans), V]: false where the entry is at or below zero for every token of the document."""
        low_TD = hidden_TD.bfloat16()
        norm = torch.linalg.vector_norm(hidden_TD, dim=1).max()
        residual = torch.linalg.vector_norm(hidden_TD - low_TD, dim=1).max()
        sums = hidden_TD.shape[1] * 2**-22 * norm
        bound_V = (residual + sums) * self.norm_V + (norm + residual) * self.residual_V
        bias_V = (self.bias_V + bound_V * (1 + 2**-7) + 2**-100).bfloat16()
        highest_NV = torch.empty(len(spans), len(bias_V), dtype=torch.int16)
        for tile, product in _tiles(low_TD, self.weight_VD, bias_V):
            # Among bfloat16 bit patterns read as integers every positive number is above every negative one.
            bits = product.view(torch.int16)
            for row, (start, end) in enumerate(spans):
                torch.amax(bits[start:end], 0, out=highest_NV[row, tile])
        # A bound that is not finite (NaN in the model) proves nothing: float32 must show it.
        return (highest_NV > 0) | ~(bias_V < float("inf"))


def active_entries(
    hidden_TD: Tensor,
    lengths: Sequence[int],
    weight_VD: Tensor,
    bias_V: Tensor,
    product_dtype: torch.dtype | None = None,
    screen: Screen | None = None,
) -> Active:
    """The entries of every document that are above zero, in order of document and entry; see `positive_logits`.

    Args:
        screen: made of the same weights, to be used again where they do not change (None: made anew if it pays).
    """
    dtype = product_dtype or hidden_TD.dtype
    if screen is None and dtype == hidden_TD.dtype and screening_pays(hidden_TD):
        screen = Screen(weight_VD, bias_V)
    parts = []
    for first, start, spans in _chunks(lengths, CPU_TOKENS if hidden_TD.device.type == "cpu" else GPU_TOKENS):
        chunk_TD, part = hidden_TD[start : start + spans[-1][1]], None
        if screen is not None:
            candidates_NV = screen(chunk_TD, spans)
            if candidates_NV.count_nonzero() < DENSE * candidates_NV.numel():
                part = _candidates_only(chunk_TD, spans, weight_VD, bias_V, candidates_NV)
            else:
                screen = None  # early in training most entries are active
        part = part or _everything(chunk_TD, spans, weight_VD, bias_V, dtype)
        parts.append(part._replace(documents=part.documents + first, tokens=part.tokens + start))
    return Active(*map(torch.cat, zip(*parts, strict=True)))


def screening_pays(hidden_TD: Tensor) -> bool:
    """Whether these are float32 on a CPU that multiplies bfloat16 natively; others emulate it, slower than float32."""
    native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return (
        hidden_TD.device.type == "cpu"
        and hidden_TD.dtype == torch.float32
        and any(getattr(torch.cpu, name, bool)() for name in native)
    )


def _candidates_only(
    hidden_TD: Tensor, spans: list[Span], weight_VD: Tensor, bias_V: Tensor, candidates_NV: Tensor
) -> Active:
    parts = []
    for n, (start, end) in enumerate(spans):
        entries = candidates_NV[n].nonzero().squeeze(1)
        best = (hidden_TD[start:end] @ weight_VD[entries].T).max(dim=0)
        values = best.values + bias_V[entries]
        above = ~(values <= 0)  # NaN is kept: it must be seen
        entries = entries[above]
        parts.append(Active(torch.full_like(entries, n), entries, values[above], best.indices[above] + start))
    return Active(*map(torch.cat, zip(*parts, strict=True)))


def _everything(hidden_TD: Tensor, spans: list[Span], weight_VD: Tensor, bias_V: Tensor, dtype: torch.dtype) -> Active:
    values_NV = hidden_TD.new_empty(len(spans), len(weight_VD))
    tokens_NV = torch.empty_like(values_NV, dtype=torch.long)
    for tile, product in _tiles(hidden_TD.to(dtype), weight_VD.to(dtype)):
        for n, (start, end) in enumerate(spans):
            best = product[start:end].max(dim=0)
            values_NV[n, tile], tokens_NV[n, tile] = best.values, best.indices + start
    # Rounding is monotonic: adding b after the maximum gives the same as adding it to every token's logit.
    values_NV += bias_V
    documents, entries = (~(values_NV <= 0)).nonzero(as_tuple=True)
    return Active(documents, entries, values_NV[documents, entries], tokens_NV[documents, entries])


def _chunks(lengths: Sequence[int], max_tokens: int) -> Iterator[tuple[int, int, list[Span]]]:
    """(first document, first token, spans of tokens from there) for some whole documents at a time.

    The first document comes alone: it shows at little cost whether screening is worth it.
    """
    first, start = 0, 0
    spans: list[Span] = []
    for n, length in enumerate(lengths):
        if spans and (first == 0 or spans[-1][1] + length > max_tokens):
            yield first, start, spans
            first, start, spans = n, start + spans[-1][1], []
        begin = spans[-1][1] if spans else 0
        spans.append((begin, begin + length))
    if spans:
        yield first, start, spans


def _tiles(hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """(entries, product [T, entries]) for some entries at a time."""
    width = max(64, (CPU_TILE if hidden_TD.device.type == "cpu" else GPU_TILE) // len(hidden_TD))
    for start in range(0, len(weight_VD), width):
        tile = slice(start, start + width)
        yield tile, F.linear(hidden_TD, weight_VD[tile], None if bias_V is None else bias_V[tile])


class _PositiveLogits(torch.autograd.Function):
    """Keeps the active entries and the tokens they come from; backward is two sparse products."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, lengths: Sequence[int], weight_VD: Tensor, bias_V: Tensor, dtype: Any
    ) -> Tensor:
        active = active_entries(hidden_TD, lengths, weight_VD, bias_V, dtype)
        logits_NV = hidden_TD.new_zeros(len(lengths), len(weight_VD))
        logits_NV[active.documents, active.entries] = active.values
        ctx.save_for_backward(hidden_TD, weight_VD, active.documents, active.entries, active.tokens)
        return logits_NV

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_NV: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, documents, entries, tokens = ctx.saved_tensors
        grads = grad_NV[documents, entries]
        grad_hidden = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_hidden = _sparse_product(tokens, entries, grads, weight_VD, len(hidden_TD))
        if ctx.needs_input_grad[2]:
            grad_weight = _sparse_product(entries, tokens, grads, hidden_TD, len(weight_VD))
        if ctx.needs_input_grad[3]:
            grad_bias = grads.new_zeros(len(weight_VD)).index_add_(0, entries, grads)
        return grad_hidden, None, grad_weight, grad_bias, None


def _sparse_product(rows: Tensor, columns: Tensor, values: Tensor, dense: Tensor, n_rows: int) -> Tensor:
    """Σ over entries of values · dense[column], added up per row: [n_rows, dense.shape[1]]."""
    indices = torch.stack([rows, columns])
    matrix = torch.sparse_coo_tensor(indices, values, (n_rows, len(dense)), check_invariants=False)
    return torch.sparse.mm(matrix, dense)
