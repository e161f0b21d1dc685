"""ONNX, both forms: the masked LM's raw logits, and finished weights. Consumers disagree on which they expect.

model.onnx   input_ids, attention_mask [N, L] → logits [N, L, V]: sentence-transformers' ONNX backend, FastEmbed
pooled.onnx  the same → weights [N, V]: pooling, mask and activation inside

Beside them lies all of the checkpoint but its weights. With int8, matrix products of both are of 8-bit integers. Where
queries have a model of their own, its folder holds both too.
"""

import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from sparse_model.commands import needed
from sparse_model.encoder import SparseEncoder
from sparse_model.export.graphs import Logits, Weights, example
from sparse_model.modes import without_dropout
from sparse_model.saving import QUERY_MODEL

OPSET = 17  # onnxruntime 1.17 reads up to 20


def require(int8: bool = False) -> None:
    """UserError where a package is missing: torch writes ONNX with onnx, and onnxruntime quantises it."""
    needed("onnx", "onnx")
    if int8:
        needed("onnxruntime", "onnxruntime")


def export(encoder: SparseEncoder, folder: Path, int8: bool = False) -> None:
    """Write both forms, and the checkpoint's other files."""
    encoder.write(folder)
    _write_graphs(encoder, folder, int8)
    if encoder.query_model is not None:
        _write_graphs(encoder.query_model, folder / QUERY_MODEL, int8)


def _write_graphs(encoder: SparseEncoder, folder: Path, int8: bool) -> None:
    for weights in folder.glob("model*.safetensors*"):
        weights.unlink()
    write_graph(Logits(encoder), encoder, folder / "model.onnx", "logits", {0: "batch", 1: "length"})
    write_graph(Weights(encoder), encoder, folder / "pooled.onnx", "weights", {0: "batch"})
    if int8:
        for path in (folder / "model.onnx", folder / "pooled.onnx"):
            quantise(path)


def write_graph(graph: nn.Module, encoder: SparseEncoder, path: Path, output: str, axes: dict[int, str]) -> None:
    """Trace a module of `graphs` into an ONNX file; its batch size and length stay open.

    By torch's older exporter, which knows torch 2.5 as well as today's, takes a tenth of the newer one's time and needs
    no onnxscript.
    """
    open_axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings(), torch.no_grad(), without_dropout(encoder.mlm):
        warnings.simplefilter("ignore")  # that it is the older one, and of shapes that tracing has seen: verify tells
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            graph.eval(),
            example(encoder),
            str(path),
            input_names=["input_ids", "attention_mask"],
            output_names=[output],
            dynamic_axes={"input_ids": open_axes, "attention_mask": open_axes, output: axes},
            opset_version=OPSET,
            dynamo=False,
        )


def quantise(path: Path) -> None:
    """Rewrite an ONNX file with products in 8-bit integers, onnxruntime's dynamic quantisation: each column of a weight
    has a scale of its own, each batch of activations one, taken as it comes. Embeddings and all else stay float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_suffix(".float32.onnx")
    path.rename(whole)
    logging.disable(logging.WARNING)  # that it could be preprocessed: for convolutions
    try:
        products = ["MatMul", "Gemm"]
        quantize_dynamic(whole, path, op_types_to_quantize=products, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    whole.unlink()
