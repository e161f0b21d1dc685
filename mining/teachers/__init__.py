"""Models that say how well a document answers a query, to learn from.

>>> spec = TeacherSpec("cross_encoder", "cross-encoder/ms-marco-MiniLM-L-12-v2")
>>> check_teacher(spec, "teachers[0]")
>>> load_teacher(spec, "cuda").score([("a query", "a document")])  # float32 [1]

torch and transformers are imported when a teacher is looked at or loaded: a config with teachers is read without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mining.teachers.check import check_teacher
from mining.teachers.spec import BiEncoder, PairScorer, TeacherSpec
from mining.teachers.types import TYPES, TeacherType

if TYPE_CHECKING:
    import torch

__all__ = [
    "TYPES",
    "BiEncoder",
    "PairScorer",
    "TeacherSpec",
    "TeacherType",
    "check_teacher",
    "load_teacher",
    "try_teachers",
]


def try_teachers(specs: Sequence[TeacherSpec], device: str, queries: Sequence[str], documents: Sequence[str]) -> None:
    """Load one after another, and see that it works with two of these texts; see `trial.try_teacher`.

    Raises:
        UserError: of the first that does not.
    """
    import torch

    from mining.teachers.trial import try_teacher

    for spec in specs:
        try_teacher(load_teacher(spec, device), spec, spec.dtype_on(torch.device(device)), queries, documents)


def load_teacher(spec: TeacherSpec, device: str | torch.device) -> BiEncoder | PairScorer:
    """The teacher with its weights on the device: one that `encodes` is a BiEncoder, else it is a PairScorer.

    Raises:
        UserError: if its weights cannot be read or are incomplete.
    """
    import torch

    return spec.teacher_class(spec, torch.device(device))
