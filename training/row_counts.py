"""What the rows of a training file hold, counted before training: what teaches nothing, or the wrong thing, is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import datasets

# Texts that are looked at, of the first rows: a second of reading.
MOST_TEXTS = 1_000_000


@dataclass(frozen=True)
class TextCounts:
    """Of the first rows of a file."""

    rows: int
    is_all: bool
    """whether the file has no more rows"""
    repeating_positive: int
    """rows with the positive (kd: the first document) among their other documents too"""
    sharing_query: int
    """rows whose query is another row's too"""
    empty_queries: int
    empty_documents: int
    documents: int

    @property
    def has_texts(self) -> bool:
        """Whether there is a query to learn from, and a document."""
        return self.empty_queries < self.rows and self.empty_documents < self.documents

    def sentences(self) -> list[str]:
        """What there is to say, for people."""
        of = "" if self.is_all else f"of the first {self.rows:,} rows: "
        empty = self.empty_queries + self.empty_documents
        counted = {
            "rows hold the positive among their other documents, where it is left out": self.repeating_positive,
            "rows have the same query as another row; positives of the same query are no negatives": self.sharing_query,
            "texts are empty": empty,
        }
        return [f"{of}{count:,} {what}" for what, count in counted.items() if count]


def count_texts(rows: datasets.Dataset, data_type: str, most: int = MOST_TEXTS) -> TextCounts:
    """Count over the first rows, until `most` texts were looked at."""
    queries: Counter[int] = Counter()
    looked_at = repeating = empty_queries = empty_documents = documents = 0
    for query, texts in _texts(rows, data_type):
        queries[hash(query)] += 1
        looked_at += 1
        repeating += texts[0] in texts[1:] if texts else False
        empty_queries += not query.strip()
        empty_documents += sum(not text.strip() for text in texts)
        documents += len(texts)
        if looked_at + documents >= most:
            break
    sharing = sum(count for count in queries.values() if count > 1)
    is_all = looked_at == len(rows)
    return TextCounts(looked_at, is_all, repeating, sharing, empty_queries, empty_documents, documents)


def _texts(rows: datasets.Dataset, data_type: str) -> Iterator[tuple[str, list[str]]]:
    """(query, documents, the positive first) of every row, read a few at a time."""
    for table in rows.with_format("arrow").iter(batch_size=256):
        batch = table.to_pydict()
        nothing = [None] * len(batch["query"])
        listed = batch["docs"] if data_type == "kd" else batch.get("negs", nothing)
        for query, positive, others in zip(batch["query"], batch.get("pos", nothing), listed, strict=True):
            yield query, [*([] if positive is None else [positive]), *(others or [])]


def score_orders(values: np.ndarray, lengths: np.ndarray) -> tuple[int, int]:
    """(rows whose scores do not fall all along, those of them that rise all along).

    Args:
        values: the scores of all rows, one after another; lengths: how many are each row's.
    """
    row = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.diff(values)[row[1:] == row[:-1]]
    at = row[1:][row[1:] == row[:-1]]
    rising, falling = np.unique(at[steps > 0]), np.unique(at[steps < 0])
    return len(rising), len(np.setdiff1d(rising, falling))
