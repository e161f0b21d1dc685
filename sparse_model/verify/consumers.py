"""The programs that a checkpoint is compared in, each as its users call it; another one is an entry in CONSUMERS."""

import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from tokenizers import Tokenizer

from sparse_model.activations import ACTIVATIONS, saturate
from sparse_model.commands import needed
from sparse_model.encoder import SparseEncoder
from sparse_model.layout import require_object
from sparse_model.prompts import Role, obeyed
from sparse_model.saving import QUERY_MODEL
from sparse_model.verify.compare import Encoded

BATCH = 8
INT8_BOUNDS = 0.3, 0.06
"""Of a weight where products are of 8-bit integers, and of a score as a share of the largest."""


class Unfit(Exception):
    """Why a program does not take this checkpoint, as is known and said."""


class Checkpoint:
    """What is compared: a folder in the layout that `SparseEncoder.save` writes, texts, room for what is made of it."""

    def __init__(self, folder: Path, encoder: SparseEncoder, texts: list[str], scratch: Path) -> None:
        self.folder, self.encoder, self.texts, self.scratch = folder, encoder, texts, scratch
        self.logarithms = list(ACTIVATIONS).index(encoder.activation_type) + 1

    @cached_property
    def onnx(self) -> Path:
        """The folder that `export onnx` writes."""
        return self._exported("onnx")

    @cached_property
    def fastembed(self) -> Path:
        """The folder that `export fastembed` writes."""
        return self._exported("fastembed")

    @cached_property
    def query_side(self) -> "Checkpoint":
        """What reads queries as its documents where they go through a model: the query model, or this checkpoint."""
        model = self.encoder.query_model
        return Checkpoint(self.folder / QUERY_MODEL, model, [], self.scratch / "queries") if model else self

    def batches(self, texts: list[str]) -> list[dict[str, np.ndarray]]:
        """input_ids and attention_mask [N, L] of texts, by tokenizer.json and sentence_bert_config.json alone."""
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.enable_truncation(require_object(self.folder / "sentence_bert_config.json")["max_seq_length"])
        ids = [each.ids or [0] for each in tokenizer.encode_batch(texts)]
        return [_padded(ids[start : start + BATCH]) for start in range(0, len(ids), BATCH)]

    @cached_property
    def queries(self) -> csr_matrix:
        """Weights [Q, V] of the texts as queries, by tokenizer.json, tokenizer_config.json and idf.json alone."""
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        if (longest := require_object(self.folder / "tokenizer_config.json").get("model_max_length", 1e9)) < 1e9:
            tokenizer.enable_truncation(longest)
        weights = require_object(self.folder / "idf.json")
        table = {token_id: weights[token] for token, token_id in tokenizer.get_vocab().items() if weights.get(token)}
        encodings = tokenizer.encode_batch(self.behind("query"), add_special_tokens=False)
        found = (sorted(set(each.ids) & table.keys()) for each in encodings)
        rows = ((np.array(ids, int), np.array([table[i] for i in ids], np.float32)) for ids in found)
        return _rows(rows, self.encoder.vocabulary_size)

    def behind(self, role: Role) -> list[str]:
        """The texts behind the prompt that config_sentence_transformers.json says."""
        return list(obeyed(require_object(self.folder / "config_sentence_transformers.json")).before(role, self.texts))

    @cached_property
    def int8(self) -> Path:
        """The folder that `export onnx --int8` writes."""
        return self._exported("onnx", int8=True)

    def _exported(self, form: str, **options: bool) -> Path:
        module = import_module(f"sparse_model.export.{form}")
        module.require(**options)
        out = self.scratch / "-".join([form, *options])
        out.mkdir(parents=True)
        module.export(self.encoder, out, **options)
        return out


def _padded(ids: list[list[int]]) -> dict[str, np.ndarray]:
    length = max(map(len, ids))
    return {
        "input_ids": np.array([row + [0] * (length - len(row)) for row in ids], np.int64),
        "attention_mask": np.array([[1] * len(row) + [0] * (length - len(row)) for row in ids], np.int64),
    }


