"""Training rows and the examples cut from them.

kd row: {query, docs, scores}, documents sorted by score. From n documents and G a query come n // G examples;
example i takes documents i, i + n//G, i + 2(n//G), …, so that each spans the ranks.
posnegs row: {query, pos, negs}. negs are cut in order into len // G examples of G negatives each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset, Sampler

from retrieval.files import read_json
from retrieval.row_files import is_number, read_rows
from sparse_model.errors import UserError
from training.columns import check_columns
from training.named_columns import COLUMNS, in_our_columns
from training.row_counts import score_orders

if TYPE_CHECKING:
    import datasets


@dataclass
class Example:
    """One query with its documents (document 0 the positive where that counts) and, for kd, their scores."""

    query: str
    documents: list[str]
    scores: list[float] = field(default_factory=list)


class Examples(Dataset[Example]):
    """The examples of one file of rows; nothing but row numbers and counts is held in memory.

    Args:
        path: a datasets.save_to_disk folder, a .jsonl or a .parquet file.
        documents_per_query: G, see the module.
        swap_times: kd, random swaps of two documents of a row before it is cut, the same in every epoch.
        named: our names to the file's columns, where these differ (the key `columns`).
        without_negatives: posnegs rows may have no negs (in-batch negatives): one example of the positive alone.

    Raises:
        UserError: naming file and row, for columns or values that cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        data_type: str,
        *,
        documents_per_query: int,
        first_rank_thresh: int = 10000,
        score_scale: float = 1.0,
        swap_times: int = 0,
        seed: int = 0,
        without_negatives: bool = False,
        named: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.path, self.data_type, self.group = Path(path), data_type, documents_per_query
        self.score_scale, self.swap_times, self.seed = score_scale, swap_times, seed
        rows = in_our_columns(self.path, read_rows(self.path), data_type, named or {})
        columns = check_columns(self.path, rows, data_type)
        self.has_negatives = data_type == "kd" or "negs" in columns
        scan = _scan(self.path, rows, data_type, columns, first_rank_thresh)
        self.filtered_rows = int((~scan.kept).sum())
        self.unsorted_rows, self.rising_rows = scan.unsorted, scan.rising
        counts = scan.items_per_row // self.group
        if data_type == "posnegs" and without_negatives and not scan.items_per_row.any():
            counts, self.has_negatives = np.ones_like(counts), False
        counts = np.where(scan.kept, counts, 0)
        self.dropped_rows = int((counts == 0).sum())
        used = counts[counts > 0] * self.group if self.has_negatives else np.zeros(1, dtype=int)
        self.dropped_documents = int(scan.items_per_row[counts > 0].sum() - used.sum())
        self.row_numbers = np.flatnonzero(counts)
        self.items_per_row = scan.items_per_row[self.row_numbers]
        self.ends = np.cumsum(counts[self.row_numbers])
        self.counts = counts[self.row_numbers]
        self.rows = rows.select_columns([name for name in COLUMNS[data_type] if name in columns])
        if len(self) == 0:
            needed = f"{self.group} {'documents' if data_type == 'kd' else 'negs'}"
            raise UserError(
                f"{self.path}: none of its {len(rows)} rows gives an example: each needs {needed} "
                "(sample_num_one_query) and a first_rank within first_rank_thresh. posnegs without negs need "
                "use_in_batch_negatives: true."
            )

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> Example:
        position = int(np.searchsorted(self.ends, index, side="right"))
        part = index - int(self.ends[position] - self.counts[position])
        row_number = int(self.row_numbers[position])
        row = self.rows[row_number]
        if self.data_type == "posnegs":
            negatives = row["negs"][part * self.group : (part + 1) * self.group] if self.has_negatives else []
            return Example(row["query"], [row["pos"], *negatives])
        order = list(range(len(row["docs"])))
        # Seeded by the row, so that the examples of a row agree and a resumed run sees the same.
        swaps = random.Random(self.seed * 1_000_003 + row_number)
        for _ in range(self.swap_times):
            a, b = swaps.randrange(len(order)), swaps.randrange(len(order))
            order[a], order[b] = order[b], order[a]
        chosen = spanning_ranks(len(order), self.group, part)
        return Example(
            row["query"],
            [row["docs"][order[i]] for i in chosen],
            [row["scores"][order[i]] * self.score_scale for i in chosen],
        )

    def leave_out(self, rows: Sequence[int]) -> None:
        """Take rows, by their numbers in the file, out of the examples."""
        kept = ~np.isin(self.row_numbers, rows)
        self.row_numbers, self.items_per_row = self.row_numbers[kept], self.items_per_row[kept]
        self.counts = self.counts[kept]
        self.ends = np.cumsum(self.counts)

    @property
    def documents_per_example(self) -> int:
        """G of the collator's batches."""
        return self.group + (self.data_type == "posnegs") if self.has_negatives else 1

    def row_sentences(self) -> list[str]:
        """What the rows that are used hold, for people."""
        found = []
        if self.has_negatives:
            least, median, most = np.percentile(self.items_per_row, (0, 50, 100))
            what = "documents" if self.data_type == "kd" else "negatives"
            found.append(f"{what} a row: {least:g} to {most:g}, median {median:g}")
        if self.filtered_rows:
            found.append(
                f"{self.filtered_rows:,} rows dropped by first_rank: below 0 (no judged document among theirs), or "
                "above first_rank_thresh"
            )
        if self.unsorted_rows:
            rising = f" ({self.rising_rows:,} of them rise)" if self.rising_rows else ""
            found.append(
                f"{self.unsorted_rows:,} rows have scores that do not fall{rising}: the first document counts as the "
                "positive; sort each row by falling score"
            )
        return found

    def all_documents(self) -> Iterator[str]:
        """The text of every document of every row, used or not."""
        for row in self.rows:
            yield from row["docs"] if self.data_type == "kd" else [row["pos"], *(row.get("negs") or [])]


