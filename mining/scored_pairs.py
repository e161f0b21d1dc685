"""What mining and scoring hand to the last stages: each query's candidates with the teachers' scores, and the texts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class QueryPairs:
    """The candidates of one query."""

    query: int
    """Its position in the order of the queries' file."""
    documents: np.ndarray
    """int64 [n]: positions in the corpus, in the miner's order."""
    labels: np.ndarray
    """bool [n]: judged positive."""
    scores: np.ndarray
    """float32 [T, n]: raw scores of T teachers."""


ReadPairs = Callable[[int, int], Iterator[QueryPairs]]
"""read(start, stop) gives queries start … stop - 1, in that order and all of them, those without candidates too."""


class Texts(Protocol):
    """Ids and texts that the positions in QueryPairs stand for."""

    @property
    def query_ids(self) -> Sequence[str]:
        """In the order of the queries' file."""

    @property
    def queries(self) -> Sequence[str]:
        """Their texts."""

    @property
    def doc_ids(self) -> Sequence[str]:
        """The corpus, in the order of QueryPairs.documents."""

    @property
    def texts(self) -> Sequence[str]:
        """The documents' texts."""


@dataclass(frozen=True)
class Teacher:
    """A row of QueryPairs.scores."""

    name: str
    """The key of the raw scores in a row; no two teachers have the same."""
    weight: float = 1.0
    model: str = ""
    """What the data card says of it: type and model."""
