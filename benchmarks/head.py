"""The vocabulary head, forward and backward, beside plain dense autograd on the hidden states of real texts.

    python -m benchmarks.head [--documents 32] [--length 256] [--rounds 5] [--sizes tiny minilm] [--tiny FOLDER]
        [--minilm FOLDER] [--json FILE]

Three cases: a trained model's few active outputs; a CPU without 8-bit products, where the screen is off (forward
beside a plain float32 product and maximum, document by document); and most outputs active, as early in training.
The share of the limit is the time that the products would take at the GEMM peak over the time taken: for this toolkit
the forward product alone (in 8-bit integers where the screen is used), for dense autograd all three.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import made_models as models
from benchmarks import measure
from sparse_model import SparseEncoder, head

OURS, SCREEN_OFF, LOW, DENSE = "this toolkit, float32-exact", "screen off", "bfloat16 product", "dense autograd"
PER_DOCUMENT = "product and max a document"
# Dense autograd is slow: what has run for so long is left out of further rounds.
ENOUGH_SECONDS = 12.0
SPARSE_CASE, NO_INT8_CASE, ACTIVE_CASE = "few active outputs", "no 8-bit products, forward", "most outputs active"
MOST = 0.9


class Inputs(NamedTuple):
    """What a head is given; leaves that gradients are gathered in."""

    hidden_NLD: Tensor
    mask_NL: Tensor
    hidden_TD: Tensor
    lengths: list[int]
    weight_VD: Tensor
    bias_V: Tensor
    upstream_NV: Tensor


def run(
    folders: dict[str, str | None],
    documents: int = 32,
    length: int = models.LENGTH,
    rounds: int = 5,
    vocabulary: int = models.VOCABULARY,
) -> dict[str, Any]:
    """The rows of every size, see the module."""
    peaks, rows = measure.gemm_peaks(), []
    settings: dict[str, Any] = {"documents": documents, "length": length, "rounds": rounds, "gemm_flops": peaks}
    for size, folder in folders.items():
        with tempfile.TemporaryDirectory() as scratch:
            model = models.prepare(size, folder, scratch, vocabulary, 16 * documents, length)
            encoder = model.load()
        settings[size] = model.source
        inputs = _inputs(encoder, models.full_length(encoder, model.texts, documents))
        rows += _forward_and_backward(inputs, size, SPARSE_CASE, rounds, peaks, with_low=True)
        rows += _forward_alone(inputs, size, rounds, peaks)
        active = inputs._replace(bias_V=_shifted(inputs))
        rows += _forward_and_backward(active, size, ACTIVE_CASE, rounds, peaks)
    return measure.result("head", settings, rows)


def _inputs(encoder: SparseEncoder, texts: list[str]) -> Inputs:
    input_ids, mask_NL = encoder.pad(encoder.tokenize_documents(texts))
    output = encoder.mlm.get_output_embeddings()  # type: ignore[operator]
    with torch.no_grad():
        hidden_NLD = encoder.mlm(input_ids=input_ids, attention_mask=mask_NL).logits
    upstream_NV = torch.empty(len(texts), encoder.vocabulary_size)
    upstream_NV.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    weight_VD, bias_V = output.weight.detach().clone(), output.bias.detach().clone()
    hidden_TD = hidden_NLD[mask_NL.bool()]
    for leaf in (hidden_NLD, hidden_TD, weight_VD, bias_V):
        leaf.requires_grad_()
    return Inputs(hidden_NLD, mask_NL, hidden_TD, mask_NL.sum(1).tolist(), weight_VD, bias_V, upstream_NV)


def _forward_and_backward(
    inputs: Inputs, size: str, case: str, rounds: int, peaks: dict[str, float], with_low: bool = False
) -> list[measure.Row]:
    """Ours, the screen off, optionally the product in bfloat16, and dense autograd."""

    def step(hidden: Tensor, function: Callable[[], Tensor]) -> Tensor:
        for leaf in (hidden, inputs.weight_VD, inputs.bias_V):
            leaf.grad = None
        logits_NV = function()
        logits_NV.backward(inputs.upstream_NV)
        return logits_NV.detach()

    def ours(dtype: torch.dtype | None = None) -> Tensor:
        return step(inputs.hidden_TD, lambda: _positive_logits(inputs, dtype))

    def dense() -> Tensor:
        parts = inputs.hidden_NLD, inputs.mask_NL, inputs.weight_VD, inputs.bias_V
        return step(inputs.hidden_NLD, lambda: head.positive_logits_dense(*parts))

    contenders: dict[str, Callable[[], Any] | str] = {OURS: ours, SCREEN_OFF: lambda: _screen_off(ours)}
    if with_low:
        contenders[LOW] = lambda: ours(torch.bfloat16)
    contenders[DENSE] = dense
    rows = measure.side_by_side(contenders, DENSE, rounds, ENOUGH_SECONDS, case=case, model=size)
    expected = dense()
    assert inputs.hidden_NLD.grad is not None and inputs.weight_VD.grad is not None and inputs.bias_V.grad is not None
    expected_gradients = (inputs.hidden_NLD.grad[inputs.mask_NL.bool()], inputs.weight_VD.grad, inputs.bias_V.grad)
    product_flops = 2 * inputs.hidden_TD.numel() * len(inputs.weight_VD)
    screened = case == SPARSE_CASE and measure.screen_precision() == "int8"
    for row in rows[:-1]:
        values = contenders[row["name"]]()  # type: ignore[operator]
        row["values_off"] = float((values - expected).abs().max())
        row["gradients_off"] = max(
            float((leaf.grad - gradient).abs().max() / gradient.abs().max())  # type: ignore[operator]
            for leaf, gradient in zip(
                (inputs.hidden_TD, inputs.weight_VD, inputs.bias_V), expected_gradients, strict=True
            )
        )
        row["active"] = float((values > 0).sum() / len(values))
        precision = {LOW: "bfloat16", OURS: "int8" if screened else "float32"}.get(row["name"], "float32")
        row["share"] = product_flops / peaks[precision] / row["median_s"]
    rows[-1]["share"] = 3 * product_flops / peaks["float32"] / rows[-1]["median_s"]
    return rows


@torch.no_grad()
def _forward_alone(inputs: Inputs, size: str, rounds: int, peaks: dict[str, float]) -> list[measure.Row]:
    """The way without a screen, beside the plainest float32 there is."""

    def per_document() -> Tensor:
        spans = inputs.hidden_TD.split(inputs.lengths)
        return torch.stack([F.linear(h, inputs.weight_VD, inputs.bias_V).amax(dim=0).relu() for h in spans])

    contenders: dict[str, Callable[[], Any] | str] = {
        SCREEN_OFF: lambda: _screen_off(lambda: _positive_logits(inputs)),
        PER_DOCUMENT: per_document,
    }
    rows = measure.side_by_side(contenders, PER_DOCUMENT, rounds, case=NO_INT8_CASE, model=size)
    rows[0]["values_off"] = float((contenders[SCREEN_OFF]() - per_document()).abs().max())  # type: ignore[operator]
    for row in rows:
        product_flops = 2 * inputs.hidden_TD.numel() * len(inputs.weight_VD)
        row["share"] = product_flops / peaks["float32"] / row["median_s"]
    return rows


def _positive_logits(inputs: Inputs, dtype: torch.dtype | None = None) -> Tensor:
    return head.positive_logits(inputs.hidden_TD, inputs.lengths, inputs.weight_VD, inputs.bias_V, dtype)


def _screen_off(call: Callable[[], Tensor]) -> Tensor:
    """What a CPU without 8-bit products does."""
    with mock.patch.object(head, "screening_pays", lambda *_: False):
        return call()


@torch.no_grad()
def _shifted(inputs: Inputs) -> Tensor:
    """A bias at which MOST outputs are above zero (those the model silences stay silent)."""
    first_TD = inputs.hidden_TD[: inputs.lengths[0]]
    highest_V = F.linear(first_TD, inputs.weight_VD, inputs.bias_V).amax(dim=0)
    return (inputs.bias_V.detach() - highest_V.quantile(1 - MOST)).requires_grad_()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.head", description=(__doc__ or "").split("\n")[0])
    models.add_arguments(parser)
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--length", type=int, default=models.LENGTH)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file to write the figures to")
    asked = parser.parse_args(arguments)
    figures = run(models.chosen(asked), asked.documents, asked.length, asked.rounds, asked.vocabulary)
    return measure.report(figures, asked.json)


if __name__ == "__main__":
    sys.exit(main())
