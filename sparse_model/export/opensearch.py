"""What OpenSearch serves a checkpoint with: two models for ML Commons, and the bodies of the calls.

document-model.zip     *.pt (TorchScript) and tokenizer.json: the ingest pipeline encodes documents with it
query-tokenizer.zip    tokenizer.json and idf.json: no model runs for a query
register-*.json, pipeline.json, index.json, search.json    bodies; how-to.md has the calls in order
export.json            versions, sizes, what was changed on the way

ML Commons names a token by what the tokenizer decodes its id to, on both sides; so does idf.json here. A query weight
has to lie in (0, 64].
"""

import copy
import json
import logging
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from sparse_model.encoder import SparseEncoder
from sparse_model.errors import RunError, UserError
from sparse_model.export.graphs import Weights, example
from sparse_model.export.opensearch_bodies import bodies, how_to
from sparse_model.layout import write_json
from sparse_model.manifest import sha256_of
from sparse_model.modes import without_dropout
from sparse_model.pruning import Cut

logger = logging.getLogger(__name__)

TORCH = "2.5.1"
"""What ML Commons runs TorchScript with (OpenSearch 2.19 to 3.6)."""
MOST, LEAST = 64.0, 1e-6
"""Of a query weight; a table's 0 becomes the least one, which no ranking sees."""


def require(**options: str) -> None:
    """UserError for options that no body can hold; a warning where torch is another than ML Commons'."""
    for name, value in options.items():
        if not value or any(character in value for character in '/\\"*?<>| ,#:'):
            raise UserError(f"--{name.replace('_', '-')} {value!r}: letters, digits, dots, - and _ make a name.")
    if not torch.__version__.startswith(TORCH):
        logger.warning("traced by torch %s; ML Commons runs %s", torch.__version__, TORCH)


def export(
    encoder: SparseEncoder, folder: Path, *, name: str, version: str, index: str, field: str, text_field: str
) -> None:
    """Write all of it.

    Raises:
        UserError: a model whose queries are no table, or that has prompts.
        RunError: a trace that encodes otherwise than the model.
    """
    if encoder.idf_V is None:
        raise UserError("its queries go through the model (inf_free is false): the query tokenizer has no weights.")
    encoder.prompts.refuse("ML Commons")
    traced = trace(encoder)
    traced.save(str(folder / f"{name}.pt"))
    _write_tokenizer(encoder, folder / "tokenizer.json", encoder.max_seq_length)
    _pack(folder / "document-model.zip", [folder / f"{name}.pt", folder / "tokenizer.json"])
    (folder / f"{name}.pt").unlink()
    longest = encoder.tokenizer.model_max_length
    _write_tokenizer(encoder, folder / "tokenizer.json", longest if longest < 10**6 else None)
    weights, notes = query_weights(encoder)
    (folder / "idf.json").write_text(json.dumps(weights, ensure_ascii=False), encoding="utf-8")
    _pack(folder / "query-tokenizer.zip", [folder / "tokenizer.json", folder / "idf.json"])
    for written in ("tokenizer.json", "idf.json"):
        (folder / written).unlink()
    facts = {
        part: {"bytes": (folder / part).stat().st_size, "sha256": sha256_of(folder / part)}
        for part in ("document-model.zip", "query-tokenizer.zip")
    }
    for file, body in bodies(name, version, field, text_field, facts).items():
        write_json(folder / file, body)
    (folder / "how-to.md").write_text(how_to(index, field, text_field, notes), encoding="utf-8")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "ML Commons' torch": TORCH}
    write_json(folder / "export.json", {"versions": versions, "files": facts, "notes": notes})


class Document(nn.Module):
    """{"output": weights [N, V]} of {"input_ids", "attention_mask"} [N, L] (int64), cut as the encoder cuts."""

    def __init__(self, encoder: SparseEncoder) -> None:
        super().__init__()
        self.weights, self.cut = Weights(encoder), encoder.cut

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        weights_NV = self.weights(inputs["input_ids"], inputs["attention_mask"])
        return {"output": cut_dense(weights_NV, self.cut) if self.cut else weights_NV}


def cut_dense(weights_NV: Tensor, cut: Cut) -> Tensor:
    """`Cut` of dense weights; among equal ones at the border torch chooses."""
    if cut.prune_ratio:
        weights_NV = weights_NV * (weights_NV >= cut.prune_ratio * weights_NV.amax(dim=1, keepdim=True))
    if cut.max_active_dims is not None and cut.max_active_dims < weights_NV.shape[1]:
        kept = weights_NV.topk(cut.max_active_dims, dim=1)
        weights_NV = torch.zeros_like(weights_NV).scatter(1, kept.indices, kept.values)
    return weights_NV


def trace(encoder: SparseEncoder) -> torch.jit.ScriptModule:
    """The encoder of documents as TorchScript, compared with itself on other lengths and batches than it was traced on.

    Raises:
        RunError: if it differs there.
    """
    encoder = encoder.cpu()
    eager = getattr(encoder.mlm, "set_attn_implementation", None)
    if eager is not None:
        eager("eager")
    module = Document(encoder).eval().requires_grad_(False)
    with warnings.catch_warnings(), torch.no_grad(), without_dropout(encoder.mlm):
        warnings.simplefilter("ignore")  # of shapes that tracing has seen, which is what is compared below
        traced = torch.jit.trace(module, _inputs(*example(encoder)), strict=False)
        long = "a longer text of some more words than the first one had, " * 20
        for texts in (["one"], ["", long, "three four"]):
            inputs = _inputs(*encoder.pad(encoder.tokenize_documents(texts)))
            found, wanted = traced(inputs)["output"], module(inputs)["output"]
            if not torch.allclose(found, wanted, atol=1e-4):
                difference = float((found - wanted).abs().max())
                raise RunError(
                    f"TorchScript of this model gives other weights (by {difference:.2g}); it cannot be traced."
                )
    return traced


def query_weights(encoder: SparseEncoder) -> tuple[dict[str, float], list[str]]:
    """Weights by the names that ML Commons gives tokens, all in (0, 64]; what had to be changed for that, in words."""
    backend, weights_V = encoder.tokenizer.backend_tokenizer, encoder.idf_V
    assert weights_V is not None
    notes, largest = [], float(weights_V.max())
    scale = MOST / largest if largest > MOST else 1.0
    if scale < 1:
        notes.append(f"Query weights went up to {largest:.4g}: all are multiplied by {scale:.6g}, and so are scores.")
    named = {i: backend.decode([i], skip_special_tokens=True) for i in encoder.tokenizer.get_vocab().values()}
    shared = sum(n for name, n in Counter(named.values()).items() if name and n > 1)
    if shared:
        notes.append(f"{shared} tokens are decoded to the same text as another one: ML Commons takes them for one.")
    scaled = (weights_V.detach() * scale).tolist()
    return {name: max(LEAST, float(str(np.float32(scaled[i])))) for i, name in named.items() if name}, notes


def _inputs(input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def _write_tokenizer(encoder: SparseEncoder, path: Path, length: int | None) -> None:
    """tokenizer.json that cuts at a length, and leaves padding to its reader."""
    backend = copy.deepcopy(encoder.tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    if length is not None:
        backend.enable_truncation(length, stride=0, strategy="longest_first", direction="right")
    path.write_text(backend.to_str(), encoding="utf-8")


def _pack(path: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)
