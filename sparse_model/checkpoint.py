"""Reads checkpoints: `load` makes an encoder of one of ours, of sentence-transformers' or of any masked LM."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM

from sparse_model import limits
from sparse_model.activations import ACTIVATIONS
from sparse_model.encoder import SparseEncoder
from sparse_model.errors import UserError
from sparse_model.heads import default_length, longest_input
from sparse_model.layout import Description, describe, dtype_argument, load_tokenizer, require_json, resolve
from sparse_model.manifest import check_manifest
from sparse_model.query_weights import read_idf, without_special_tokens

HEAD_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


def load(
    name_or_path: str | Path,
    *,
    activation_type: str | None = None,
    idf_path: str | None = None,
    max_seq_length: int | None = None,
    inf_free: bool | None = None,
    head_dtype: str = "float32",
    prune_ratio: float | None = None,
    tokenizer_name: str | None = None,
    model_overrides: dict[str, Any] | None = None,
    allow_new_head: bool = False,
    trust_remote_code: bool = False,
) -> SparseEncoder:
    """An encoder from a checkpoint of ours, a sentence-transformers sparse encoder or any masked LM.

    What an argument leaves at None is as the checkpoint says; a plain masked LM gets relu, 1 for every query
    token, 512 tokens (or as many as it has positions) and inference-free queries.

    Args:
        name_or_path: a folder or a hub id.
        activation_type: a key of `activations.ACTIVATIONS`.
        idf_path: a JSON file of token -> weight, or a hub id that holds an idf.json.
        max_seq_length: tokens documents are cut to.
        inf_free: queries by table (true) or through the model (false).
        head_dtype: float32 or bfloat16, the precision of the head's product.
        prune_ratio: see `SparseEncoder`.
        tokenizer_name: folder or hub id of another tokenizer than the model's.
        model_overrides: fields of the model's config, e.g. {"hidden_dropout_prob": 0.0}.
        allow_new_head: accept a checkpoint without masked-LM head, which then starts at random (for training).
        trust_remote_code: run the Python code that the checkpoint brings.

    Raises:
        UserError: for whatever cannot be used, with the remedy.
    """
    for key, value, known in (
        ("activation_type", activation_type or "relu", ACTIVATIONS),
        ("head_dtype", head_dtype, HEAD_DTYPES),
    ):
        if value not in known:
            raise UserError(f"{key}: {value!r} is none of {', '.join(known)}.")
    folder = resolve(str(name_or_path), with_code=trust_remote_code)
    if not any(folder.rglob("config.json")):
        raise UserError(f"model_name_or_path: {folder} holds no model (no config.json).")
    check_manifest(folder)
    says = describe(folder)
    tokenizer = load_tokenizer(tokenizer_name or str(folder / says.mlm_subfolder), trust_remote_code=trust_remote_code)
    mlm = _load_mlm(folder / says.mlm_subfolder, model_overrides or {}, allow_new_head, trust_remote_code)
    encoder = SparseEncoder(
        mlm,
        tokenizer,
        activation_type=activation_type or says.activation_type or "relu",
        inf_free=next((value for value in (inf_free, says.inf_free) if value is not None), True),
        max_seq_length=_length(max_seq_length, says, tokenizer, longest_input(mlm)),
        product_dtype=HEAD_DTYPES[head_dtype],
        prune_ratio=prune_ratio,
    )
    if encoder.inf_free and idf_path:
        encoder.use_idf(read_idf(idf_path, tokenizer, encoder.vocabulary_size))
    elif encoder.inf_free and says.query_folder:
        encoder.use_idf(_read_query_table(says.query_folder, tokenizer, encoder.vocabulary_size))
    return encoder.eval()


def _length(asked: Any, says: Description, tokenizer: Any, positions: int | None) -> int:
    """Tokens a document is cut to: what is asked, else what the checkpoint says, as far as there are positions."""
    framed = tokenizer.num_special_tokens_to_add()
    if asked is not None:
        return limits.length(asked, "max_seq_length", framed, positions)
    if says.max_seq_length is None:
        return default_length(positions)
    said = limits.length(says.max_seq_length, f"{says.length_file}: max_seq_length", framed, None)
    return min(said, positions or said)


def load_weights(encoder: SparseEncoder, folder: Path) -> None:
    """Put the weights (and the query table) of a saved checkpoint into an encoder of the same shape.

    Raises:
        UserError: if a weight is missing, unknown or of another shape.
    """
    stored = load(folder)
    try:
        encoder.mlm.load_state_dict(stored.mlm.state_dict())
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit the model: {error}") from None
    if encoder.idf_V is not None and stored.idf_V is not None:
        with torch.no_grad():
            encoder.idf_V.copy_(stored.idf_V)


def _load_mlm(folder: Path, overrides: dict[str, Any], allow_new_head: bool, trust_remote_code: bool) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        unknown = [key for key in overrides if not hasattr(config, key)]
        if unknown:
            raise UserError(
                f"model_overrides: {folder}'s config has no {', '.join(unknown)}; it has {sorted(vars(config))}"
            )
        for key, value in overrides.items():
            setattr(config, key, value)
        mlm, info = AutoModelForMaskedLM.from_pretrained(
            folder,
            config=config,
            **dtype_argument(torch.float32),
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
        )
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
    broken = [name for name, weight in mlm.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise UserError(f"model_name_or_path: {folder} is damaged: {broken[0]} holds values that are not finite.")
    return mlm


def _read_query_table(folder: Path, tokenizer: Any, vocabulary_size: int) -> Tensor:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        path = require_json(folder / "config.json").get("path", "idf.json")
        return read_idf(str(folder / path), tokenizer, vocabulary_size)
    try:
        table = load_file(weights)["weight"].float()
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{weights} is damaged: {error}") from None
    if table.shape != (vocabulary_size,) or not table.isfinite().all():
        raise UserError(f"{weights}: expected {vocabulary_size} finite weights, found {tuple(table.shape)}.")
    return without_special_tokens(table, tokenizer)