def _rows(vectors: Iterable[tuple[np.ndarray, np.ndarray]], size: int) -> csr_matrix:
    return vstack([csr_matrix((w, (np.zeros(len(ids), int), ids)), shape=(1, size)) for ids, w in vectors], "csr")


class Consumer(NamedTuple):
    """A program: the package that it is, how it is installed, and how it encodes."""

    package: str
    pip: str
    encode: Callable[[Checkpoint], Encoded]
    note: str = ""
    bound: float = 1e-4
    """of a weight's difference that is rounding"""
    score_bound: float = 1e-4
    """of a score's, as a share of the largest"""
    cuts_queries: bool = False
    """at the documents' length: longer ones are left out"""
    strips_before: str = ""
    """the version up to which it takes spaces off both ends of a document, which byte-level tokenizers see"""
    beside: tuple[str, ...] = ()
    """other packages that it takes here"""
    counted: bool = True
    """whether a difference is a failure; else it is told for what it teaches"""


def _sentence_transformers(checkpoint: Checkpoint) -> Encoded:
    from sentence_transformers import SparseEncoder as Theirs

    if checkpoint.logarithms > 2:
        raise Unfit(f"refuses {checkpoint.encoder.activation_type}, which it does not know")
    theirs = Theirs(str(checkpoint.folder), device="cpu")
    documents, queries = (
        encode(checkpoint.texts, convert_to_sparse_tensor=False, batch_size=BATCH, show_progress_bar=False)
        for encode in (theirs.encode_document, theirs.encode_query)
    )
    return Encoded(csr_matrix(documents.numpy()), csr_matrix(queries.numpy()))


def _transformers(checkpoint: Checkpoint) -> Encoded:
    return _both_sides(checkpoint, lambda side: _by_masked_lm(side, side.logarithms))


def _one_logarithm(checkpoint: Checkpoint) -> Encoded:
    """What a server gives that takes log1p once, and the client's further ones on what it sent."""

    def with_client(side: Checkpoint) -> Weigh:
        serve = _by_masked_lm(side, 1)
        return lambda inputs: saturate(torch.from_numpy(serve(inputs)), side.logarithms - 1).numpy()

    return _both_sides(checkpoint, with_client)


def _as_served(checkpoint: Checkpoint) -> Encoded:
    if checkpoint.logarithms == 1:
        raise Unfit("right as they are: one logarithm is all that the checkpoint takes")
    return _both_sides(checkpoint, lambda side: _by_masked_lm(side, 1))


