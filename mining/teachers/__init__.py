"""Models that say how well a document answers a query, to learn from.

>>> spec = TeacherSpec("cross_encoder", "cross-encoder/ms-marco-MiniLM-L-12-v2")
>>> check_teacher(spec, "teachers[0]")
>>> load_teacher(spec, "cuda").score([("a query", "a document")])  # float32 [1]
"""

from collections.abc import Callable

import torch

from mining.teachers.bi_encoders import DenseTeacher, SparseTeacher
from mining.teachers.check import check_teacher
from mining.teachers.pair_scorers import CrossEncoderTeacher, MonoT5Teacher
from mining.teachers.spec import BiEncoder, PairScorer, TeacherSpec

__all__ = ["BiEncoder", "PairScorer", "TeacherSpec", "check_teacher", "load_teacher"]

_TYPES: dict[str, Callable[[TeacherSpec, torch.device], BiEncoder | PairScorer]] = {
    "sparse": SparseTeacher,
    "dense": DenseTeacher,
    "cross_encoder": CrossEncoderTeacher,
    "monot5": MonoT5Teacher,
}


def load_teacher(spec: TeacherSpec, device: str | torch.device) -> BiEncoder | PairScorer:
    """The teacher with its weights on the device: a BiEncoder (sparse, dense), else a PairScorer.

    Raises:
        UserError: if its weights cannot be read or are incomplete.
    """
    return _TYPES[spec.type](spec, torch.device(device))
