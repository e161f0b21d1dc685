"""Whether a teacher can be used, as far as that can be seen without its weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, AutoConfig

from mining.teachers.bi_encoders import dense_layout
from mining.teachers.pair_scorers import answer_ids
from mining.teachers.spec import TeacherSpec
from sparse_model import UserError
from sparse_model.layout import describe, load_tokenizer, longest_input, require_json, resolve


def check_teacher(spec: TeacherSpec, key: str, length_key: str = "max_length") -> None:
    """Fetch a teacher's files if they are not here yet, and look at its config and tokenizer.

    Args:
        key: what every message begins with, e.g. "teachers[1]".
        length_key: the key that says how long the teacher's texts are.

    Raises:
        UserError: with all that is wrong, each with its remedy.
    """
    folder = resolve(spec.model_name_or_path, key, with_code=spec.trust_remote_code)
    try:
        folder, described = _transformer(spec, folder)
        config = _config(spec, folder)
        tokenizer = load_tokenizer(spec.tokenizer_name or str(folder), "tokenizer_name")
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    found = [*_wrong_kind(spec, config, described), *_wrong_sizes(spec, config, tokenizer, length_key)]
    if spec.type == "monot5":
        found += _unfit_for_monot5(spec, tokenizer)
    if found:
        raise UserError("\n".join(f"{key}: {mistake}" for mistake in found))


def _transformer(spec: TeacherSpec, folder: Path) -> tuple[Path, bool]:
    """The folder of the transformer itself, and whether the model says of itself that it is of this type."""
    if spec.type == "sparse":
        says = describe(folder)
        return folder / says.mlm_subfolder, says.activation_type is not None
    if spec.type == "dense":
        layout = dense_layout(folder, spec.pooling)
        return layout.folder, layout.described or spec.pooling is not None
    return folder, False


def _config(spec: TeacherSpec, folder: Path) -> Any:
    name = spec.model_name_or_path
    if not (folder / "config.json").is_file():
        raise UserError(f"{name} holds no model (no config.json).")
    says = require_json(folder / "config.json")
    kind, version = says.get("model_type"), f"transformers {transformers.__version__}"
    if kind not in CONFIG_MAPPING and "auto_map" in says and not spec.trust_remote_code:
        raise UserError(
            f"{name} is a model that {version} does not know (model_type {kind}) and brings its own code. If you trust "
            "it, allow it to run: trust_remote_code: true for this teacher, or trust_remote_code=true for all."
        )
    if kind not in CONFIG_MAPPING and "auto_map" not in says:
        raise UserError(f"{name} is a model that {version} does not know (model_type {kind}); a newer one may.")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
    except Exception as error:  # whatever a config or its code make transformers raise
        raise UserError(f"{name}: {folder / 'config.json'} cannot be read: {error}") from None


def _wrong_kind(spec: TeacherSpec, config: Any, described: bool) -> Iterator[str]:
    name, heads = spec.model_name_or_path, config.architectures or []
    suffix = {
        "sparse": "ForMaskedLM",
        "cross_encoder": "ForSequenceClassification",
        "monot5": "ForConditionalGeneration",
    }.get(spec.type)
    # A config may leave out what it is; loading then tells.
    if suffix and heads and not any(head.endswith(suffix) for head in heads):
        yield f"{name} is a {', '.join(heads)}; a teacher of type {spec.type} is a …{suffix}."
    elif spec.type == "cross_encoder" and config.num_labels != 1:
        yield f"{name} has {config.num_labels} logits; a cross-encoder that ranks has one."
    if spec.type == "dense" and not described and any(head.endswith(_OTHER_HEADS) for head in heads):
        yield (
            f"{name} is a {', '.join(heads)}, not a dense encoder; to use its hidden states as one, say how "
            "(pooling: cls, mean or max)."
        )
    if spec.type != "monot5" and config.is_encoder_decoder:
        yield f"{name} is an encoder-decoder, which a teacher of type {spec.type} cannot be."


_OTHER_HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForCausalLM", "ForTokenClassification")


def _wrong_sizes(spec: TeacherSpec, config: Any, tokenizer: Any, length_key: str) -> Iterator[str]:
    positions = longest_input(config)
    if positions and spec.max_length > positions:
        yield (
            f"{length_key}: {spec.max_length}, but {spec.model_name_or_path} has positions for {positions} tokens; "
            f"give {length_key}: {positions} or less."
        )
    framed = tokenizer.num_special_tokens_to_add(pair=spec.type == "cross_encoder")
    if spec.max_length <= framed:
        yield f"{length_key}: {spec.max_length} leaves no room beside {framed} special tokens."
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary and len(tokenizer) > vocabulary:
        yield (
            f"tokenizer_name: its {len(tokenizer)} tokens exceed the {vocabulary} of {spec.model_name_or_path}: it is "
            "another model's tokenizer."
        )


def _unfit_for_monot5(spec: TeacherSpec, tokenizer: Any) -> Iterator[str]:
    if spec.dtype == "float16":
        yield "dtype: T5 overflows in float16; use bfloat16 or float32."
    if tokenizer.unk_token_id in answer_ids(tokenizer):
        yield f"the tokenizer of {spec.model_name_or_path} has no tokens ▁true and ▁false, which monoT5 answers with."
    if len(tokenizer("Relevant:")["input_ids"]) >= spec.max_length:
        yield f'max_length: {spec.max_length} leaves no room before "Relevant:".'
