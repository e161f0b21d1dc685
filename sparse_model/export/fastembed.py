"""The folder that FastEmbed's inference-free SPLADE loads by specific_model_path.

    SparseTextEmbedding("opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte", specific_model_path=FOLDER)

It is written for that model, and reads any of its kind: model.onnx (raw logits), idf.json and the tokenizer's files.
"""

from pathlib import Path

from sparse_model.encoder import SparseEncoder
from sparse_model.errors import UserError
from sparse_model.export import onnx
from sparse_model.export.graphs import Logits
from sparse_model.layout import require_object, write_json

require = onnx.require
_KEPT = ("config.json", "idf.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def export(encoder: SparseEncoder, folder: Path) -> None:
    """Write it.

    Raises:
        UserError: for a checkpoint that FastEmbed would score wrongly.
    """
    if encoder.activation_type != "l1_relu":
        raise UserError(
            f"activation_type: {encoder.activation_type}, but FastEmbed takes log1p twice, as l1_relu does: its "
            "weights would be wrong, silently. Use pooled.onnx of `export onnx` with onnxruntime."
        )
    if not encoder.inf_free:
        raise UserError("inf_free: false, but FastEmbed's inference-free SPLADE weighs queries by a table.")
    encoder.prompts.refuse("FastEmbed")
    encoder.write(folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif path.parent != folder or path.name not in _KEPT:
            path.unlink()
    # It cuts documents and queries both where the tokenizer says.
    says = require_object(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", says | {"model_max_length": encoder.max_seq_length})
    onnx.write_graph(Logits(encoder), encoder, folder / "model.onnx", "logits", {0: "batch", 1: "length"})
