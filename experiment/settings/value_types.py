"""Types of values that keys have: what is accepted, and how a comma string becomes a list."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from losses import RANKING
from mining.teachers import TYPES
from retrieval.dataset_names import split_up
from sparse_model import limits
from sparse_model.activations import ACTIVATIONS


def _split_commas(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, str):
        return value
    parts = re.split(r",(?![^()]*\))", value)  # a metric may hold commas between parentheses
    return [part.strip() for part in parts if part.strip()]


def _split_up(names: list[str]) -> list[str]:
    return [part for name in names for part in split_up(name)]


Names = Annotated[list[str], BeforeValidator(_split_commas)]
DataSets = Annotated[Names, AfterValidator(_split_up)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
LexicalShareValue = Annotated[float, Field(ge=0, le=limits.MAX_LEXICAL_SHARE)]
Share = Annotated[float, Field(ge=limits.SHARE_FROM, lt=limits.SHARE_BELOW)]
Length = Annotated[int, Field(ge=limits.SHORTEST)]
Name = Annotated[str, Field(min_length=1)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) else _split_commas(value)


def _distinct(seeds: list[int]) -> list[int]:
    if len({*seeds}) < len(seeds):
        raise ValueError("each seed once")
    return seeds


def _or_null(value: Any) -> Any:
    parts = _split_commas(value)
    return [None if part == "null" else part for part in parts] if isinstance(parts, list) else parts


def _each(value: Any, checked: ValidatorFunctionWrapHandler) -> Any:
    parts = _or_null(value)
    if not isinstance(parts, list):
        return checked(value)
    if not parts:
        raise ValueError("at least one value")
    values = [checked(part) for part in parts]
    return values[0] if len(values) == 1 else values


T = TypeVar("T")
# One value, or a list (or comma string) of several; whoever uses it is given one (`Settings.one_by_one`).
if TYPE_CHECKING:
    Several = Annotated[T, "one"]
else:
    Several = Annotated[T, WrapValidator(_each), PlainSerializer(lambda value: value)]  # a list is no T, but meant

Seed = Annotated[int, Field(ge=0)]
Seeds = Annotated[list[Seed], BeforeValidator(_as_list), AfterValidator(_distinct), Field(min_length=1)]
# The values of `engine`; what each of them opens: experiment/run/engines.py.
ENGINE_NAMES = EXACT, OPENSEARCH = "exact", "opensearch"
if TYPE_CHECKING:
    Activation = str
    EngineName = str
    RankingLoss = str
    EncodingType = str
else:
    Activation = Literal[tuple(ACTIVATIONS)]
    EngineName = Literal[ENGINE_NAMES]
    RankingLoss = Literal[tuple(RANKING)]
    EncodingType = Literal[tuple(sorted(name for name, kind in TYPES.items() if kind.encodes))]


def _encodes_texts(kind: Any) -> Any:
    if isinstance(kind, str) and kind in TYPES and not TYPES[kind].encodes:
        raise ValueError(
            f"{kind} reads query and document together, which takes too long for the pairs of every batch; score rows "
            "with it once (data_preparation.py) and train on data_type: kd."
        )
    return kind


RankingLosses = Annotated[list[RankingLoss], BeforeValidator(_split_commas), Field(min_length=1)]
# As in pairs.pseudo_queries, whose import takes a second.
PSEUDO_KINDS = ("titles", "headings", "first_sentences", "cloze", "spans", "keywords")
# Those that snowballstemmer has a stemmer for and bm25s stop words, whose imports take as long.
LANGUAGES = (
    *("danish", "dutch", "english", "french", "german", "italian", "norwegian", "portuguese", "russian", "spanish"),
    *("swedish", "turkish"),
)
if TYPE_CHECKING:
    PseudoKind = str
    Language = str
else:
    PseudoKind = Literal[PSEUDO_KINDS]
    Language = Literal[LANGUAGES]
PseudoKinds = Annotated[list[PseudoKind], BeforeValidator(_split_commas), Field(min_length=1)]
LadderShare = Annotated[float, Field(gt=0, le=limits.MAX_LEXICAL_SHARE)]
Shares = Annotated[list[LadderShare], BeforeValidator(_split_commas), Field(min_length=1)]
Cuts = Annotated[list[Positive | None], BeforeValidator(_or_null)]
OnlineType = Annotated[EncodingType, BeforeValidator(_encodes_texts)]
