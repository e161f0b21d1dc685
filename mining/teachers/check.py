"""Whether a teacher can be used, as far as that can be seen without its weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mining.teachers.spec import TeacherSpec
from mining.teachers.types import TYPES
from sparse_model import limits
from sparse_model.errors import UserError
from sparse_model.layout import load_tokenizer, require_object, resolve
from sparse_model.pins import code_of
from sparse_model.tensors import check_weights
from sparse_model.vocabulary import highest_id


def check_teacher(spec: TeacherSpec, key: str, length_key: str = "max_length") -> None:
    """Fetch a teacher's files if they are not here yet, and look at its config and tokenizer.

    Args:
        key: what every message begins with, e.g. "teachers[1]".
        length_key: the key that says how long the teacher's texts are.

    Raises:
        UserError: with all that is wrong, each with its remedy.
    """
    folder = resolve(_located(spec, key), key, with_code=spec.trust_remote_code)
    try:
        folder, described = TYPES[spec.type].locate(spec, folder)
        config = _config(spec, folder)
        code = spec.trust_remote_code, spec.code_revision
        tokenizer = load_tokenizer(spec.tokenizer_name or str(folder), "tokenizer_name", *code)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    found = [
        *_wrong_kind(spec, config),
        *_wrong_sizes(spec, folder, config, tokenizer, length_key),
        *TYPES[spec.type].mistakes(spec, config, tokenizer, described),
    ]
    if found:
        raise UserError("\n".join(f"{key}: {mistake}" for mistake in found))


def _located(spec: TeacherSpec, key: str) -> str:
    try:
        return spec.located
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def _config(spec: TeacherSpec, folder: Path) -> Any:
    import transformers  # slow, and needed only where a teacher is looked at
    from transformers import CONFIG_MAPPING, AutoConfig

    name = spec.model_name_or_path
    if not (folder / "config.json").is_file():
        raise UserError(f"{name} holds no model (no config.json).")
    says = require_object(folder / "config.json")
    kind, version = says.get("model_type"), f"transformers {transformers.__version__}"
    code = code_of(folder, spec.trust_remote_code, spec.code_revision)
    if kind not in CONFIG_MAPPING and "auto_map" in says and not code.trusted:
        raise UserError(
            f"{name} is a model that {version} does not know (model_type {kind}) and brings its own code. If you trust "
            "it, allow it to run: trust_remote_code: true for this teacher, or trust_remote_code=true for all."
        )
    if kind not in CONFIG_MAPPING and "auto_map" not in says:
        raise UserError(f"{name} is a model that {version} does not know (model_type {kind}); a newer one may.")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=code.trusted, **code.revision)
    except Exception as error:  # whatever a config or its code make transformers raise
        raise UserError(f"{name}: {folder / 'config.json'} cannot be read: {error}") from None
    check_weights(config, folder)
    return config


def _wrong_kind(spec: TeacherSpec, config: Any) -> Iterator[str]:
    name, heads, kind = spec.model_name_or_path, config.architectures or [], TYPES[spec.type]
    # A config may leave out what it is; loading then tells.
    if kind.head and heads and not any(head.endswith(kind.head) for head in heads):
        yield f"{name} is a {', '.join(heads)}; a teacher of type {spec.type} is a …{kind.head}."
    if config.is_encoder_decoder and not kind.encoder_decoder:
        yield f"{name} is an encoder-decoder, which a teacher of type {spec.type} cannot be."


def _wrong_sizes(spec: TeacherSpec, folder: Path, config: Any, tokenizer: Any, length_key: str) -> Iterator[str]:
    framed = tokenizer.num_special_tokens_to_add(pair=TYPES[spec.type].frames_pairs)
    try:
        limits.length(spec.max_length, length_key, framed, _positions(spec, folder, config))
    except UserError as error:
        yield str(error)
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary and highest_id(tokenizer) >= vocabulary:
        yield (
            f"tokenizer_name: its ids go up to {highest_id(tokenizer)}, and those of {spec.model_name_or_path} to "
            f"{vocabulary - 1}: it is another model's tokenizer."
        )


def _positions(spec: TeacherSpec, folder: Path, config: Any) -> int | None:
    """Looked up in the model itself, made without weights."""
    import torch
    from transformers import AutoModel

    from sparse_model.heads import longest_input
    from sparse_model.remote_code import own_class

    code = code_of(folder, spec.trust_remote_code, spec.code_revision)
    try:
        if own := own_class(AutoModel, folder, config, code):  # which may need real numbers where it is built
            return longest_input(own._from_config(config))
        with torch.device("meta"):
            return longest_input(AutoModel.from_config(config, trust_remote_code=False))
    except Exception as error:  # whatever a config or its code make transformers raise
        raise UserError(f"{spec.model_name_or_path}: no model can be made of its config.json: {error}") from None