def spanning_ranks(n_documents: int, group: int, part: int) -> list[int]:
    """The positions of example `part`: part, part + n//G, part + 2(n//G), …"""
    stride = n_documents // group
    return [part + i * stride for i in range(group)]


class EpochSampler(Sampler[int]):
    """The order of an epoch's examples as a pure function of (seed, epoch), in whole optimizer steps.

    Every `batch` consecutive examples (one batch over all processes) come from one file. What does not fill a
    batch, and batches that do not fill a step, are left out of that epoch: the order then does not depend on how
    a launcher would fill up the rest, and no step crosses an epoch.

    Args:
        sizes: examples of each file.
        batch: examples of one forward pass over all processes; accumulation: such batches in an optimizer step.
    """

    def __init__(self, sizes: list[int], batch: int, accumulation: int, seed: int) -> None:
        self.sizes, self.batch, self.seed, self.epoch = sizes, batch, seed, 0
        self.steps = sum(size // batch for size in sizes) // accumulation
        self.accumulation = accumulation

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.accumulation * self.batch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        batches, start = [], 0
        for size in self.sizes:
            order = start + torch.randperm(size, generator=generator)
            batches.append(order[: size - size % self.batch].view(-1, self.batch))
            start += size
        mixed = torch.cat(batches)
        chosen = torch.randperm(len(mixed), generator=generator)[: self.steps * self.accumulation]
        return iter(mixed[chosen].flatten().tolist())


@dataclass
class _Scan:
    items_per_row: np.ndarray  # documents (kd) or negatives (posnegs)
    kept: np.ndarray  # by first_rank
    unsorted: int  # kd: rows whose scores do not fall all along
    rising: int  # those of them whose scores rise all along


def _scan(path: Path, rows: datasets.Dataset, data_type: str, columns: set[str], first_rank_thresh: int) -> _Scan:
    """Count and check every row, a few thousand at a time."""
    listed = "docs" if data_type == "kd" else "negs"
    names = [name for name in (*COLUMNS[data_type], "first_rank") if name in columns]
    # Rows that others published were chosen by them: none is dropped for a document that is judged elsewhere only.
    least = -1 if read_json(path / "summary.json").get("published") else 0
    lengths, kept, start = [], [], 0
    unsorted = rising = 0
    for table in rows.select_columns(names).with_format("arrow").iter(batch_size=4096):
        for name in ("query", "pos"):
            if name in names and table[name].null_count:
                row = start + pc.is_null(table[name]).to_pylist().index(True)
                raise UserError(f"{path}: row {row}: {name} is missing.")
        n_items = _list_lengths(table, listed)
        _check_no_null(path, table, listed, n_items, start)
        if data_type == "kd":
            orders = score_orders(_checked_scores(path, table, n_items, start), n_items)
            unsorted, rising = unsorted + orders[0], rising + orders[1]
        lengths.append(n_items)
        rank = np.zeros(len(table))
        if "first_rank" in names:
            if not is_number(table["first_rank"].type):
                raise UserError(f"{path}: column first_rank holds {table['first_rank'].type}, not numbers.")
            rank = pc.fill_null(table["first_rank"], -1).to_numpy()
        kept.append((rank >= least) & (rank <= first_rank_thresh))
        start += len(table)
    if not lengths:
        raise UserError(f"{path}: holds no rows.")
    return _Scan(np.concatenate(lengths), np.concatenate(kept), unsorted, rising)


def _list_lengths(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names or pa.types.is_null(table[name].type):
        return np.zeros(len(table), dtype=np.int64)
    return pc.fill_null(pc.list_value_length(table[name]), 0).to_numpy().astype(np.int64)


def _check_no_null(path: Path, table: pa.Table, name: str, n_items: np.ndarray, start: int) -> None:
    if name in table.column_names and not pa.types.is_null(table[name].type):
        null = pc.is_null(pc.list_flatten(table[name])).to_numpy()
        if null.any():
            row = int(np.searchsorted(np.cumsum(n_items), np.flatnonzero(null)[0], side="right"))
            raise UserError(f"{path}: row {start + row}: one of its {name} is null; give a text or leave it out.")


def _checked_scores(path: Path, table: pa.Table, n_documents: np.ndarray, start: int) -> np.ndarray:
    """All rows' scores, one after another."""
    n_scores = _list_lengths(table, "scores")
    if (n_scores != n_documents).any():
        row = int(np.flatnonzero(n_scores != n_documents)[0])
        raise UserError(f"{path}: row {start + row}: {n_documents[row]} docs but {n_scores[row]} scores.")
    values = pc.fill_null(pc.list_flatten(table["scores"]).cast(pa.float64()), float("nan")).to_numpy()
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        row = int(np.searchsorted(np.cumsum(n_scores), bad, side="right"))
        raise UserError(f"{path}: row {start + row}: a score is {values[bad]}; scores are finite numbers.")
    return values
