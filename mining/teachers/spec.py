"""What a teacher is: how it is described, and what the two kinds of teachers can do. torch is not needed for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from scipy.sparse import csr_matrix
    from torch import Tensor

Role = Literal["query", "document"]
Progress = Callable[[int], object]
"""called with the number of texts or pairs of each batch done"""

POOLINGS = ("cls", "mean", "max")


def no_progress(done: int) -> None:
    """Where nobody watches."""


@dataclass(frozen=True)
class TeacherSpec:
    """One teacher, as the keys of a config describe it.

    Args:
        type: sparse and dense are bi-encoders, cross_encoder and monot5 read query and document together.
        model_name_or_path: a folder or hub id.
        max_length: tokens a text (or pair) is cut to, special tokens included.
        batch_size: texts (or pairs) of max_length that a batch may hold; more where they are shorter.
        weight: in the mean over teachers.
        dtype: None: bfloat16 on a GPU that has it, else float32.
        pooling: one of POOLINGS, for dense; None: as the model's own 1_Pooling/config.json says, else the first token.
        query_prefix, document_prefix: put before each text.
        trust_remote_code: run the Python code that the model's repository brings.
        tokenizer_name: folder or hub id; None: the model's own.
    """

    type: Literal["sparse", "dense", "cross_encoder", "monot5"]
    model_name_or_path: str
    max_length: int = 512
    batch_size: int = 32
    weight: float = 1.0
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    pooling: str | None = None
    query_prefix: str = ""
    document_prefix: str = ""
    trust_remote_code: bool = False
    tokenizer_name: str | None = None

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

    def prefixed(self, texts: Sequence[str], role: Role) -> list[str]:
        """The texts with the prefix of their role."""
        prefix = self.query_prefix if role == "query" else self.document_prefix
        return [prefix + text for text in texts]


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
