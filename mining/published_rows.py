"""Rows of ids with scores, as the paper's authors publish them on the hub, read as scored candidates.

opensearch-project/msmarco-hard-negatives holds {query: id, docs: [id], scores: [float]}, ids of BeIR/msmarco. Rows
with several lists of numbers, or with a struct of them, are read as rows of several teachers named after the columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mining.scored_pairs import QueryPairs, Teacher
from retrieval.beir_data import BeirData
from retrieval.fingerprint import fingerprint
from retrieval.row_files import is_list_of, is_number, read_rows, rows_on_hub
from sparse_model.errors import UserError
from sparse_model.pins import repository_and_revision

if TYPE_CHECKING:
    import datasets

QUERY_COLUMNS = ("query", "query_id", "q_id", "qid")
DOCUMENT_COLUMNS = ("docs", "doc_ids", "d_ids", "documents", "pids")
ROWS_AT_ONCE = 1000


class Published:
    """Candidates and scores of somebody's rows of ids, with a data set's texts (see mining.scored_pairs).

    Args:
        source: a hub id (or id@revision), or the path of a save_to_disk folder, of a folder of .parquet or .jsonl
            files, or of one.

    Raises:
        UserError: if it cannot be read, a column is missing, or (all of them together) ids that data lacks, lists of
            different lengths and scores that are not finite.
    """

    def __init__(self, source: str, data: BeirData) -> None:
        self.source, self.data = source, data
        self.doc_ids, self.texts = data.doc_ids, data.texts
        self._rows = _open(source)
        self._query = _column(self._rows, source, QUERY_COLUMNS)
        self._documents = _column(self._rows, source, DOCUMENT_COLUMNS)
        self._scores = _score_columns(self._rows, source, self._documents)
        self.query_ids = self._check()
        texts = dict(zip(data.query_ids, data.queries, strict=True))
        self.queries = [texts[name] for name in self.query_ids]

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """One for each list of scores, all of weight 1."""
        return tuple(Teacher(".".join(path), model=f"as in {self.source}") for path in self._scores)

    def fingerprint(self) -> str:
        """A hash of the rows as they are stored."""
        return fingerprint(file["filename"] for file in self._rows.cache_files)

    def read(self, start: int, stop: int) -> Iterator[QueryPairs]:
        """Rows start … stop - 1; see mining.scored_pairs.ReadPairs."""
        number = start
        for table in self._rows.select(range(start, stop)).with_format("arrow").iter(ROWS_AT_ONCE):
            ids = _strings(pc.list_flatten(table[self._documents]))
            documents = self.doc_ids.positions(ids)
            scores_TN = np.stack([_flat(table, path) for path in self._scores]).astype(np.float32)
            ends = np.cumsum(_lengths(table[self._documents])).tolist()
            for row, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
                grades = self.data.qrels[self.query_ids[number + row]]
                labels = np.array([grades.get(name, 0) > 0 for name in ids[first:last]], dtype=bool)
                yield QueryPairs(number + row, documents[first:last], labels, scores_TN[:, first:last])
            number += len(table)

    def _check(self) -> list[str]:
        """The rows' query ids, after a look at everything."""
        query_ids: list[str] = []
        unknown_queries: Counter[str] = Counter()
        unknown_documents: Counter[str] = Counter()
        uneven: list[int] = []
        infinite: list[int] = []
        for table in self._rows.with_format("arrow").iter(ROWS_AT_ONCE):
            names, ids = _strings(table[self._query]), _strings(pc.list_flatten(table[self._documents]))
            unknown_queries.update(name for name in names if name not in self.data.qrels)
            unknown_documents.update(ids[i] for i in np.flatnonzero(self.doc_ids.positions(ids) < 0))
            lengths = _lengths(table[self._documents])
            for path in self._scores:
                n_scores = _lengths(_nested(table, path))
                uneven += (len(query_ids) + np.flatnonzero(n_scores != lengths)).tolist()
                bad = np.flatnonzero(~np.isfinite(_flat(table, path)))
                infinite += (len(query_ids) + np.searchsorted(np.cumsum(n_scores), bad, side="right")).tolist()
            query_ids += names
        split = f"{self.data.name}, split {self.data.split}"
        mistakes = [
            *_unknown(unknown_queries, f"queries are not among the judged ones of {split}"),
            *_unknown(unknown_documents, f"documents are not in the corpus of {self.data.name}"),
            *([f"row {uneven[0]}: not as many scores as docs ({len(uneven)} such lists)."] if uneven else []),
            *(
                [f"row {infinite[0]}: a score is not a finite number ({len(infinite)} such scores)."]
                if infinite
                else []
            ),
        ]
        if mistakes:
            raise UserError("\n".join(f"source: {self.source}: {mistake}" for mistake in mistakes))
        return query_ids


