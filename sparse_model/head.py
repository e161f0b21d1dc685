"""The vocabulary head: the maximum over a document's tokens of every vocabulary entry's logit, where above zero.

`positive_logits_dense` is the plain autograd form (holds N × L × V, the tested reference). `positive_logits` gives
the same values and gradients and never holds more than a tile of tokens × entries. It rests on two facts. The
maximum passes its gradient to one token, and every saturation passes none to entries at or below zero, so backward
touches the few active (document, entry) pairs and nothing else. And nearly all entries of a document are at or
below zero: a product in 8-bit integers and a proved bound on its error (`Screen`) tell the few that may not be, and
only those are computed in float32. The screen decides what is computed, never a value.

Shapes: N documents, T tokens of all documents one after another, L tokens of one, D hidden size, V vocabulary.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

# Tokens multiplied at a time, and elements of the product held at a time by each thread: on a CPU, about what a
# core's second-level cache holds.
CPU_TOKENS, CPU_TILE = 1024, 1 << 19
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


@torch.compiler.disable
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
    head = Head(weight_VD.detach(), bias_V.detach(), product_dtype, winners=torch.is_grad_enabled())
    return _PositiveLogits.apply(hidden_TD, lengths, weight_VD, bias_V, head)


class Screen:
    """Tells which entries may be above zero, from a product in 8-bit integers.

    Rows are rounded to 127 steps either side of zero, ĥ and ŵ; ĥ · ŵ is exact in integers, and by Cauchy–Schwarz
    |h·w − ĥ·ŵ| ≤ ‖h − ĥ‖·‖w‖ + ‖ĥ‖·‖w − ŵ‖, where all four norms are measured. To what may then be missing come
    the errors of float32 itself: at most D · 2⁻²⁴ · ‖h‖·‖w‖ in the product whose place this takes (Higham, Accuracy
    and Stability of Numerical Algorithms, equation 3.5) and some 2⁻²⁴ in the few operations here.
    """

    def __init__(self, weight_VD: Tensor, bias_V: Tensor) -> None:
        self.bias_V = bias_V
        self.step_V = _step(weight_VD.abs().amax(dim=1))
        self.weight_VD = _rounded(weight_VD, self.step_V.unsqueeze(1))
        self.norm_V = torch.linalg.vector_norm(weight_VD, dim=1)
        self.residual_V = torch.linalg.vector_norm(weight_VD - self.weight_VD * self.step_V.unsqueeze(1), dim=1)

    def __call__(self, hidden_TD: Tensor, spans: list[Span]) -> Tensor:
        """bool [len(spans), V]: false where the entry is at or below zero for every token of the span."""
        start = spans[0][0]
        hidden_TD, spans = hidden_TD[start : spans[-1][1]], [(a - start, b - start) for a, b in spans]
        step = _step(hidden_TD.abs().max())
        low_TD = _rounded(hidden_TD, step)
        highest_NV = torch.empty(len(spans), len(self.bias_V), dtype=torch.int32)
        for tile, products in _products(low_TD, self.weight_VD, spans):
            for row, product in enumerate(products):
                torch.amax(product, 0, out=highest_NV[row, tile])
        norm = torch.linalg.vector_norm(hidden_TD, dim=1).max()
        residual = torch.linalg.vector_norm(hidden_TD - low_TD * step, dim=1).max()
        bound_V = (residual * self.norm_V + (norm + residual) * self.residual_V) * (1 + 2**-10)
        bound_V += (hidden_TD.shape[1] + 16) * 2**-23 * norm * self.norm_V + 2**-22 * self.bias_V.abs()
        # Not "> 0": where the model holds NaN this proves nothing, and float32 must show it.
        return ~(highest_NV * (step * self.step_V) + (self.bias_V + bound_V) <= 0)


def _step(largest: Tensor) -> Tensor:
    return largest.clamp(min=2**-60) / 127


def _rounded(x: Tensor, step: Tensor) -> Tensor:
    return (x / step).round().to(torch.int8)


class Head:
    """The output layer, made ready for any number of documents.

    Args:
        weight_VD, bias_V, product_dtype: as for `positive_logits`;
        winners: whether to find out which tokens the values come from (else `Active.tokens` means nothing).
    """

    def __init__(
        self, weight_VD: Tensor, bias_V: Tensor, product_dtype: torch.dtype | None = None, winners: bool = True
    ) -> None:
        self.weight_VD, self.bias_V, self.winners = weight_VD, bias_V, winners
        self.product_VD = weight_VD.to(product_dtype or weight_VD.dtype)
        exact = self.product_VD.dtype == torch.float32
        self.screen = Screen(weight_VD, bias_V) if exact and screening_pays(weight_VD.device) else None

    def active(self, hidden_TD: Tensor, lengths: Sequence[int]) -> Active:
        """The entries that are above zero, in order of document and entry; see `positive_logits`."""
        bounds = [0, *itertools.accumulate(lengths)]
        threads = torch.get_num_threads() if hidden_TD.device.type == "cpu" else 1
        # The first document shows at little cost whether screening is worth it.
        probe = self._documents(hidden_TD, bounds, range(1), self.screen)
        screen = self.screen if probe.screened else None
        most = CPU_TOKENS if hidden_TD.device.type == "cpu" else GPU_TOKENS
        chunks = _chunks(bounds, max(1, min(most, bounds[-1] // (4 * threads))))
        parts = _map(lambda chunk: self._documents(hidden_TD, bounds, chunk, screen), chunks, threads)
        return Active(*map(torch.cat, zip(probe.active, *(part.active for part in parts), strict=True)))

    def _documents(self, hidden_TD: Tensor, bounds: list[int], documents: range, screen: Screen | None) -> "_Part":
        spans = [(bounds[n], bounds[n + 1]) for n in documents]
        if screen is not None:
            candidates_NV = screen(hidden_TD, spans)
            if candidates_NV.count_nonzero() < DENSE * candidates_NV.numel():
                return _Part(self._candidates(hidden_TD, spans, documents, candidates_NV), True)
        return _Part(self._everything(hidden_TD, spans, documents), False)

    def _candidates(self, hidden_TD: Tensor, spans: list[Span], documents: range, candidates_NV: Tensor) -> Active:
        parts = []
        for n, (start, end), candidates_V in zip(documents, spans, candidates_NV, strict=True):
            entries = candidates_V.nonzero().squeeze(1)
            best = (hidden_TD[start:end] @ self.weight_VD[entries].T).max(dim=0)
            values = best.values + self.bias_V[entries]
            above = ~(values <= 0)  # NaN is kept: it must be seen
            entries = entries[above]
            parts.append(Active(torch.full_like(entries, n), entries, values[above], best.indices[above] + start))
        return Active(*map(torch.cat, zip(*parts, strict=True)))

    def _everything(self, hidden_TD: Tensor, spans: list[Span], documents: range) -> Active:
        values_NV = hidden_TD.new_empty(len(spans), len(self.bias_V))
        tokens_NV = torch.zeros_like(values_NV, dtype=torch.long)
        for tile, products in _products(hidden_TD.to(self.product_VD.dtype), self.product_VD, spans):
            for n, (product, (start, _)) in enumerate(zip(products, spans, strict=True)):
                if self.winners:
                    values_NV[n, tile], tokens = _max_over_tokens(product)
                    tokens_NV[n, tile] = tokens + start
                else:
                    values_NV[n, tile] = product.amax(dim=0)
        # Rounding is monotonic: adding b after the maximum gives the same as adding it to every token's logit.
        values_NV += self.bias_V
        rows, entries = (~(values_NV <= 0)).nonzero(as_tuple=True)
        return Active(rows + documents.start, entries, values_NV[rows, entries], tokens_NV[rows, entries])


class _Part(NamedTuple):
    active: Active
    screened: bool


def screening_pays(device: torch.device) -> bool:
    """Whether this is a CPU with instructions for products of 8-bit integers, four times as fast as float32.

    Without them they are slower, and their sums may saturate.
    """
    return device.type == "cpu" and getattr(torch.cpu, "_is_vnni_supported", bool)()


def _chunks(bounds: list[int], max_tokens: int) -> list[range]:
    """All documents but the first, some at a time: at most max_tokens tokens, or one document."""
    chunks, first = [], 1
    for n in range(2, len(bounds)):
        if n == len(bounds) - 1 or bounds[n + 1] - bounds[first] > max_tokens:
            chunks.append(range(first, n))
            first = n
    return chunks


def _map(function: Callable[[range], _Part], chunks: list[range], threads: int) -> list[_Part]:
    """One core for each chunk: threads that share a product of this size mostly wait for each other."""
    if threads == 1 or len(chunks) < 2:
        return [function(chunk) for chunk in chunks]
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        parts = list(pool.map(torch.no_grad()(function), chunks))  # a thread starts with gradients on
    torch.set_num_threads(threads)  # the number is each thread's own, but also what new threads start with
    return parts


def _products(hidden_TD: Tensor, weight_VD: Tensor, spans: list[Span]) -> Iterator[tuple[slice, Sequence[Tensor]]]:
    """(entries, products h · w [L, entries] of each span) for some entries at a time; int8 gives int32."""
    first, last = spans[0][0], spans[-1][1]
    multiply = torch._int_mm if hidden_TD.dtype == torch.int8 else torch.mm
    width = max(64, (CPU_TILE if hidden_TD.device.type == "cpu" else GPU_TILE) // (last - first))
    for start in range(0, len(weight_VD), width):
        tile = slice(start, start + width)
        yield tile, multiply(hidden_TD[first:last], weight_VD[tile].T).split([end - start for start, end in spans])


def _max_over_tokens(product_LE: Tensor) -> tuple[Tensor, Tensor]:
    """`max(dim=0)`, on a CPU in a quarter of the time: the maximum of some tokens first, then which of them it is."""
    length, group = len(product_LE), 16
    if product_LE.device.type != "cpu" or length < 4 * group:
        return product_LE.max(dim=0)  # type: ignore[return-value]
    whole = length // group
    groups = product_LE[: whole * group].view(whole, group, -1).amax(dim=1)
    # The last group overlaps the one before.
    values, best = torch.cat([groups, product_LE[-group:].amax(dim=0, keepdim=True)]).max(dim=0)
    first = torch.tensor([*range(0, whole * group, group), length - group])[best]
    rows = first + torch.arange(group).unsqueeze(1)
    return values, first + product_LE.gather(0, rows).argmax(dim=0)


class _PositiveLogits(torch.autograd.Function):
    """Keeps the active entries and the tokens they come from; backward is two sparse products."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, lengths: Sequence[int], weight_VD: Tensor, bias_V: Tensor, head: Head
    ) -> Tensor:
        active = head.active(hidden_TD, lengths)
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
