"""ONNX, both forms: the masked LM's raw logits, and finished weights. Consumers disagree on which they expect.

model.onnx   input_ids, attention_mask [N, L] → logits [N, L, V]: sentence-transformers' ONNX backend, FastEmbed
pooled.onnx  the same → weights [N, V]: pooling, mask and activation inside

Beside them lies all of the checkpoint but its weights.
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

OPSET = 17  # onnxruntime 1.17 reads up to 20


def require() -> None:
    """UserError where the package is missing that torch writes ONNX with."""
    needed("onnx", "onnx")


def export(encoder: SparseEncoder, folder: Path) -> None:
    """Write both forms, and the checkpoint's other files."""
    encoder.write(folder)
    for weights in folder.glob("model*.safetensors*"):
        weights.unlink()
    write_graph(Logits(encoder), encoder, folder / "model.onnx", "logits", {0: "batch", 1: "length"})
    write_graph(Weights(encoder), encoder, folder / "pooled.onnx", "weights", {0: "batch"})


def write_graph(graph: nn.Module, encoder: SparseEncoder, path: Path, output: str, axes: dict[int, str]) -> None:
    """Trace a module of `graphs` into an ONNX file; its batch size and length stay open.

    By torch's older exporter, which knows torch 2.5 as well as today's, takes a tenth of the newer one's time and needs
    no onnxscript.
    """
    open_axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings(), torch.no_grad(), without_dropout(encoder):
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
