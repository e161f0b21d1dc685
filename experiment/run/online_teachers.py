"""kd_ensemble_teacher_kwargs: what may stand in it, and the teachers that it describes."""

import difflib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from mining.teachers import TeacherSpec, check_teacher, load_teacher
from sparse_model import UserError
from training.teachers import Encode

KEY = "kd_ensemble_teacher_kwargs"
TYPES = ("dense", "sparse")
PARTS = ("types", "model_ids", "teacher_tokenizer_ids", "score_scale", "trust_remote_code")
SCORE_SCALE = 30.0


def mistakes(asked: dict[str, Any], loss_types: Sequence[str], in_batch: bool, data_type: str | None) -> Iterator[str]:
    """Everything that is wrong with the mapping, or with having one at all."""
    for part in sorted(set(asked) - set(PARTS), key=str):
        near = difflib.get_close_matches(str(part), PARTS, n=1)
        yield f"{KEY}: unknown: {part}; " + (f"did you mean {near[0]}?" if near else f"it holds {', '.join(PARTS)}.")
    lists = [part for part in PARTS[:3] if part != "teacher_tokenizer_ids" or asked.get(part) is not None]
    wrong = [part for part in lists if not _is_list_of_names(asked.get(part))]
    if wrong:
        yield f"{KEY}: {', '.join(wrong)}: a list of names is needed, one for each teacher."
    elif len({len(asked[part]) for part in lists}) > 1:
        counts = ", ".join(f"{part} has {len(asked[part])}" for part in lists)
        yield f"{KEY}: one entry for each teacher is needed, but {counts}."
    for kind in [] if "types" in wrong else asked["types"]:
        if kind in ("cross_encoder", "monot5"):
            yield (
                f"{KEY}: types: {kind} reads query and document together, which takes too long for the pairs of every "
                "batch; score rows with it once (data_preparation.py) and train on data_type: kd."
            )
        elif kind not in TYPES:
            yield f"{KEY}: types: {kind!r} is none of {', '.join(TYPES)}."
    scale = asked.get("score_scale", SCORE_SCALE)
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
        yield f"{KEY}: score_scale: {scale!r} is no number above 0."
    if not isinstance(asked.get("trust_remote_code", False), bool):
        yield f"{KEY}: trust_remote_code: true or false."
    yield from _needless(loss_types, in_batch, data_type)


def _needless(loss_types: Sequence[str], in_batch: bool, data_type: str | None) -> Iterator[str]:
    if set(loss_types) == {"infonce"}:
        yield f"{KEY}: infonce needs no teacher; remove the key, or add kldiv or marginmse to loss_types."
    elif data_type == "kd" and not in_batch:
        yield (
            f"{KEY}: kd rows bring their scores; remove the key, or let the teachers score all documents of the batch "
            "(use_in_batch_negatives: true)."
        )


def check(asked: dict[str, Any] | None, max_length: int) -> None:
    """Fetch the teachers' files and look at them, without loading weights.

    Args:
        max_length: the student's max_seq_length: both see the same part of a text.

    Raises:
        UserError: with everything that keeps one of them from teaching.
    """
    found = []
    for number, spec in enumerate(_specs(asked, max_length)):
        try:
            check_teacher(spec, f"{KEY}: model_ids[{number}]")
        except UserError as error:
            found.append(str(error).replace("max_length:", "max_seq_length:"))
    if found:
        raise UserError("\n".join(found))


def load(asked: dict[str, Any] | None, max_length: int, device: Any) -> tuple[list[Encode], float]:
    """(what encodes texts for each teacher, the scale of their common scores); no teacher where none is asked for."""
    teachers: list[Any] = [load_teacher(spec, device) for spec in _specs(asked, max_length)]
    return [teacher.vectors for teacher in teachers], float((asked or {}).get("score_scale", SCORE_SCALE))


def _specs(asked: dict[str, Any] | None, max_length: int) -> list[TeacherSpec]:
    if asked is None:
        return []
    tokenizers = asked.get("teacher_tokenizer_ids") or [None] * len(asked["types"])
    return [
        TeacherSpec(
            type=kind,
            model_name_or_path=model,
            max_length=max_length,
            trust_remote_code=asked.get("trust_remote_code", False),
            tokenizer_name=tokenizer,
        )
        for kind, model, tokenizer in zip(asked["types"], asked["model_ids"], tokenizers, strict=True)
    ]


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) and name for name in value)
