"""Models that say how well a document answers a query, to learn from.

>>> spec = TeacherSpec("cross_encoder", "cross-encoder/ms-marco-MiniLM-L-12-v2")
>>> check_teacher(spec, "teachers[0]")
>>> load_teacher(spec, "cuda").score([("a query", "a document")])  # float32 [1]
"""

from mining.teachers.check import check_teacher
from mining.teachers.spec import BiEncoder, PairScorer, TeacherSpec
from mining.teachers.types import TYPES, TeacherType, load_teacher

__all__ = ["TYPES", "BiEncoder", "PairScorer", "TeacherSpec", "TeacherType", "check_teacher", "load_teacher"]
