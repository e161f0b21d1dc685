"""Document vectors of one encoder on disk, so that each document is encoded once, whatever is stopped meanwhile.

Block b holds positions b·BLOCK to (b + 1)·BLOCK of the corpus, or those of them that were asked for, in one file.
Blocks do not depend on the number of processes; block b is written by process b % processes.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_matrix, vstack
from tqdm import tqdm

from retrieval import distributed
from retrieval.arrays import map_arrays, write_arrays
from retrieval.encode import Block
from sparse_model.errors import RunError
from sparse_model.tokens import BLOCK

Vectors: TypeAlias = csr_matrix | np.ndarray
"""float32, sparse [n, V] or dense [n, D]"""


class VectorCache:
    """The vectors of a corpus's documents.

    Args:
        folder: where the files lie; its name must change with everything that changes a vector.
        texts: the corpus.
        encode: given lists of texts and what is to be told of each batch's number of texts, vectors of each list in
            turn; called only if something is missing.
    """

    def __init__(
        self,
        folder: Path,
        texts: Sequence[str],
        encode: Callable[[Iterable[Sequence[str]], Callable[[int], object]], Iterator[Vectors]],
    ) -> None:
        self.folder, self._texts, self._encode = folder, texts, encode

    def ensure(self, positions: np.ndarray) -> None:
        """Encode what is missing among these positions (sorted, distinct). To be called in every process."""
        for _ in self._blocks(_by_block(positions), "encoding"):
            pass
        distributed.barrier()

    def all_blocks(self, skip: Container[int]) -> Iterator[Block]:
        """This process's blocks of the whole corpus, without those whose number is in `skip` (see `Engine.index`)."""
        wanted = {b: positions for b, positions in _by_block(np.arange(len(self._texts))).items() if b not in skip}
        for number in self._blocks(wanted, "encoding the corpus"):
            arrays = self._block(number)
            yield arrays["positions"].copy(), csr_matrix(_vectors(arrays), copy=True)

    def rows(self, positions: np.ndarray) -> Vectors:
        """The vectors at these positions (sorted, distinct), which must have been ensured."""
        parts = []
        for number, wanted in _by_block(positions).items():
            arrays = self._block(number)
            parts.append(_vectors(arrays)[np.searchsorted(arrays["positions"], wanted)])
        return _stacked(parts)

    def _blocks(self, wanted: dict[int, np.ndarray], title: str) -> Iterator[int]:
        """The numbers of this process's blocks, each as soon as it is on disk with the wanted positions."""
        mine = {n: p for n, p in wanted.items() if n % distributed.world_size() == distributed.rank()}
        absent = {n: self._absent(n, p) for n, p in mine.items()}
        missing = {n: p for n, p in absent.items() if len(p)}
        lists = ([self._texts[i] for i in positions] for positions in missing.values())
        total = sum(map(len, missing.values()))
        with tqdm(total=total, desc=title, unit="doc", disable=not (total and distributed.is_main())) as bar:
            encoded = self._encode(lists, bar.update)
            for number in mine:
                if number in missing:
                    self._add(number, missing[number], next(encoded))
                yield number

    def _absent(self, number: int, positions: np.ndarray) -> np.ndarray:
        """Those of the positions that the block's file lacks."""
        arrays = map_arrays(self._path(number))
        return positions if arrays is None else np.setdiff1d(positions, arrays["positions"])

    def _add(self, number: int, positions: np.ndarray, vectors: Vectors) -> None:
        """Write the block with these vectors and those that it holds already, in the order of positions."""
        arrays = map_arrays(self._path(number))
        if arrays is not None:
            positions = np.concatenate([arrays["positions"], positions])
            order = np.argsort(positions)
            positions, vectors = positions[order], _stacked([_vectors(arrays), vectors])[order]
        write_arrays(self._path(number), _arrays(positions, vectors))

    def _block(self, number: int) -> dict[str, np.ndarray]:
        # Never kept: each holds a file open, and a large corpus has more blocks than a process may open files.
        arrays = map_arrays(self._path(number))
        if arrays is None:
            raise RunError(f"{self._path(number)} is gone or damaged; run the same command again to make it anew.")
        return arrays

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.safetensors"


def pair_scores(queries: Vectors, documents: Vectors, query_rows: np.ndarray, document_rows: np.ndarray) -> np.ndarray:
    """Dot products of the pairs (query_rows[i], document_rows[i]), float32 [n]; query_rows ascending.

    Only pairs are multiplied, never all queries by all documents.
    """
    scores = np.zeros(len(query_rows), np.float32)
    borders = np.searchsorted(query_rows, np.arange(queries.shape[0] + 1))
    for q, (start, stop) in enumerate(zip(borders[:-1], borders[1:], strict=True)):
        query = queries[q] if isinstance(queries, np.ndarray) else queries[q].toarray().ravel()
        scores[start:stop] = documents[document_rows[start:stop]] @ query
    return scores


def _by_block(positions: np.ndarray) -> dict[int, np.ndarray]:
    """Block number -> positions in it, both ascending."""
    numbers, starts = np.unique(positions // BLOCK, return_index=True)
    return dict(zip(numbers.tolist(), np.split(positions, starts[1:]), strict=True)) if len(positions) else {}


def _stacked(parts: list[Vectors]) -> Vectors:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else vstack(parts, format="csr")


def _arrays(positions: np.ndarray, vectors: Vectors) -> dict[str, np.ndarray]:
    positions = positions.astype(np.int64)
    if isinstance(vectors, np.ndarray):
        return {"positions": positions, "vectors": vectors.astype(np.float32)}
    numbers = {"indptr": vectors.indptr, "indices": vectors.indices, "shape": np.array(vectors.shape)}
    parts = {name: array.astype(np.int32) for name, array in numbers.items()}
    return {"positions": positions, "data": vectors.data.astype(np.float32), **parts}


def _vectors(arrays: dict[str, np.ndarray]) -> Vectors:
    if "vectors" in arrays:
        return arrays["vectors"]
    parts = (arrays["data"], arrays["indices"], arrays["indptr"])
    return csr_matrix(parts, shape=tuple(arrays["shape"]), copy=False)
