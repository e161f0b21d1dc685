"""The types of teachers: one entry each, read by the settings, by the checks and by what loads one.

torch is loaded with the first teacher: what may stand in a config is told without it. A `spec` here is a TeacherSpec,
which is built on this table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mining.teachers.dense_layout import check_prompts, dense_layout
from sparse_model.description import describe


def _as_it_lies(spec: Any, folder: Path) -> tuple[Path, bool]:
    return folder, False


def _none(spec: Any, config: Any, tokenizer: Any, described: bool) -> Iterator[str]:
    yield from ()


class TeacherType(NamedTuple):
    """What a name in `type` stands for."""

    encodes: bool
    """queries and documents one by one (`BiEncoder`); else it reads them together (`PairScorer`)"""
    implementation: str
    """module:class, imported when one is loaded; it is made of a spec and a device"""
    head: str | None
    """how the architecture in its config.json ends; None: an encoder without head"""
    encoder_decoder: bool = False
    frames_pairs: bool = False
    """the tokenizer puts special tokens between query and document"""
    locate: Callable[[Any, Path], tuple[Path, bool]] = _as_it_lies
    """(the folder of the transformer itself, whether the model says of itself that it is of this type)"""
    mistakes: Callable[[Any, Any, Any, bool], Iterator[str]] = _none
    """what else is wrong, from spec, config, tokenizer and whether the model says what it is"""


def _locate_sparse(spec: Any, folder: Path) -> tuple[Path, bool]:
    says = describe(folder)
    return folder / says.mlm_subfolder, says.activation_type is not None


def _locate_dense(spec: Any, folder: Path) -> tuple[Path, bool]:
    layout = dense_layout(folder, spec.pooling)
    check_prompts(folder, spec.prefixes)
    return layout.folder, layout.described or spec.pooling is not None


_OTHER_HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForCausalLM", "ForTokenClassification")


def _dense_mistakes(spec: Any, config: Any, tokenizer: Any, described: bool) -> Iterator[str]:
    heads = config.architectures or []
    if not described and any(head.endswith(_OTHER_HEADS) for head in heads):
        yield (
            f"{spec.model_name_or_path} is a {', '.join(heads)}, not a dense encoder; to use its hidden states as one, "
            "say how (pooling: cls, mean or max)."
        )


def _cross_encoder_mistakes(spec: Any, config: Any, tokenizer: Any, described: bool) -> Iterator[str]:
    heads = config.architectures
    # Of another head the number of logits means nothing.
    if config.num_labels != 1 and (not heads or any(head.endswith("ForSequenceClassification") for head in heads)):
        yield f"{spec.model_name_or_path} has {config.num_labels} logits; a cross-encoder that ranks has one."


def answer_ids(tokenizer: object) -> list[int]:
    """The ids of "true" and "false" at the beginning of a word; the unknown token's id where there is none."""
    return tokenizer.convert_tokens_to_ids(["▁true", "▁false"])  # type: ignore[attr-defined]


def _monot5_mistakes(spec: Any, config: Any, tokenizer: Any, described: bool) -> Iterator[str]:
    if spec.dtype == "float16":
        yield "dtype: T5 overflows in float16; use bfloat16 or float32."
    if tokenizer.unk_token_id in answer_ids(tokenizer):
        yield f"the tokenizer of {spec.model_name_or_path} has no tokens ▁true and ▁false, which monoT5 answers with."
    if len(tokenizer("Relevant:")["input_ids"]) >= spec.max_length:
        yield f'max_length: {spec.max_length} leaves no room before "Relevant:".'


TYPES = {
    "sparse": TeacherType(True, "mining.teachers.bi_encoders:SparseTeacher", "ForMaskedLM", locate=_locate_sparse),
    "dense": TeacherType(
        True, "mining.teachers.bi_encoders:DenseTeacher", None, locate=_locate_dense, mistakes=_dense_mistakes
    ),
    "cross_encoder": TeacherType(
        False,
        "mining.teachers.pair_scorers:CrossEncoderTeacher",
        "ForSequenceClassification",
        frames_pairs=True,
        mistakes=_cross_encoder_mistakes,
    ),
    "monot5": TeacherType(
        False,
        "mining.teachers.pair_scorers:MonoT5Teacher",
        "ForConditionalGeneration",
        encoder_decoder=True,
        mistakes=_monot5_mistakes,
    ),
}
