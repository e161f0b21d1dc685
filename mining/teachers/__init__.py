"""Models that say how well a document answers a query, to learn from.

>>> spec = TeacherSpec("cross_encoder", "cross-encoder/ms-marco-MiniLM-L-12-v2")
>>> check_teacher(spec, "teachers[0]")
>>> load_teacher(spec, "cuda").score([("a query", "a document")])  # float32 [1]

What is slow to import is imported at its first use: a config with teachers is checked without torch.
"""

from typing import TYPE_CHECKING, Any

from mining.teachers.spec import BiEncoder, PairScorer, TeacherSpec

if TYPE_CHECKING:
    import torch

    from mining.teachers.check import check_teacher

__all__ = ["BiEncoder", "PairScorer", "TeacherSpec", "check_teacher", "load_teacher"]


def load_teacher(spec: TeacherSpec, device: "str | torch.device") -> BiEncoder | PairScorer:
    """The teacher with its weights on the device: a BiEncoder (sparse, dense), else a PairScorer.

    Raises:
        UserError: if its weights cannot be read or are incomplete.
    """
    import torch

    return spec.teacher_class(spec, torch.device(device))


def __getattr__(name: str) -> Any:
    if name != "check_teacher":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mining.teachers.check import check_teacher

    return check_teacher
