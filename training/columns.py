"""The columns of training rows: which there must be, what they hold, and names that nearly are one of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from retrieval.row_files import is_list_of, is_number
from sparse_model.errors import UserError

if TYPE_CHECKING:
    import datasets

COLUMNS = {"kd": ("query", "docs", "scores"), "posnegs": ("query", "pos", "negs")}


def check_columns(path: Path, rows: datasets.Dataset, data_type: str) -> set[str]:
    """The columns that there are.

    Raises:
        UserError: if one is missing or holds something else, or one that is not there is nearly there.
    """
    columns, needed = set(rows.column_names), COLUMNS[data_type]
    _ask_about_near_columns(path, rows.column_names, (*needed, "first_rank"))
    missing = [name for name in needed if name not in columns and name != "negs"]
    if missing:
        other = next((kind for kind, names in COLUMNS.items() if set(names) - {"negs"} <= columns), None)
        hint = f" These look like {other} rows: set data_type: {other}." if other else ""
        raise UserError(
            f"{path}: data_type {data_type} needs the columns {', '.join(needed)}; {', '.join(missing)} is missing "
            f"(found {', '.join(rows.column_names)}).{hint}"
        )
    schema = rows.features.arrow_schema
    for name in columns & set(needed):
        kind = schema.field(name).type
        if not _VALID_TYPE[name](kind):
            of_ids = f" {_of_ids(path)}" if "int" in str(kind) else ""
            raise UserError(f"{path}: column {name} holds {kind}, not {_EXPECTED[name]}.{of_ids}")
    first = rows.select_columns(needed[1:2])[:100][needed[1]]
    documents = [text for listed in first for text in (listed or [] if data_type == "kd" else [listed])]
    if documents and all(_ID.fullmatch(text or "") for text in documents):
        raise UserError(f"{path}: column {needed[1]} holds ids ({documents[0]!r}, …), not texts. {_of_ids(path)}")
    return columns


# What other projects' files call negs: neg, negatives, hard_negatives, negative_1, negative_passages, …
_NEGATIVES = re.compile(r"(hard)?neg(ative)?s?(texts?|docs?|documents?|passages?)?\d*")


def _ask_about_near_columns(path: Path, found: list[str], known: Sequence[str]) -> None:
    """Refuse a column that nearly has the name of one that is not there: it would be left out without a word."""
    others = {_plain(name): name for name in found if name not in known}
    for name in known:
        near = difflib.get_close_matches(_plain(name), others, n=1, cutoff=0.85)
        if name == "negs":
            near = near or [other for other in others if _NEGATIVES.fullmatch(other)]
        if name not in found and near:
            column = others[near[0]]
            raise UserError(f"{path}: column {column} is none that is read; rename it to {name}, or take it out.")


def _plain(name: str) -> str:
    """Its letters and digits: first-rank and firstRank are near first_rank."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


# A number, or a word of some length with a digit in it: documents that are all like this are ids.
_ID = re.compile(r"\d+|(?=.*\d)\S{4,64}")


def _of_ids(path: Path) -> str:
    return (
        f"Rows of ids cannot be trained on: texts are needed. python data_preparation.py source={path} makes rows of "
        "texts from kd rows of ids."
    )


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_text_list_or_empty(kind: pa.DataType) -> bool:
    return pa.types.is_null(kind) or is_list_of(lambda t: _is_text(t) or pa.types.is_null(t))(kind)


_VALID_TYPE = {
    "query": _is_text,
    "pos": _is_text,
    "docs": is_list_of(_is_text),
    "negs": _is_text_list_or_empty,
    "scores": is_list_of(is_number),
}
_EXPECTED = {
    "query": "text",
    "pos": "text",
    "docs": "lists of text",
    "negs": "lists of text",
    "scores": "lists of numbers",
}
