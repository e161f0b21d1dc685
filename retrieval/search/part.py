"""A part of a search index: postings and texts of documents that were indexed together, mapped from two files."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from retrieval.arrays import map_arrays, write_arrays
from retrieval.exact_index import ExactIndex
from retrieval.files import whole
from sparse_model.errors import UserError

POSTINGS, DOCUMENTS = "postings.safetensors", "documents.arrow"
ROWS = 8192


class Document(NamedTuple):
    """What is found."""

    id: str
    title: str
    text: str
    parent: str
    """The document that it is a passage of; "": it is a whole one."""
    content: str
    """A hash of all of that."""


SCHEMA = pa.schema([(name, pa.large_string()) for name in Document._fields])


class Part:
    """Documents 0 … N - 1 of a folder that `write_part` made.

    Args:
        removed: positions of those that are gone, ascending.

    Raises:
        UserError: if a file is gone or damaged.
    """

    def __init__(self, folder: Path, removed: np.ndarray) -> None:
        arrays = map_arrays(folder / POSTINGS)
        try:
            rows = pa.ipc.open_file(pa.memory_map(str(folder / DOCUMENTS)))
        except (OSError, pa.ArrowException):
            arrays = None
        if arrays is None:
            raise UserError(f"{folder} is damaged; remove {folder.parent.parent}, and build the index again.")
        self._batches = [rows.get_batch(n) for n in range(rows.num_record_batches)]
        self._len = sum(batch.num_rows for batch in self._batches)
        self.index, self.removed = ExactIndex.of_arrays(arrays, self._len), removed

    def __len__(self) -> int:
        return self._len

    def best(self, query: csr_matrix, k: int) -> list[tuple[float, int]]:
        """(score, position) of the k best documents that are there, best first, for a query [1, V]."""
        [(positions, scores)] = self.index.search(query, k + len(self.removed), threads=1)
        kept = ~np.isin(positions, self.removed)
        return list(zip(scores[kept].tolist(), positions[kept].tolist(), strict=True))[:k]

    def document(self, position: int) -> Document:
        """One of its documents."""
        batch, row = self._batches[position // ROWS], position % ROWS
        return Document(*(batch.column(n)[row].as_py() for n in range(len(Document._fields))))

    def contents(self) -> list[str]:
        """The hash of each document."""
        column = Document._fields.index("content")
        return [value for batch in self._batches for value in batch.column(column).to_pylist()]

    def present(self) -> np.ndarray:
        """Positions of the documents that are there."""
        return np.setdiff1d(np.arange(len(self)), self.removed)


def write_part(folder: Path, documents: Iterable[Document], weights: csr_matrix) -> None:
    """Write a part of N documents with the weights [N, V]."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        whole(folder / DOCUMENTS) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, SCHEMA) as file,
    ):
        rows = list(documents)
        for start in range(0, len(rows), ROWS):
            columns = zip(*rows[start : start + ROWS], strict=True)
            file.write_batch(
                pa.record_batch([pa.array(column, pa.large_string()) for column in columns], schema=SCHEMA)
            )
    write_arrays(folder / POSTINGS, ExactIndex(weights).arrays)
