"""The columns of training rows: which there must be, what they hold, and names that nearly are one of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from retrieval.row_files import is_list_of, is_number, is_text
from sparse_model.errors import UserError
from training.named_columns import COLUMNS, is_negatives, plain, proposed

if TYPE_CHECKING:
    import datasets


def check_columns(path: Path, rows: datasets.Dataset, data_type: str) -> set[str]:
    """The columns that there are.

    Raises:
        UserError: if one is missing or holds something else, or one that is not there is nearly there.
    """
    columns, needed = set(rows.column_names), COLUMNS[data_type]
    line, others = _proposal(rows.column_names, data_type)
    _ask_about_near_columns(path, rows.column_names, (*needed, "first_rank"), line)
    missing = [name for name in needed if name not in columns and name != "negs"]
    if missing:
        other = next((kind for kind, names in COLUMNS.items() if set(names) - {"negs"} <= columns), None)
        hint = f" These look like {other} rows: set data_type: {other}.{line}" if other else line or others
        raise UserError(
            f"{path}: data_type {data_type} needs the columns {', '.join(needed)}; {', '.join(missing)} is missing "
            f"(found {', '.join(rows.column_names)}).{hint}"
        )
    schema = rows.features.arrow_schema
    for name in columns & set(needed):
        kind = schema.field(name).type
        if not _VALID_TYPE[name](kind):
            of_ids = f" {_of_ids(path)}" if "int" in str(kind) else ""
            shaped = line if is_text(kind) or is_list_of(is_text)(kind) else ""
            raise UserError(f"{path}: column {name} holds {kind}, not {_EXPECTED[name]}.{of_ids}{shaped}")
    first = rows.select_columns(needed[1:2])[:100][needed[1]]
    documents = [text for listed in first for text in (listed or [] if data_type == "kd" else [listed])]
    if documents and all(_ID.fullmatch(text or "") for text in documents):
        raise UserError(f"{path}: column {needed[1]} holds ids ({documents[0]!r}, …), not texts. {_of_ids(path)}")
    return columns


def _proposal(found: list[str], data_type: str) -> tuple[str, str]:
    """(what to add to a message where the columns have usual names, the same for the other data_type)."""
    other = next(kind for kind in COLUMNS if kind != data_type)
    mine, others = proposed(found, data_type), proposed(found, other)
    return (f" Or give {mine}" if mine else ""), (f" Give data_type: {other} and {others}" if others else "")


def _ask_about_near_columns(path: Path, found: list[str], known: Sequence[str], line: str) -> None:
    """Refuse a column that nearly has the name of one that is not there: it would be left out without a word."""
    others = {plain(name): name for name in found if name not in known}
    for name in known:
        near = difflib.get_close_matches(plain(name), others, n=1, cutoff=0.85)
        if name == "negs":
            near = near or [other for other in others if is_negatives(other)]
        if name not in found and near:
            column = others[near[0]]
            hint = line if name in ("negs", "pos") else ""
            raise UserError(f"{path}: column {column} is none that is read; rename it to {name}, or take it out.{hint}")


# A number, or a word of some length with a digit in it: documents that are all like this are ids.
_ID = re.compile(r"\d+|(?=.*\d)\S{4,64}")


def _of_ids(path: Path) -> str:
    return (
        f"Rows of ids cannot be trained on: texts are needed. python data_preparation.py source={path} makes rows of "
        "texts from kd rows of ids."
    )


def _is_text_list_or_empty(kind: pa.DataType) -> bool:
    return pa.types.is_null(kind) or is_list_of(lambda t: is_text(t) or pa.types.is_null(t))(kind)


_VALID_TYPE = {
    "query": is_text,
    "pos": is_text,
    "docs": is_list_of(is_text),
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
