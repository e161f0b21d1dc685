"""What a teacher is: how it is described, and what the two kinds of teachers can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mining.teachers.types import TYPES
from sparse_model.limits import SHORTEST
from sparse_model.pins import at

if TYPE_CHECKING:  # a config is checked without them
    import numpy as np
    import torch
    from scipy.sparse import csr_matrix
    from torch import Tensor

Role = Literal["query", "document"]
Progress = Callable[[int], object]
"""called with the number of texts or pairs of each batch done"""

if TYPE_CHECKING:
    TypeName = str
else:
    TypeName = Literal[tuple(TYPES)]


def no_progress(done: int) -> None:
    """Where nobody watches."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True, protected_namespaces=()))
class TeacherSpec:
    """One entry of `teachers`"""

    type: TypeName
    """sparse (siamese unless its checkpoint says otherwise) and dense encode texts, the others read pairs"""
    model_name_or_path: str
    """folder or hub id"""
    max_length: Annotated[int, Field(ge=SHORTEST)] = 512
    """tokens a text (or a pair) is cut to, special tokens included"""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """texts (or pairs) of max_length that a batch may hold; more where they are shorter"""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """in the mean over teachers"""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """null: bfloat16 on a GPU that has it, else float32"""
    pooling: Literal["cls", "mean", "max"] | None = None
    """dense: null: as its 1_Pooling/config.json says, else the first token"""
    query_prefix: str = ""
    """text before each query; of a sparse teacher in place of the prompt that its checkpoint says"""
    document_prefix: str = ""
    """text before each document; likewise"""
    trust_remote_code: bool = False
    """run the Python code that the model's repository brings (gte-large's, at a fixed commit, runs without)"""
    tokenizer_name: str | None = None
    """folder or hub id of the tokenizer (id@revision for other than its newest); null: the model's"""
    revision: str | None = None
    """branch, tag or commit of the model's repository; null: the newest (or as sparse_model/pins.py says)"""
    code_revision: str | None = None
    """the same of the repository that its Python code lies in"""

    @property
    def located(self) -> str:
        """Folder, hub id, or id@revision."""
        return at(self.model_name_or_path, self.revision)

    @property
    def facts(self) -> dict[str, Any]:
        """Every field, for a hash; a later one only where it is given, so that older hashes stay as they are."""
        return {name: value for name, value in asdict(self).items() if value is not None or name not in _LATER}

    @property
    def teacher_class(self) -> Callable[[TeacherSpec, torch.device], BiEncoder | PairScorer]:
        """What is made of it."""
        module, name = TYPES[self.type].implementation.split(":")
        return getattr(import_module(module), name)

    @property
    def name(self) -> str:
        """A label: the last part of the path."""
        return Path(self.model_name_or_path).name or Path(self.model_name_or_path).resolve().name

    @property
    def max_tokens(self) -> int:
        """Tokens of a batch, padding included."""
        return self.batch_size * self.max_length

    def dtype_on(self, device: torch.device) -> torch.dtype:
        """The dtype that the model computes in there."""
        import torch

        if self.dtype is not None:
            return getattr(torch, self.dtype)
        # Cards before Ampere only emulate bfloat16, slowly.
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32

    @property
    def prefixes(self) -> dict[str, str]:
        """Role → the text before each of its texts."""
        return {"query": self.query_prefix, "document": self.document_prefix}

    def prefixed(self, texts: Sequence[str], role: Role) -> list[str]:
        """The texts with the prefix of their role."""
        return [self.prefixes[role] + text for text in texts]


_LATER = ("revision", "code_revision")


class BiEncoder(Protocol):
    """Encodes queries and documents one by one; a pair's score is the dot product of two rows."""

    encodes: ClassVar[bool]
    """true"""

    def encode(self, texts: Sequence[str], role: Role, progress: Progress = no_progress) -> csr_matrix | np.ndarray:
        """float32 [n, V] (sparse) or [n, D] in the order of `texts`."""

    def vectors(self, texts: Sequence[str], role: Role) -> Tensor:
        """The same as one dense float32 tensor on the teacher's device, without gradient."""
        ...


class PairScorer(Protocol):
    """Reads query and document together."""

    encodes: ClassVar[bool]
    """false"""

    def score(self, pairs: Sequence[tuple[str, str]], progress: Progress = no_progress) -> np.ndarray:
        """float32 [n], higher is more relevant, in the order of `pairs` (query, document)."""
