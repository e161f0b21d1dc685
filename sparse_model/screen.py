"""Which vocabulary entries may be above zero, told by a product in 8-bit integers; and that product, in tiles."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# Elements of the product held at a time by each thread: about what a core's second-level cache holds.
CPU_TILE = 1 << 19
# Elements of the weights rounded at a time: all that comes of them stays in cache.
CACHED = 1 << 17
AT_ONCE = 1 << 28  # on other devices
# From so many tokens on, making a screen takes less than it saves.
SCREENED_TOKENS = 512

Span = tuple[int, int]  # first token of a document, and the one after its last


def tiled_highest(hidden_TD: Tensor, weight_VD: Tensor, spans: list[Span]) -> Tensor:
    """The maximum over each span's tokens of h · w, [len(spans), V], of integers in 8 bits, on a CPU."""
    highest_NV = torch.empty(len(spans), len(weight_VD), dtype=torch.int32)
    for tile, products in tile_products(hidden_TD, weight_VD, spans):
        for row, product in enumerate(products):
            torch.amax(product, 0, out=highest_NV[row, tile])
    return highest_NV


class Screen:
    """Tells which entries may be above zero, from a product in 8-bit integers.

    Rows are rounded to 127 steps either side of zero, ĥ and ŵ; ĥ · ŵ is exact in integers (D up to 65,000), and by
    Cauchy–Schwarz |h·w − ĥ·ŵ| ≤ ‖h − ĥ‖·‖w‖ + ‖ĥ‖·‖w − ŵ‖, where all norms are measured. Added to that are the
    errors of float32, in units of 2⁻²⁴·‖h‖·‖w‖: D in the product whose place this takes (Higham, Accuracy and
    Stability of Numerical Algorithms, equation 3.5), and a few each in ĥ and ŵ as multiples of their step, in the
    integer as float32 and in scaling it (32 in all); 2⁻¹⁰ of the bound for the sums in the norms, and 2⁻²² of the
    bias and 2⁻¹²⁰ for the last additions and for what underflows.
    """

    def __init__(self, weight_VD: Tensor, bias_V: Tensor) -> None:
        self.bias_V = bias_V
        most = max(1, (CACHED if weight_VD.device.type == "cpu" else AT_ONCE) // weight_VD.shape[1])
        rounded = (_rounded(rows, rows.abs().amax(dim=1, keepdim=True)) for rows in weight_VD.split(most))
        parts = zip(*rounded, strict=True)
        self.weight_VD, self.step_V, self.norm_V, self.residual_V = map(torch.cat, parts)

    def __call__(
        self,
        hidden_TD: Tensor,
        spans: list[Span],
        highest: Callable[[Tensor, Tensor, list[Span]], Tensor] = tiled_highest,
    ) -> Tensor:
        """bool [len(spans), V]: false where the entry is at or below zero for every token of the span.

        Args:
            highest: of the product of two int8 matrices, over each span's tokens: int32 [N, V].
        """
        start = spans[0][0]
        hidden_TD, spans = hidden_TD[start : spans[-1][1]], [(a - start, b - start) for a, b in spans]
        low_TD, step, norm_T, residual_T = _rounded(hidden_TD, hidden_TD.abs().max())
        highest_NV = highest(low_TD, self.weight_VD, spans)
        norm, residual = norm_T.max(), residual_T.max()
        bound_V = (residual * self.norm_V + (norm + residual) * self.residual_V) * (1 + 2**-10)
        bound_V += (hidden_TD.shape[1] + 32) * 2**-23 * norm * self.norm_V + 2**-22 * self.bias_V.abs() + 2**-120
        # Not "> 0": where the model holds NaN this proves nothing, and float32 must show it.
        return ~(highest_NV * (step * self.step_V) + (self.bias_V + bound_V) <= 0)


def _rounded(x: Tensor, largest: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x in steps of largest / 127 as int8, the steps, the norms of x's rows and of what rounding took from them)."""
    step = largest.clamp(min=2**-50) / 127  # the product of two steps is then a normal number
    low = (x / step).round()
    # Squares below 2⁻¹⁵⁰ vanish: at most 2⁻⁷⁵ an element.
    vanished = 2**-70 * x.shape[1] ** 0.5
    norms = (torch.linalg.vector_norm(rows, dim=1) + vanished for rows in (x, x - low * step))
    return low.to(torch.int8), step.flatten(), *norms


def screening_pays(weight_VD: Tensor, tokens: float) -> bool:
    """Whether 8-bit products are exact and fast here, and there are enough tokens for making the screen to pay.

    That is on a CPU with instructions for them; without those they are slower than float32, and may saturate.
    """
    supported = getattr(torch.cpu, "_is_vnni_supported", None)  # private; in torch 2.4 to 2.13
    return (
        weight_VD.device.type == "cpu"
        and weight_VD.dtype == torch.float32
        and weight_VD.shape[1] > 1  # torch._int_mm returns rubbish for D = 1
        and tokens >= SCREENED_TOKENS
        and supported is not None
        and supported()
    )


def tile_products(hidden_TD: Tensor, weight_VD: Tensor, spans: list[Span]) -> Iterator[tuple[slice, Sequence[Tensor]]]:
    """(entries, products h · w [L, entries] of each span) for some entries at a time; int8 gives int32."""
    first, last = spans[0][0], spans[-1][1]
    multiply = torch._int_mm if hidden_TD.dtype == torch.int8 else torch.mm
    width = max(64, CPU_TILE // (last - first))
    for start in range(0, len(weight_VD), width):
        tile = slice(start, start + width)
        yield tile, multiply(hidden_TD[first:last], weight_VD[tile].T).split([end - start for start, end in spans])
