"""Reads checkpoints: `load` makes an encoder of one of ours, of sentence-transformers' or of any masked LM."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM

from sparse_model import limits
from sparse_model.activations import ACTIVATIONS
from sparse_model.casing import lowercased, lowers
from sparse_model.description import Description, describe
from sparse_model.encoder import SparseEncoder
from sparse_model.errors import UserError
from sparse_model.heads import default_length, longest_input
from sparse_model.layout import load_tokenizer, require_object, resolve
from sparse_model.lexical import TrainedShare
from sparse_model.manifest import check_manifest
from sparse_model.pins import Code, at, code_of
from sparse_model.pruning import Cut
from sparse_model.query_weights import read_idf, usable_weights
from sparse_model.remote_code import is_remote, load_model
from sparse_model.tensors import check_weights, require_floats, unknown_tensors
from sparse_model.vocabulary import require_ids_below

HEAD_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "int8": torch.int8}
NO_TABLE = "idf_path: queries go through the model (inf_free is false) and have no such weights; leave one of them out."


def load(
    name_or_path: str | Path,
    *,
    activation_type: str | None = None,
    idf_path: str | None = None,
    max_seq_length: int | None = None,
    inf_free: bool | None = None,
    head_dtype: str = "float32",
    max_active_dims: int | None = None,
    prune_ratio: float | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    tokenizer_name: str | None = None,
    lowercase: bool = False,
    model_overrides: dict[str, Any] | None = None,
    allow_new_head: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    code_revision: str | None = None,
) -> SparseEncoder:
    """An encoder from a checkpoint of ours, a sentence-transformers sparse encoder or any masked LM.

    What an argument leaves at None is as the checkpoint says; a plain masked LM gets relu, 1 for every query
    token, 512 tokens (or as many as it has positions) and inference-free queries. Where queries have a model of their
    own, it stays as the checkpoint says: arguments are of the documents' one, but for head_dtype and lowercase.

    Args:
        name_or_path: a folder or a hub id.
        activation_type: a key of `activations.ACTIVATIONS`.
        idf_path: a JSON file of token -> weight, or a hub id that holds an idf.json; for inference-free queries only.
        max_seq_length: tokens documents are cut to.
        inf_free: queries by table (true) or through a model (false).
        head_dtype: float32, bfloat16 or int8, the precision of the head's product; int8: see `head.positive_logits`.
        max_active_dims, prune_ratio: what documents are cut to (see `pruning.Cut`).
        query_prompt, document_prompt: texts that stand before each query and document; "": none.
        tokenizer_name: folder or hub id of another tokenizer than the model's.
        lowercase: texts are lower-cased, by the tokenizer, which is saved so (see `casing.lowercased`).
        model_overrides: fields of the model's config, e.g. {"hidden_dropout_prob": 0.0}.
        allow_new_head: accept a checkpoint without masked-LM head, which then starts at random (for training).
        revision: a branch, tag or commit of a hub repository; None: that of `pins.PINS`, else the newest.
        trust_remote_code: run the Python code that the checkpoint brings; that of `pins.PINS` runs without.
        code_revision: the same as revision, of the repository that the code lies in.

    Raises:
        UserError: for whatever cannot be used, with the remedy.
    """
    _check_arguments(activation_type, head_dtype, inf_free, model_overrides)
    Cut(max_active_dims, prune_ratio)  # refuses what is none before anything is read
    name = at(str(name_or_path), revision) if isinstance(name_or_path, (str, Path)) else name_or_path
    folder = resolve(name, with_code=trust_remote_code)
    if not any(folder.rglob("config.json")):
        raise UserError(f"model_name_or_path: {folder} holds no model (no config.json).")
    check_manifest(folder)
    says = describe(folder)
    by_table = next((value for value in (inf_free, says.inf_free) if value is not None), True)
    if idf_path is not None and not by_table:
        raise UserError(NO_TABLE)
    code, product_dtype = (trust_remote_code, code_revision), HEAD_DTYPES[head_dtype]
    of_queries = None if by_table else says.query_model
    encoder = _encoder(
        folder,
        replace(says, activation_type=activation_type or says.activation_type),
        code,
        tokenizer_name,
        model_overrides,
        allow_new_head,
        max_seq_length,
        inf_free=by_table,
        product_dtype=product_dtype,
        max_active_dims=says.cut.max_active_dims if max_active_dims is None else max_active_dims,
        prune_ratio=says.cut.prune_ratio if prune_ratio is None else prune_ratio,
        query_prompt=says.prompts.query if query_prompt is None else query_prompt,
        document_prompt=says.prompts.document if document_prompt is None else document_prompt,
        query_model=of_queries and _encoder(folder, of_queries, code, inf_free=False, product_dtype=product_dtype),
    )
    encoder.check_prompts()
    encoder.trained_share = TrainedShare.read(folder)
    if idf_path is not None:
        encoder.use_idf(read_idf(str(idf_path), encoder.tokenizer, encoder.vocabulary_size))
    elif encoder.inf_free and says.query_table:
        encoder.use_idf(_read_query_table(says, encoder))
        if tokenizer_name is None:
            documents = folder / says.mlm_subfolder
            _take_query_tokenizer(says.query_table.parent, documents, encoder.tokenizer, encoder.vocabulary_size)
    for side, said in ((encoder, says), (encoder.query_side, of_queries or says)):
        if _lowers(lowercase, said, side):
            side.tokenizer = lowercased(side.tokenizer)
    return encoder.eval()


def _encoder(
    folder: Path,
    says: Description,
    code: tuple[bool, str | None],
    tokenizer_name: str | None = None,
    model_overrides: dict[str, Any] | None = None,
    allow_new_head: bool = False,
    max_seq_length: int | None = None,
    **options: Any,
) -> SparseEncoder:
    """Of the masked LM in a part of the folder; options: of `SparseEncoder`, beside those that the rest decides."""
    place = folder / says.mlm_subfolder
    require_object(place / "config.json")
    tokenizer = load_tokenizer(str(tokenizer_name or place), "tokenizer_name", *code)
    mlm, new_head = _load_mlm(place, model_overrides or {}, allow_new_head, code_of(place, *code))
    length = _length(max_seq_length, says, tokenizer, longest_input(mlm))
    activation = says.activation_type or "relu"
    encoder = SparseEncoder(mlm, tokenizer, activation_type=activation, max_seq_length=length, **options)
    encoder.new_head = new_head
    return encoder


def _check_arguments(activation_type: Any, head_dtype: Any, inf_free: Any, overrides: Any) -> None:
    for key, value, known in (
        ("activation_type", "relu" if activation_type is None else activation_type, ACTIVATIONS),
        ("head_dtype", head_dtype, HEAD_DTYPES),
    ):
        if not isinstance(value, str) or value not in known:
            raise UserError(f"{key}: {value!r} is none of {', '.join(known)}.")
    if overrides is not None and not (
        isinstance(overrides, Mapping) and all(isinstance(key, str) for key in overrides)
    ):
        raise UserError(
            f"model_overrides: {str(overrides)[:60]} is no mapping of fields of the model's config to values."
        )
    if inf_free is not None and not isinstance(inf_free, bool):
        raise UserError(f"inf_free: {inf_free!r} is neither true nor false.")


def _lowers(asked: bool, says: Description, encoder: SparseEncoder) -> bool:
    """Whether texts are lower-cased beyond what the tokenizer does; UserError if it would be documents alone."""
    if says.lowercase and encoder.inf_free and not (asked or lowers(encoder.tokenizer)):
        raise UserError(
            f"{says.length_file}: do_lower_case: true is of documents alone, and queries go by a table: not supported. "
            "lowercase: true lower-cases both; set it to false where neither is meant to be."
        )
    return asked or says.lowercase


def _length(asked: Any, says: Description, tokenizer: Any, positions: int | None) -> int:
    """Tokens a document is cut to: what is asked, else what the checkpoint says, as far as there are positions."""
    framed = tokenizer.num_special_tokens_to_add()
    if asked is not None:
        return limits.length(asked, "max_seq_length", framed, positions)
    if says.length_file is None:
        return default_length(positions)
    said, where = says.max_seq_length, f"{says.length_file}: max_seq_length"
    if said is None:  # sentence-transformers 5.4 and later leave it to the tokenizer
        said, where = tokenizer.model_max_length, f"{says.length_file.parent}: its tokenizer's model_max_length"
        said = said if said < 10**9 else default_length(positions)  # none
    said = limits.length(said, where, framed, None)
    return min(said, positions or said)


def load_weights(encoder: SparseEncoder, folder: Path) -> None:
    """Put the weights (and the query table) of a saved checkpoint into an encoder of the same shape.

    Raises:
        UserError: if a weight is missing, unknown or of another shape.
    """
    stored = load(folder, trust_remote_code=is_remote(encoder.mlm))
    try:
        encoder.mlm.load_state_dict(stored.mlm.state_dict())
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit the model: {error}") from None
    if encoder.idf_V is not None and stored.idf_V is not None:
        with torch.no_grad():
            encoder.idf_V.copy_(stored.idf_V)


def _load_mlm(folder: Path, overrides: dict[str, Any], allow_new_head: bool, code: Code) -> tuple[Any, list[str]]:
    """(the masked LM, the names of its weights that start at random)."""
    if (folder / "adapter_config.json").is_file():
        raise UserError(
            f"model_name_or_path: {folder} holds an adapter (adapter_config.json), which is not read here: merge it "
            "into its model (merge_and_unload of peft), and save that."
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=code.trusted, **code.revision)
        unknown = [key for key in overrides if not hasattr(config, key) or callable(getattr(config, key))]
        if unknown:
            raise UserError(
                f"model_overrides: {folder}'s config has no {', '.join(unknown)}; it has {sorted(vars(config))}"
            )
        for key, value in overrides.items():
            setattr(config, key, value)
        check_weights(config, folder)
        mlm, info = load_model(AutoModelForMaskedLM, folder, config, torch.float32, code)
    except UserError:
        raise
    except Exception as error:  # whatever a model's files or overrides make transformers raise
        raise UserError(f"model_name_or_path: {folder} is no masked language model that can be read: {error}") from None
    missing = sorted(info["missing_keys"])
    body = [name for name in missing if name.startswith(f"{mlm.base_model_prefix}.")]
    if body:
        raise UserError(f"model_name_or_path: {folder} is incomplete: it lacks {body[0]}.")
    if missing and not allow_new_head:
        raise UserError(
            f"model_name_or_path: {folder} has no masked-LM head ({', '.join(missing)} would start at random). "
            "Train it first, or give a masked language model."
        )
    unused = [] if overrides else unknown_tensors(info["unexpected_keys"], mlm.base_model_prefix, bool(missing))
    if unused:
        raise UserError(
            f"model_name_or_path: {folder} holds {len(unused)} tensors that its config.json has no place for, such as "
            f"{unused[0]}: another model would be read than the one that was trained."
        )
    broken = [name for name, weight in mlm.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise UserError(f"model_name_or_path: {folder} is damaged: {broken[0]} holds values that are not finite.")
    return mlm, missing


def _read_query_table(says: Description, encoder: SparseEncoder) -> Tensor:
    path, size = says.query_table, encoder.vocabulary_size
    assert path is not None
    if path.suffix == ".json":
        # What it does not name weighs nothing for sentence-transformers, and 1 for OpenSearch, beside a masked LM.
        missing = 0.0 if says.inf_free else 1.0
        return read_idf(str(path), encoder.tokenizer, size, missing=missing, key="model_name_or_path")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if tensors.keys() != {"weight"} or tensors["weight"].shape != (size,):
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise UserError(f"{path}: expected {size} weights as the tensor weight, found {str(found)[:200]}.")
    require_floats(path, {"weight": str(tensors["weight"].dtype).removeprefix("torch.")})
    return usable_weights(tensors["weight"], encoder.tokenizer, str(path))


def _take_query_tokenizer(folder: Path, documents: Path, tokenizer: Any, size: int) -> None:
    """Queries are cut where the tokenizer beside their weights says; it must be the documents' own otherwise."""
    names = [name for name in ("tokenizer.json", "tokenizer_config.json") if (folder / name).is_file()]
    if all(
        (documents / name).is_file() and (folder / name).read_bytes() == (documents / name).read_bytes()
        for name in names
    ):
        return
    own = load_tokenizer(str(folder), "model_name_or_path")
    require_ids_below(size, own)  # first: tokenizers write out every id up to the highest
    if _vocabulary(own) != _vocabulary(tokenizer):
        raise UserError(f"{folder}: its tokenizer for queries is another than the documents': not supported.")
    tokenizer.model_max_length = own.model_max_length


def _vocabulary(tokenizer: Any) -> dict[str, Any]:
    """Everything that decides ids but where texts are cut."""
    return json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
