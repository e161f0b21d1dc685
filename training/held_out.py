"""Documents that training does not use: chosen from its rows by seed, and every row that holds one is left out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparse_model.errors import UserError

if TYPE_CHECKING:
    from training.data import Examples

# Documents that are wanted, those looked at for them, and the most of the rows that may be left out.
WANTED, LOOKED_AT, MOST_ROWS = 200, 1000, 0.1


@dataclass(frozen=True)
class HeldOut:
    """Documents, the queries of all rows that hold one of them, and those rows' numbers in each file."""

    documents: list[str]
    queries: list[str]
    rows: list[list[int]]

    def leave_out(self, parts: Sequence[Examples]) -> None:
        """Take the rows out of training."""
        for part, rows in zip(parts, self.rows, strict=True):
            part.leave_out(rows)

    def sentence(self) -> str:
        """What was held out, for people."""
        return f"{len(self.documents)} documents, for which {sum(map(len, self.rows)):,} rows are not trained on"


def hold_out(parts: Sequence[Examples], seed: int) -> HeldOut:
    """Choose them: those that stand in the fewest rows first, since all of these are lost to training.

    Raises:
        UserError: if a single one would take more than a tenth of the rows.
    """
    candidates = _candidates(parts, random.Random(seed))
    found: dict[int, list[tuple[int, int]]] = {}
    for place, candidate in _occurrences(parts, candidates):
        found.setdefault(candidate, []).append(place)
    room = MOST_ROWS * sum(len(part.row_numbers) for part in parts)
    documents: list[str] = []
    held: set[tuple[int, int]] = set()
    for candidate in sorted(found, key=lambda one: (len(found[one]), one)):
        together = held.union(found[candidate])
        if len(documents) < WANTED and len(together) <= room:
            documents.append(candidates[candidate])
            held = together
    if not documents:
        raise UserError(
            "train_file: a target is measured on documents that are not trained on, and there is none whose rows are a "
            f"tenth of these {sum(len(part.row_numbers) for part in parts)} or fewer; give more rows."
        )
    rows = [sorted(row for of_part, row in held if of_part == number) for number in range(len(parts))]
    queries = {part.rows[row]["query"]: None for part, listed in zip(parts, rows, strict=True) for row in listed}
    return HeldOut(documents, list(queries), rows)


def _candidates(parts: Sequence[Examples], random_: random.Random) -> list[str]:
    """A document of each of some rows: the positive, or any of a row of scored ones."""
    ends = np.cumsum([len(part.row_numbers) for part in parts])
    chosen: dict[str, None] = {}
    for index in random_.sample(range(int(ends[-1])), min(LOOKED_AT, int(ends[-1]))):
        number = int(np.searchsorted(ends, index, side="right"))
        part = parts[number]
        row = part.rows[int(part.row_numbers[index - int(ends[number])])]
        text = random_.choice(row["docs"]) if part.data_type == "kd" else row["pos"]
        if text.strip():
            chosen[text] = None
    return list(chosen)


def _occurrences(parts: Sequence[Examples], candidates: list[str]) -> Iterator[tuple[tuple[int, int], int]]:
    """((file, row), candidate) wherever one stands in a row."""
    wanted = pa.array(candidates, pa.large_string())
    for number, part in enumerate(parts):
        columns = [name for name in ("docs", "pos", "negs") if name in part.rows.column_names]
        start = 0
        for table in part.rows.select_columns(columns).with_format("arrow").iter(batch_size=4096):
            for name in columns:
                rows, texts = _flat(table[name].combine_chunks())
                at = pc.index_in(texts.cast(pa.large_string()), value_set=wanted)
                for position in np.flatnonzero(pc.is_valid(at).to_numpy(zero_copy_only=False)):
                    yield (number, start + int(rows[position])), at[int(position)].as_py()
            start += len(table)


def _flat(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """(the row of each text, the texts) of a column of texts, or of lists of texts."""
    if pa.types.is_null(column.type):
        return np.zeros(0, int), pa.array([], pa.string())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.arange(len(column)), column
    return pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column)
