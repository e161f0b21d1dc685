"""Writes checkpoints: a folder that says everything of itself, in the layout that sentence-transformers loads too.

The documents' masked LM lies in the root (AutoModelForMaskedLM reads it); modules.json and its companions tell the
activation, the length and the query side: a table, a masked LM of its own, or the documents' one.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor

from sparse_model.activations import ACTIVATIONS
from sparse_model.layout import require_json, write_json
from sparse_model.prompts import Prompts
from sparse_model.pruning import Cut
from sparse_model.query_weights import write_idf
from sparse_model.vocabulary import with_every_id

QUERY_MODEL = "query_0_MLMTransformer"
"""the folder in a checkpoint of a query model of its own"""
_TABLE = "query_0_SparseStaticEmbedding"
_DOCUMENT_POOLING, _QUERY_POOLING, _POOLING = "document_1_SpladePooling", "query_1_SpladePooling", "1_SpladePooling"


class MaskedLM(Protocol):
    """What is asked of a `SparseEncoder`: a masked LM with V outputs, some of which no token may name."""

    mlm: Any
    tokenizer: Any
    activation_type: str

    @property
    def max_seq_length(self) -> int: ...


def write_checkpoint(
    folder: Path, documents: MaskedLM, idf_V: Tensor | None, queries: MaskedLM | None, cut: Cut, prompts: Prompts
) -> None:
    """Write a model so that `sparse_model.load`, sentence-transformers and AutoModelForMaskedLM read it.

    Args:
        idf_V: the query table, whose requires_grad is kept; None for queries through a model.
        queries: the query model; None for queries by the table, or through the documents' model.
        cut: what documents are cut to. It is obeyed here; sentence-transformers is to be told (max_active_dims=…).
        prompts: what stands before texts, for both.
    """
    as_wide = _write_masked_lm(folder, documents)
    write_json(
        folder / "config_sentence_transformers.json",
        {"model_type": "SparseEncoder", "similarity_fn_name": "dot", "prompts": asdict(prompts)}
        | {name: limit for name, limit in asdict(cut).items() if limit},
    )
    if idf_V is not None:
        write_json(folder / _TABLE / "config.json", {"frozen": not idf_V.requires_grad})
        table = idf_V.detach().clamp(min=0).cpu().contiguous()  # as the next step of a training would
        save_file({"weight": table}, folder / _TABLE / "model.safetensors")
        _save_tokenizer(as_wide, folder / _TABLE)
        write_idf(folder / "idf.json", table, documents.tokenizer)
        _write_router(folder, documents, {_TABLE: "SparseStaticEmbedding"})
    elif queries is not None:
        _write_masked_lm(folder / QUERY_MODEL, queries)
        _write_pooling(folder / _QUERY_POOLING, queries)
        _write_router(folder, documents, {QUERY_MODEL: "MLMTransformer", _QUERY_POOLING: "SpladePooling"})
    else:
        _write_pooling(folder / _POOLING, documents)
        _write_modules(folder, {"": _class("MLMTransformer"), _POOLING: _class("SpladePooling")})
    _as_readable_as(folder / "modules.json", folder.rglob("*.safetensors"))


def _write_masked_lm(folder: Path, model: MaskedLM) -> Any:
    """Weights, tokenizer and length; returns the tokenizer as it was saved."""
    folder.mkdir(parents=True, exist_ok=True)
    output = model.mlm.get_output_embeddings()
    # The output bias under each of its names: transformers 4.44 resets RoBERTa's where one is left out.
    bias = output.bias.data_ptr()
    state = {name: v.clone() if v.data_ptr() == bias else v for name, v in model.mlm.state_dict().items()}
    model.mlm.save_pretrained(folder, state_dict=state)
    as_wide = with_every_id(model.tokenizer, len(output.weight))
    _save_tokenizer(as_wide, folder)
    length = {"max_seq_length": model.max_seq_length, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", length)
    return as_wide


def _write_pooling(folder: Path, model: MaskedLM) -> None:
    pooling = {
        "pooling_strategy": "max",
        "activation_function": ACTIVATIONS[model.activation_type].stored_name,
        "word_embedding_dimension": None,
    }
    write_json(folder / "config.json", pooling)


def _as_readable_as(file: Path, others: Iterable[Path]) -> None:
    """safetensors lets nobody but the owner read what it writes, whatever the umask says."""
    for path in others:
        path.chmod(file.stat().st_mode)


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    _join_merges(folder / "tokenizer.json")
    says = require_json(folder / "tokenizer_config.json")
    if says.get("tokenizer_class") == "TokenizersBackend":  # a class that older versions of transformers lack
        write_json(folder / "tokenizer_config.json", says | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _join_merges(path: Path) -> None:
    """Merges of two tokens as "a b", as all versions read them; tokenizers 0.19 reads no lists of two.

    Where a token holds a space, as no byte-level one does, only lists can say it.
    """
    says = require_json(path)
    merges = says["model"].get("merges") or []
    if any(isinstance(pair, str) or " " in "".join(pair) for pair in merges):
        return
    if merges:
        says["model"]["merges"] = [" ".join(pair) for pair in merges]
        path.write_text(json.dumps(says, ensure_ascii=False, indent=2), encoding="utf-8")


def _class(name: str) -> str:
    return f"sentence_transformers.sparse_encoder.models.{name}.{name}"


def _write_modules(folder: Path, modules: Mapping[str, str]) -> None:
    """modules: path → class."""
    rows = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules.items())]
    write_json(folder / "modules.json", rows)


def _write_router(folder: Path, documents: MaskedLM, query: Mapping[str, str]) -> None:
    """Queries through modules of their own (path → name of the class), documents through the masked LM in the root."""
    _write_pooling(folder / _DOCUMENT_POOLING, documents)
    document = {"": "MLMTransformer", _DOCUMENT_POOLING: "SpladePooling"}
    says = {
        "types": {path: _class(name) for path, name in {**query, **document}.items()},
        "structure": {"query": list(query), "document": list(document)},
        "parameters": {"default_route": "document", "allow_empty_key": True},
    }
    write_json(folder / "router_config.json", says)
    _write_modules(folder, {"": "sentence_transformers.models.Router"})
