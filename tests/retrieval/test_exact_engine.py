"""The exact engine's indexes: whatever blocks documents come in and wherever the indexes lie, rankings are the same."""

from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrieval import exact_engine
from retrieval.blocks import Block
from retrieval.exact_engine import ExactEngine, mapped
from retrieval.exact_index import ExactIndex


class _Given:
    """Vectors that are there, in blocks of so many rows, every second of a corpus' positions."""

    def __init__(self, weights: csr_matrix, rows: int) -> None:
        self._weights, self._rows = weights, rows

    def blocks(self, skip: Container[int] = ()) -> Iterator[Block]:
        for start in range(0, self._weights.shape[0], self._rows):
            block = self._weights[start : start + self._rows].copy()
            yield 2 * np.arange(start, start + block.shape[0]), block

    def docs_per_s(self) -> float:
        return 0.0


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_several_indexes_rank_as_one(rows: int, in_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of few steps tie often, at the cut-off too."""
    rng = np.random.default_rng(rows)
    documents, queries = (
        csr_matrix((rng.integers(1, 4, (n, 12)) * (rng.random((n, 12)) < 0.4) / 2).astype(np.float32)) for n in (100, 6)
    )
    monkeypatch.setattr(exact_engine, "SEGMENT", 13)
    engine = ExactEngine(folder=tmp_path / "made" if in_file else None)
    assert engine.index([], 12, _Given(documents, rows)).tolist() == np.diff(documents.tocsc().indptr).tolist()
    assert len(engine._segments) == (2 if rows == 1000 else 1 + 100 // 13) or rows == 7
    assert engine.measure(queries, 1)["index_bytes"] == 6 * documents.nnz and not any(tmp_path.rglob("*.*"))
    for k in (1, 5, 40, 200):
        for ours, (positions, scores) in zip(
            engine.search(queries, k), ExactIndex(documents).search(queries, k), strict=True
        ):
            assert ours[0].tolist() == (2 * positions).tolist() and ours[1].tolist() == scores.tolist()


def test_what_a_disk_has_no_room_for_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = mapped(array, tmp_path)
    assert isinstance(found, np.memmap) and found.tolist() == array.tolist()
    monkeypatch.setattr(exact_engine, "ROOM", 1e18)
    assert mapped(array, tmp_path) is array
