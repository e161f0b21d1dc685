"""Writes checkpoints: a folder that says everything of itself, in the layout that sentence-transformers loads too.

The masked LM lies in the root (AutoModelForMaskedLM reads it); modules.json and its companions tell the activation,
the length and the query table.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from sparse_model.activations import ACTIVATIONS
from sparse_model.layout import require_json, write_json
from sparse_model.prompts import Prompts
from sparse_model.pruning import Cut
from sparse_model.query_weights import write_idf
from sparse_model.vocabulary import with_every_id

_CLASSES = "sentence_transformers.sparse_encoder.models."
_QUERY, _POOLING = "query_0_SparseStaticEmbedding", "document_1_SpladePooling"


def write_checkpoint(
    folder: Path,
    mlm: Any,
    tokenizer: Any,
    *,
    activation_type: str,
    max_seq_length: int,
    idf_V: Tensor | None,
    cut: Cut = Cut(),  # noqa: B008 - it cannot be changed
    prompts: Prompts = Prompts(),  # noqa: B008
) -> None:
    """Write a model so that `sparse_model.load`, sentence-transformers and AutoModelForMaskedLM read it.

    Args:
        mlm: a masked LM with V outputs, some of which no token may name.
        idf_V: the query table, whose requires_grad is kept; None for queries through the model.
        cut: what documents are cut to. It is obeyed here; sentence-transformers is to be told (max_active_dims=…).
        prompts: what stands before texts, for both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = mlm.get_output_embeddings()
    # The output bias under each of its names: transformers 4.44 resets RoBERTa's where one is left out.
    bias = output.bias.data_ptr()
    state = {name: v.clone() if v.data_ptr() == bias else v for name, v in mlm.state_dict().items()}
    mlm.save_pretrained(folder, state_dict=state)
    as_wide = with_every_id(tokenizer, len(output.weight))
    _save_tokenizer(as_wide, folder)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_seq_length, "do_lower_case": False})
    write_json(
        folder / "config_sentence_transformers.json",
        {"model_type": "SparseEncoder", "similarity_fn_name": "dot", "prompts": asdict(prompts)}
        | {name: limit for name, limit in asdict(cut).items() if limit},
    )
    pooling = {
        "pooling_strategy": "max",
        "activation_function": ACTIVATIONS[activation_type].stored_name,
        "word_embedding_dimension": None,
    }
    if idf_V is None:
        write_json(folder / "1_SpladePooling" / "config.json", pooling)
        _write_modules(folder, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    else:
        write_json(folder / _POOLING / "config.json", pooling)
        write_json(folder / _QUERY / "config.json", {"frozen": not idf_V.requires_grad})
        table = idf_V.detach().clamp(min=0).cpu().contiguous()  # as the next step of a training would
        save_file({"weight": table}, folder / _QUERY / "model.safetensors")
        _save_tokenizer(as_wide, folder / _QUERY)
        write_idf(folder / "idf.json", table, tokenizer)
        _write_router(folder)
    _as_readable_as(folder / "modules.json", folder.rglob("*.safetensors"))


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


def _write_modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"{_CLASSES}{name}.{name}"}
        for i, (path, name) in enumerate(modules)
    ]
    write_json(folder / "modules.json", rows)


def _write_router(folder: Path) -> None:
    """Queries by the table, documents through the model."""
    types = {_QUERY: _CLASSES + "SparseStaticEmbedding.SparseStaticEmbedding"}
    types |= {"": _CLASSES + "MLMTransformer.MLMTransformer", _POOLING: _CLASSES + "SpladePooling.SpladePooling"}
    structure = {"query": [_QUERY], "document": ["", _POOLING]}
    parameters = {"default_route": "document", "allow_empty_key": True}
    write_json(folder / "router_config.json", {"types": types, "structure": structure, "parameters": parameters})
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
    write_json(folder / "modules.json", [module])
