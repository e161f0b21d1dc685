"""The vocabulary head: the maximum over a document's tokens of every vocabulary entry's logit, where above zero.

`positive_logits_dense` is the plain autograd form (holds N × L × V, the tested reference). `positive_logits` gives
the same values and gradients, to rounding, and never holds more than a tile of tokens × entries. It rests on two
facts. The maximum passes its gradient to one token, and every saturation passes none to entries at or below zero:
backward touches the few active (document, entry) pairs and nothing else. And nearly all entries of a document are at
or below zero: a product in 8-bit integers and a proved bound on its error (`Screen`) tell the few that may not be,
and only those are computed in float32. The screen decides what is computed; no value comes from it. On a GPU it is
there on request (product_dtype int8).

Shapes: N documents, T tokens of all documents one after another, L tokens of one, D hidden size, V vocabulary.
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparse_model import head_kernel, segments
from sparse_model.screen import Screen, Span, screening_pays, tile_products

# Tokens multiplied at a time: with `screen.CPU_TILE`, what a core's second-level cache holds.
CPU_TOKENS = 1024
# Outputs [N, V] held at a time on other devices.
OUTPUTS = 1 << 28
# From this share of entries passing the screen on, float32 for all of them is faster.
DENSE = 0.3


class Active(NamedTuple):
    """The entries above zero, each [K]: which document, which entry, its value, and the token it comes from.

    Some may turn out to be at or below zero: where a GPU screens, leaving them out would be one more wait for it.
    """

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
        product_dtype: a lower precision for the product h · W of the forward pass (None: the inputs' own);
            sums are in float32 (but on a CPU, where they are rounded to it), backward in the inputs' precision;
            int8: the inputs' own precision, of the entries that a product in 8-bit integers lets pass.

    Returns:
        [N, V] in the inputs' dtype.

    Raises:
        ValueError: if the lengths are not T tokens of at least one document.
    """
    winners = torch.is_grad_enabled()
    head = Head(weight_VD.detach(), bias_V.detach(), product_dtype, len(hidden_TD), winners)
    return _PositiveLogits.apply(hidden_TD, lengths, weight_VD, bias_V, head)


