"""Teachers that score each batch while training: those that kd_ensemble_teacher_kwargs describes."""

from collections.abc import Sequence
from typing import Any

from experiment.settings.keys import OnlineTeachers
from experiment.settings.mistakes import Mistake, as_mistakes, refuse
from mining.teachers import TeacherSpec, check_teacher, load_teacher
from sparse_model import UserError
from training.teachers import Encode

KEY = "kd_ensemble_teacher_kwargs"


def asked_teachers(asked: OnlineTeachers | None, trust_all: bool) -> OnlineTeachers | None:
    """What the key says; a trust_remote_code for all teachers counts for these too."""
    return asked.model_copy(update={"trust_remote_code": True}) if asked and trust_all else asked


def check(asked: OnlineTeachers | None, max_length: int) -> None:
    """Fetch the teachers' files and look at them, without loading weights.

    Args:
        max_length: the student's max_seq_length: both see the same part of a text.

    Raises:
        Mistakes: everything that keeps one of them from teaching.
    """
    found: list[Mistake] = []
    for number, spec in enumerate(_specs(asked, max_length)):
        try:
            check_teacher(spec, f"{KEY}: model_ids[{number}]", length_key="max_seq_length")
        except UserError as error:
            found += as_mistakes(error)
    refuse(found)


def load(asked: OnlineTeachers | None, max_length: int, device: Any) -> Sequence[Encode]:
    """What encodes texts for each teacher, after a look at two of its vectors; none where none is asked for."""
    import torch

    from mining.teachers.trial import try_teacher

    specs = _specs(asked, max_length)
    teachers: list[Any] = [load_teacher(spec, device) for spec in specs]
    for teacher, spec in zip(teachers, specs, strict=True):
        try_teacher(teacher, spec, spec.dtype_on(torch.device(device)))
    return [teacher.vectors for teacher in teachers]


def _specs(asked: OnlineTeachers | None, max_length: int) -> list[TeacherSpec]:
    if asked is None:
        return []
    none = [None] * len(asked.types)
    each = (asked.teacher_tokenizer_ids or none, asked.revisions or none, asked.code_revisions or none)
    return [
        TeacherSpec(
            type=kind,
            model_name_or_path=model,
            max_length=max_length,
            trust_remote_code=asked.trust_remote_code,
            tokenizer_name=tokenizer,
            revision=revision,
            code_revision=code,
        )
        for kind, model, tokenizer, revision, code in zip(asked.types, asked.model_ids, *each, strict=True)
    ]