def _by_masked_lm(side: Checkpoint, logarithms: int) -> "Weigh":
    """The plain masked LM of the folder, its logits pooled over the mask."""
    from transformers import AutoModelForMaskedLM

    mlm = AutoModelForMaskedLM.from_pretrained(side.folder, trust_remote_code=False).eval()

    def weigh(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            logits_NLV = mlm(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits
        return saturate(_pooled(logits_NLV, inputs), logarithms).numpy()

    return weigh


def _pooled(logits_NLV: torch.Tensor, inputs: dict[str, np.ndarray]) -> torch.Tensor:
    return logits_NLV.masked_fill(torch.from_numpy(inputs["attention_mask"] == 0).unsqueeze(2), -np.inf).amax(dim=1)


def _onnx_raw(checkpoint: Checkpoint) -> Encoded:
    def on_client(side: Checkpoint) -> Weigh:
        run = _session(side.onnx / "model.onnx")
        return lambda inputs: saturate(_pooled(torch.from_numpy(run(inputs)), inputs), side.logarithms).numpy()

    return _both_sides(checkpoint, on_client)


def _onnx_pooled(checkpoint: Checkpoint) -> Encoded:
    return _both_sides(checkpoint, lambda side: _session(side.onnx / "pooled.onnx"))


def _onnx_int8(checkpoint: Checkpoint) -> Encoded:
    return _both_sides(checkpoint, lambda side: _session(side.int8 / "pooled.onnx"))


def _session(path: Path) -> "Weigh":
    onnxruntime = needed("onnxruntime", "onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def _torchscript(checkpoint: Checkpoint) -> Encoded:
    return _both_sides(checkpoint, _traced)


def _traced(side: Checkpoint) -> "Weigh":
    from sparse_model.export.graphs import Weights, example

    side.scratch.mkdir(exist_ok=True)
    path = side.scratch / "traced.pt"
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that tracing has seen, which is what is found out here
        torch.jit.trace(Weights(side.encoder).eval(), example(side.encoder)).save(path)
    traced = torch.jit.load(path)

    def weigh(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            return traced(*(torch.from_numpy(inputs[name]) for name in ("input_ids", "attention_mask"))).numpy()

    return weigh


FASTEMBED_MODEL = "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte"
"""whose class reads any folder of the same kind"""


def _fastembed(checkpoint: Checkpoint) -> Encoded:
    from fastembed import SparseTextEmbedding

    if checkpoint.logarithms != 2:
        raise Unfit(f"takes log1p twice: not for {checkpoint.encoder.activation_type}")
    if not checkpoint.encoder.inf_free:
        raise Unfit("weighs queries by a table: not for a siamese checkpoint")
    if checkpoint.encoder.prompts:
        raise Unfit("reads texts as they are: not for a checkpoint with prompts")
    model = SparseTextEmbedding(FASTEMBED_MODEL, specific_model_path=str(checkpoint.fastembed))
    size = checkpoint.encoder.vocabulary_size
    documents, queries = (
        _rows(((each.indices, each.values) for each in found), size)
        for found in (model.embed(checkpoint.texts, batch_size=BATCH), model.query_embed(checkpoint.texts))
    )
    return Encoded(documents, queries)


Weigh = Callable[[dict[str, np.ndarray]], np.ndarray]
"""weights [N, V] of input_ids and attention_mask [N, L]"""


def _both_sides(checkpoint: Checkpoint, program: Callable[[Checkpoint], Weigh]) -> Encoded:
    """What a program makes of documents, and of queries by the folder's table, else as of documents.

    Args:
        program: opened on a side's folder.
    """

    def weights(side: Checkpoint, texts: list[str]) -> csr_matrix:
        weigh = program(side)
        return vstack([csr_matrix(weigh(inputs)) for inputs in side.batches(texts)], "csr")

    documents = weights(checkpoint, checkpoint.behind("document"))
    if checkpoint.encoder.inf_free:
        return Encoded(documents, checkpoint.queries)
    return Encoded(documents, weights(checkpoint.query_side, checkpoint.behind("query")))


CONSUMERS = {
    "sentence-transformers": Consumer(
        "sentence_transformers", "sentence-transformers", _sentence_transformers, strips_before="5.4"
    ),
    "transformers": Consumer("transformers", "transformers", _transformers, "AutoModelForMaskedLM and the formula"),
    "ONNX, raw logits": Consumer("onnxruntime", "onnx onnxruntime", _onnx_raw, beside=("onnx",)),
    "ONNX, pooled": Consumer("onnxruntime", "onnx onnxruntime", _onnx_pooled, beside=("onnx",)),
    "ONNX, int8": Consumer(
        "onnxruntime",
        "onnx onnxruntime",
        _onnx_int8,
        "not exact: {:g} and {:g} are allowed".format(*INT8_BOUNDS),
        *INT8_BOUNDS,
        beside=("onnx",),
    ),
    "FastEmbed": Consumer(
        "fastembed", "onnx fastembed", _fastembed, "cuts queries too", cuts_queries=True, beside=("onnx",)
    ),
    "TorchScript": Consumer("torch", "torch", _torchscript),
    "one-logarithm server": Consumer("transformers", "transformers", _as_served, "vLLM, TEI, Vespa", counted=False),
    "the same + client": Consumer("transformers", "transformers", _one_logarithm, "the other logarithms on the client"),
}
"""by the name that is printed"""
