"""What a change of a key makes anew. Every key says it, in the line that defines it; nobody keeps lists of keys."""

import enum
from dataclasses import dataclass
from typing import Any

from pydantic import Field


class Changes(enum.Flag):
    """What is no longer the same once a key has another value."""

    NOTHING = 0
    WEIGHTS = enum.auto()
    """the trained weights: a run with another value is another run"""
    BEST = enum.auto()
    """the trained weights, where load_best_model_at_end chooses a checkpoint"""
    MEASURED = enum.auto()
    """the trained weights, where λ is moved by what is measured (target_d_length, target_flops)"""
    LENGTH = enum.auto()
    """how long is trained: a larger value continues the run"""
    VECTORS = enum.auto()
    """the vectors of documents or queries, as encoded"""
    RESULT = enum.auto()
    """the ranking of an evaluation"""
    FIGURES = enum.auto()
    """the figures of a ranking that is stored already"""
    ROWS = enum.auto()
    """the rows of a prepared data set"""
    PACE = enum.auto()
    """seconds for a step, or for a data set's evaluation"""


MEANINGS = {
    Changes.WEIGHTS: "weights",
    Changes.BEST: "weights (with load_best_model_at_end)",
    Changes.MEASURED: "weights (with a target)",
    Changes.LENGTH: "weights (a larger value continues)",
    Changes.VECTORS: "vectors",
    Changes.RESULT: "results",
    Changes.FIGURES: "figures",
    Changes.ROWS: "prepared rows",
}


@dataclass(frozen=True)
class Effect:
    """What a key says of itself beside type, default and meaning."""

    changes: Changes
    told: bool = False
    """a checkpoint says it of itself: where the key is not given, the checkpoint counts"""
    always_meant: bool = False
    """on an evaluation's command line it counts even where it repeats what the run was trained with"""
    by_default: bool = False
    """part of a result's hash even with its default value, as in the first version; later keys: only with others"""
    only_given: bool = False
    """counts for a prepared data set only where it is given: a later key, without which older sets stay as they are"""
    each: bool = False
    """takes several values: an evaluation is made with each of them in turn (see `Settings.one_by_one`)"""
    main_for: frozenset[str] = frozenset()
    """the commands whose short --help shows the key: train, evaluate, prepare"""

    def changes_any(self, kinds: Changes) -> bool:
        """Whether it changes one of `kinds`."""
        return bool(self.changes & kinds)

    @property
    def words(self) -> str:
        """What it makes anew, for people: "weights, vectors", or "nothing"."""
        return ", ".join(text for kind, text in MEANINGS.items() if self.changes & kind) or "nothing"


def key(
    default: Any,
    changes: Changes,
    *,
    told: bool = False,
    always_meant: bool = False,
    by_default: bool = False,
    only_given: bool = False,
    each: bool = False,
    main_for: str = "",
    **constraints: Any,
) -> Any:
    """A key: its default, what it changes (see `Effect`), and pydantic's constraints.

    Args:
        main_for: commands with spaces between, "train evaluate".
    """
    effect = Effect(changes, told, always_meant, by_default, only_given, each, frozenset(main_for.split()))
    return Field(default, json_schema_extra={"effect": effect}, **constraints)  # type: ignore[dict-item]
