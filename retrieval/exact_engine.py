"""The exact engine: each process's documents in indexes of its own, of SEGMENT each (see `retrieval.exact_index`).

They are made one after the other as documents come: nothing ever holds a corpus' postings a second time. A full one may
lie on a disk, mapped.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from retrieval import distributed
from retrieval.blocks import Block, DocumentVectors
from retrieval.engine import Hits, counted, over_processes
from retrieval.exact_index import ExactIndex

# Documents of an index.
SEGMENT = 2**18
# What must be free for an array to go to the disk, as a multiple of its bytes.
ROOM = 10


class ExactEngine:
    """Each process's documents in its own indexes; every document is scored.

    Args:
        adapt: changes document weights before they are indexed, e.g. to another engine's precision.
        folder: on which disk full indexes lie, as files without a name that go with this process; None: in memory.
    """

    approximate = False

    def __init__(self, adapt: Callable[[csr_matrix], csr_matrix] | None = None, folder: Path | None = None) -> None:
        self._adapt, self._folder = adapt, folder

    def index(self, doc_ids: Sequence[str], vocabulary: int, vectors: DocumentVectors) -> np.ndarray:
        """See `Engine.index`."""
        document_df, self._vectors = np.zeros(vocabulary, np.int64), vectors
        blocks = ((positions, self._adapt(w) if self._adapt else w) for positions, w in vectors.blocks())
        self._segments: list[tuple[np.ndarray, ExactIndex]] = []
        self._add(counted(blocks, document_df), vocabulary)
        # The first search of all compiles.
        self._segments[-1][1].search(csr_matrix((1, vocabulary), dtype=np.float32), 1)
        return over_processes(document_df)

    def _add(self, blocks: Iterable[Block], vocabulary: int) -> None:
        """Index all blocks; the last index may have few documents, or none."""
        positions, parts = [np.zeros(0, np.int64)], [csr_matrix((0, vocabulary), dtype=np.float32)]
        for block_positions, weights in blocks:
            positions.append(block_positions)
            parts.append(weights)
            if sum(map(len, positions)) >= SEGMENT:
                index = ExactIndex(vstack(parts, format="csr", dtype=np.float32))
                if self._folder is not None:
                    arrays = {name: mapped(array, self._folder) for name, array in index.arrays.items()}
                    index = ExactIndex.of_arrays(arrays, sum(map(len, positions)))
                self._segments.append((np.concatenate(positions), index))
                positions, parts = positions[:1], parts[:1]
        index = ExactIndex(vstack(parts, format="csr", dtype=np.float32))
        self._segments.append((np.concatenate(positions), index))

    def search(self, queries: csr_matrix, top_k: int, exhaustive: bool = False) -> Hits:
        """See `Engine.search`."""
        found = [
            [(positions[at], scores) for at, scores in index.search(queries, top_k)]
            for positions, index in self._segments
        ]
        return merge_hits([_best(parts, top_k) for parts in zip(*found, strict=True)], top_k)

    def measure(self, queries: csr_matrix, top_k: int) -> dict[str, Any]:
        """See `Engine.measure`; the index is as large as its postings."""
        own = sum(index.nbytes for _, index in self._segments)
        index_bytes = int(np.sum(distributed.all_gather_arrays(np.array([own]))))
        return {"engine": "exact", "encode_docs_per_s": self._vectors.docs_per_s(), "index_bytes": index_bytes}

    def close(self, keep: bool) -> None:
        """See `Engine.close`; nothing of it lasts."""
        del self._segments, self._vectors


def merge_hits(hits: Hits, top_k: int) -> Hits:
    """The best top_k of every query over all processes, by score descending, then position ascending.

    Args:
        hits: this process's, by positions in the whole corpus.
    """
    counts = distributed.all_gather_arrays(np.array([len(found) for found, _ in hits], dtype=np.int64))
    found = distributed.all_gather_arrays(np.concatenate([np.zeros(0, np.int64), *(p for p, _ in hits)]))
    scores = distributed.all_gather_arrays(np.concatenate([np.zeros(0, np.float32), *(s for _, s in hits)]))
    if len(counts) == 1:
        return hits
    parts = [
        zip(np.split(f, np.cumsum(c)[:-1]), np.split(s, np.cumsum(c)[:-1]), strict=True)
        for c, f, s in zip(counts, found, scores, strict=True)
    ]
    return [_best(query, top_k) for query in zip(*parts, strict=True)] if hits else []


def _best(parts: Sequence[tuple[np.ndarray, np.ndarray]], top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """The best top_k of one query's hits in several parts of a corpus."""
    if len(parts) == 1:
        return parts[0]
    positions, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    best = np.lexsort((positions, -scores))[:top_k]
    return positions[best], scores[best]


def mapped(array: np.ndarray, folder: Path) -> np.ndarray:
    """The array, mapped from a file without a name; as it is where the disk has little room."""
    folder.mkdir(parents=True, exist_ok=True)
    if not array.size or shutil.disk_usage(folder).free < ROOM * array.nbytes:
        return array
    with tempfile.TemporaryFile(dir=folder) as file:
        array.tofile(file)
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)