class Head:
    """The output layer, made ready for any number of documents.

    Args:
        weight_VD, bias_V, product_dtype: as for `positive_logits`;
        tokens: how many there will be, all calls together;
        winners: whether to find out which tokens the values come from (else `Active.tokens` means nothing).
    """

    def __init__(
        self,
        weight_VD: Tensor,
        bias_V: Tensor,
        product_dtype: torch.dtype | None = None,
        tokens: float = float("inf"),
        winners: bool = True,
    ) -> None:
        self.weight_VD, self.bias_V, self.winners = weight_VD, bias_V, winners
        asked = product_dtype == torch.int8
        self.product_VD = weight_VD.to(weight_VD.dtype if asked or product_dtype is None else product_dtype)
        exact = self.product_VD.dtype == weight_VD.dtype
        pays = screening_pays(weight_VD, tokens) or (asked and head_kernel.screens(weight_VD))
        self.screen = Screen(weight_VD, bias_V) if exact and pays else None

    def active(self, hidden_TD: Tensor, lengths: Sequence[int]) -> Active:
        """The entries that are above zero, in order of document and entry; see `positive_logits`."""
        if not lengths or min(lengths) < 1 or sum(lengths) != len(hidden_TD):
            raise ValueError(f"{len(hidden_TD)} tokens, but lengths {list(lengths)[:10]}…: at least 1 each, T in all.")
        way = self._tiled if tiled(hidden_TD.device) else self._at_once
        with torch.autocast(hidden_TD.device.type, enabled=False):
            parts = way(hidden_TD, [0, *itertools.accumulate(lengths)])
        return Active(*map(torch.cat, zip(*parts, strict=True)))

    def _tiled(self, hidden_TD: Tensor, bounds: list[int]) -> list[Active]:
        threads = torch.get_num_threads()
        most = max(1, min(CPU_TOKENS, bounds[-1] // (4 * threads)))
        # The first document shows at little cost whether the screen is worth it: early in training it is not.
        first = self._screened(hidden_TD, bounds, range(1)) if self.screen else None
        if first is None:
            return _map(lambda chunk: self._plain(hidden_TD, bounds, chunk), _chunks(bounds, 0, most), threads)

        def documents(chunk: range) -> Active:
            return self._screened(hidden_TD, bounds, chunk) or self._plain(hidden_TD, bounds, chunk)

        return [first, *_map(documents, _chunks(bounds, 1, most), threads)]

    def _at_once(self, hidden_TD: Tensor, bounds: list[int]) -> list[Active]:
        """All documents, unless the outputs are too many; the device is waited for once: how many are above zero."""
        parts, step = [], max(1, OUTPUTS // len(self.bias_V))
        for n in range(0, len(bounds) - 1, step):
            some = bounds[n : n + step + 1]
            lengths = [end - start for start, end in itertools.pairwise(some)]
            if self.screen and (active := self._listed(hidden_TD, lengths, n, some)):
                parts.append(active)
                continue
            low_TD = hidden_TD[some[0] : some[-1]].to(self.product_VD.dtype)
            highest = head_kernel.highest if head_kernel.pays(low_TD) else segments.highest
            values_NV, tokens_NV = highest(low_TD, lengths, self.product_VD, self.winners)
            values_NV = (values_NV + self.bias_V).to(hidden_TD.dtype)
            parts.append(_above_zero(values_NV, tokens_NV, n, some[0]))
        return parts

    def _listed(self, hidden_TD: Tensor, lengths: list[int], first: int, bounds: list[int]) -> Active | None:
        """Only the screen's candidates, of all documents at once; None if they are so many that everything is faster.

        The device is waited for once: how many they are.
        """
        assert self.screen is not None
        candidates_NV = self.screen(hidden_TD, list(itertools.pairwise(bounds)), kernel_highest)
        documents, entries = candidates_NV.nonzero(as_tuple=True)
        if len(entries) > DENSE * candidates_NV.numel():
            return None
        some_TD = hidden_TD[bounds[0] : bounds[-1]]
        values, tokens = head_kernel.highest_of(some_TD, lengths, self.weight_VD, documents, entries)
        return Active(documents + first, entries, values + self.bias_V[entries], tokens.long() + bounds[0])

    def _screened(self, hidden_TD: Tensor, bounds: list[int], documents: range) -> Active | None:
        """Only the screen's candidates; None if they are so many that everything is faster."""
        assert self.screen is not None
        spans = [(bounds[n], bounds[n + 1]) for n in documents]
        candidates_NV = self.screen(hidden_TD, spans)
        if candidates_NV.count_nonzero() > DENSE * candidates_NV.numel():
            return None
        parts = []
        for n, (start, end), candidates_V in zip(documents, spans, candidates_NV, strict=True):
            entries = candidates_V.nonzero().squeeze(1)
            best = (hidden_TD[start:end] @ self.weight_VD[entries].T).max(dim=0)
            values = best.values + self.bias_V[entries]
            above = ~(values <= 0)  # NaN is kept: it must be seen
            entries = entries[above]
            parts.append(Active(torch.full_like(entries, n), entries, values[above], best.indices[above] + start))
        return Active(*map(torch.cat, zip(*parts, strict=True)))

    def _plain(self, hidden_TD: Tensor, bounds: list[int], documents: range) -> Active:
        """The whole product in `product_dtype`."""
        spans = [(bounds[n], bounds[n + 1]) for n in documents]
        values_NV = hidden_TD.new_empty(len(spans), len(self.bias_V))
        tokens_NV = torch.empty_like(values_NV, dtype=torch.long) if self.winners else None
        for tile, products in tile_products(hidden_TD.to(self.product_VD.dtype), self.product_VD, spans):
            for n, (product, (start, _)) in enumerate(zip(products, spans, strict=True)):
                if tokens_NV is None:
                    values_NV[n, tile] = product.amax(dim=0)
                else:
                    values, tokens = _max_over_tokens(product)
                    values_NV[n, tile], tokens_NV[n, tile] = values, tokens + start
        values_NV += self.bias_V
        return _above_zero(values_NV, tokens_NV, documents.start)


def kernel_highest(hidden_TD: Tensor, weight_VD: Tensor, spans: list[Span]) -> Tensor:
    """As `screen.tiled_highest`, on a GPU."""
    return head_kernel.highest(hidden_TD, [end - start for start, end in spans], weight_VD, winners=False)[0]


def tiled(device: torch.device) -> bool:
    """Whether documents are taken in pieces that fit a core's cache; other devices take all in few large operations."""
    return device.type == "cpu"


def _above_zero(values_NV: Tensor, tokens_NV: Tensor | None, first_document: int, first_token: int = 0) -> Active:
    """What is active among maxima to which the bias was added: afterwards, since rounding is monotonic."""
    rows, entries = (~(values_NV <= 0)).nonzero(as_tuple=True)
    tokens = rows if tokens_NV is None else tokens_NV[rows, entries].long() + first_token
    return Active(rows + first_document, entries, values_NV[rows, entries], tokens)


def _chunks(bounds: list[int], first: int, max_tokens: int) -> list[range]:
    """The documents from `first` on, some at a time: at most max_tokens tokens, or one document."""
    chunks = []
    for n in range(first + 1, len(bounds)):
        if n == len(bounds) - 1 or bounds[n + 1] - bounds[first] > max_tokens:
            chunks.append(range(first, n))
            first = n
    return chunks


def _map(function: Callable[[range], Active], chunks: list[range], threads: int) -> list[Active]:
    """One core for each chunk: threads that share a product of this size mostly wait for each other."""
    if threads == 1 or len(chunks) < 2:
        return [function(chunk) for chunk in chunks]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(torch.no_grad()(function), chunks))  # a thread starts with gradients on
    finally:
        torch.set_num_threads(threads)  # each thread has its own number, but new ones start with the last one set


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
        logits_NV[active.documents, active.entries] = active.values.relu()
        ctx.save_for_backward(hidden_TD, weight_VD, *active)
        return logits_NV

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_NV: Tensor) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, documents, entries, values, tokens = ctx.saved_tensors
        grads = grad_NV[documents, entries].masked_fill(values <= 0, 0)
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
    if not tiled(dense.device):
        row_sums = head_kernel.row_sums if head_kernel.sums_here(values) else segments.row_sums
        return row_sums(rows, columns, values, dense, n_rows)
    indices = torch.stack([rows, columns])
    matrix = torch.sparse_coo_tensor(indices, values, (n_rows, len(dense)), check_invariants=False)
    return torch.sparse.mm(matrix, dense)
