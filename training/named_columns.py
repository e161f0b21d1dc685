"""Rows whose columns have other names or shapes than ours, brought to ours as the key `columns` says.

Also the usual names in other projects' files (sentence-transformers', FlagEmbedding's), to propose that key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.fingerprint import fingerprint, hash_of
from retrieval.row_files import is_list_of, is_number, is_text
from sparse_model.errors import UserError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

COLUMNS = {"kd": ("query", "docs", "scores"), "posnegs": ("query", "pos", "negs")}
ONE_VALUE = ("query", "first_rank")  # the others are lists, or become one
NUMBERS = ("scores", "first_rank")


def in_our_columns(
    path: Path, rows: datasets.Dataset, data_type: str, columns: Mapping[str, Sequence[str]]
) -> datasets.Dataset:
    """The rows under our names and in our shapes, made once and memory-mapped; as they are if `columns` is empty.

    Of each of our names the columns that `columns` gives, else the one that is called so; the rest is left out. Texts
    and lists of several columns become one list, without negatives that are null. A row of several positives becomes a
    row for each.

    Raises:
        UserError: for columns that are not there or hold something else, and rows without query or positive.
    """
    if not columns:
        return rows
    import datasets

    names = [name for name in (*COLUMNS[data_type], "first_rank") if name in {*columns, *rows.column_names}]
    sources = {name: list(columns.get(name, [name])) for name in names}
    _check_sources(path, rows, sources)
    key = hash_of([fingerprint(file["filename"] for file in rows.cache_files), data_type, sources])
    kept = Path(datasets.config.HF_DATASETS_CACHE, "columns", f"{key}.arrow")
    kept.parent.mkdir(parents=True, exist_ok=True)
    return rows.map(
        lambda batch, numbers: _in_shape(path, batch, numbers, data_type, sources),
        with_indices=True,
        batched=True,
        remove_columns=rows.column_names,
        features=datasets.Features.from_arrow_schema(_schema(names)),
        cache_file_name=str(kept),
        load_from_cache_file=True,
        new_fingerprint=key[:16],
        desc=f"columns of {path.name}",
    )


def _check_sources(path: Path, rows: datasets.Dataset, sources: Mapping[str, Sequence[str]]) -> None:
    schema, found = rows.features.arrow_schema, rows.column_names
    mistakes = [f"there is no column {name}" for listed in sources.values() for name in listed if name not in found]
    for name, listed in sources.items():
        fits = is_number if name in NUMBERS else is_text
        for column in (column for column in listed if column in found):
            kind = schema.field(column).type
            if not (_is_null(kind) or fits(kind) or (name not in ONE_VALUE and is_list_of(_or_null(fits))(kind))):
                what = ("a number" if name in NUMBERS else "a text") + (
                    "" if name in ONE_VALUE else " or a list of such"
                )
                mistakes.append(f"{column} holds {kind}, and {name} needs {what}")
    if mistakes:
        raise UserError(f"{path}: columns: {'; '.join(mistakes)} (found {', '.join(found)}).")


def _in_shape(
    path: Path, batch: Mapping[str, list[Any]], numbers: Sequence[int], data_type: str, sources: Mapping[str, list[str]]
) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = {name: [] for name in sources}
    for place, number in enumerate(numbers):
        row: dict[str, Any] = {name: _listed(batch[column][place] for column in sources[name]) for name in sources}
        for name in {*ONE_VALUE} & row.keys():
            row[name] = row[name][0] if row[name] else None
        positives = [text for text in row.get("pos", []) if text is not None]
        for name, there in {"query": row.get("query") is not None, "pos": data_type == "kd" or positives}.items():
            if name in sources and not there:
                raise UserError(f"{path}: row {number}: {name} ({', '.join(sources[name])}) is missing.")
        if "negs" in row:
            row["negs"] = [text for text in row["negs"] if text is not None]
        for positive in positives or [None]:
            for name, value in row.items():
                made[name].append(positive if name == "pos" else value)
    return made


def _listed(values: Any) -> list[Any]:
    """Values and lists of values as one list."""
    return [each for value in values for each in (value if isinstance(value, list) else [value])]


def _schema(names: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    kinds = {"first_rank": pa.float64(), "query": pa.string(), "pos": pa.string(), "scores": pa.list_(pa.float64())}
    return pa.schema([(name, kinds.get(name, pa.list_(pa.string()))) for name in names])


def _is_null(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_null(kind)


def _or_null(fits: Any) -> Any:
    return lambda kind: _is_null(kind) or fits(kind)


# Names in other projects' files; the first that is there counts.
_QUERIES = ("query", "anchor", "question", "sentence1", "sentence_0")
_POSITIVES = ("pos", "positive", "positives", "answer", "sentence2", "sentence_1")
_SCORES = (("pos_scores", "neg_scores"), ("scores",), ("label",), ("labels",))
# neg, negatives, hard_negatives, negative_1, negative_passages, …
_NEGATIVES = re.compile(r"(hard)?neg(ative)?s?(texts?|docs?|documents?|passages?)?\d*")


def is_negatives(name: str) -> bool:
    """Whether a column's name says that it holds negatives."""
    return bool(_NEGATIVES.fullmatch(plain(name)))


def plain(name: str) -> str:
    """Its letters and digits: first-rank and firstRank are near first_rank."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def proposed(found: Sequence[str], data_type: str) -> str:
    """The line of a config that names a file's columns, if they have usual names: "columns: {query: anchor, …}"."""
    query = next((name for name in _QUERIES if name in found), None)
    positive = next((name for name in _POSITIVES if name in found and name != query), None)
    negatives = [name for name in found if is_negatives(name)]
    scores = next((list(names) for names in _SCORES if {*names} <= {*found}), None)
    if query is None or positive is None or (data_type == "kd" and not (scores and negatives)):
        return ""
    named = {"query": query}
    if data_type == "kd":
        named |= {"docs": _flow([positive, *negatives]), "scores": _flow(scores or [])}
    else:
        named |= {"pos": positive} | ({"negs": _flow(negatives)} if negatives else {})
    return f"columns: {{{', '.join(f'{name}: {value}' for name, value in named.items())}}}"


def _flow(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"