def _unknown(found: Counter[str], what: str) -> list[str]:
    examples = ", ".join(map(repr, list(found)[:5]))
    remedy = "give the data set that they belong to (dataset, split), or leave these rows out."
    return [f"{len(found)} {what} ({examples}{', …' if len(found) > 5 else ''}); {remedy}"] if found else []


def _open(source: str) -> datasets.Dataset:
    import datasets  # a second of CPU

    path = Path(source)
    try:
        if not path.exists():
            repository, revision = repository_and_revision(source)
            rows = rows_on_hub(repository, revision=revision)
        elif path.is_dir() and not any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            rows = _folder_of_files(path)
        else:
            rows = read_rows(path)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(
            f"source: {source}: cannot be read ({error.__cause__ or error}); give a folder, a .parquet or .jsonl file, "
            "or the id of a data set on the hub (which needs the network the first time)."
        ) from None
    if not len(rows):
        raise UserError(f"source: {source}: holds no rows.")
    return rows


def _folder_of_files(folder: Path) -> datasets.Dataset:
    """What a clone of a hub repository holds."""
    import datasets

    for ending in ("parquet", "jsonl"):
        if files := sorted(folder.rglob(f"*.{ending}")):
            return datasets.concatenate_datasets([read_rows(file) for file in files])
    raise UserError(f"source: {folder}: holds no data set of datasets.save_to_disk, no .parquet and no .jsonl file.")


def _column(rows: datasets.Dataset, source: str, names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in rows.column_names), None)
    if found is None:
        raise UserError(
            f"source: {source}: no column {' or '.join(names)} (found {', '.join(rows.column_names)}); rows of ids "
            "hold a query, its docs and their scores."
        )
    return found


def _score_columns(rows: datasets.Dataset, source: str, documents: str) -> list[tuple[str, ...]]:
    """Where the lists of scores are: a column, or a field of a struct."""
    scores = is_list_of(is_number)
    found: list[tuple[str, ...]] = []
    for field in rows.features.arrow_schema:
        if scores(field.type) and field.name not in DOCUMENT_COLUMNS:
            found.append((field.name,))
        elif pa.types.is_struct(field.type):
            found += [(field.name, inner.name) for inner in field.type if scores(inner.type)]
    if not found:
        raise UserError(
            f"source: {source}: no column of scores (lists of numbers, beside {documents}); found "
            f"{', '.join(rows.column_names)}."
        )
    return found


def _nested(table: pa.Table, path: tuple[str, ...]) -> pa.ChunkedArray:
    column = table[path[0]]
    return pc.struct_field(column, path[1:]) if path[1:] else column


def _flat(table: pa.Table, path: tuple[str, ...]) -> np.ndarray:
    values = pc.list_flatten(_nested(table, path)).cast(pa.float64())
    return pc.fill_null(values, float("nan")).to_numpy()


def _lengths(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)


def _strings(column: pa.ChunkedArray) -> list[str]:
    return column.cast(pa.string()).to_pylist()
