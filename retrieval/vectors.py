"""Document vectors of one encoder on disk, so that each document is encoded once, whatever is stopped meanwhile.

Block b holds positions b·BLOCK to (b + 1)·BLOCK of the corpus, or those of them that were asked for, in one file.
Blocks do not depend on the number of processes; block b is written by process b % processes. A block takes about
6 bytes for each weight (8 where a vocabulary is larger than 65,536).
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from scipy.sparse import csr_matrix, vstack
from tqdm import tqdm

from retrieval import distributed
from retrieval.arrays import checksum, map_arrays, read_facts, write_arrays
from retrieval.blocks import Block, speed_over_processes, timed
from retrieval.files import read_json, write_json
from sparse_model.errors import RunError
from sparse_model.tokens import BLOCK

Vectors: TypeAlias = csr_matrix | np.ndarray
"""float32, sparse [n, V] or dense [n, D]"""
Encode: TypeAlias = Callable[[Iterable[Sequence[str]], Callable[[int], object]], Iterator[Vectors]]
"""Of lists of texts, and of what is to be told of each batch's number of texts, the vectors of each list in turn."""


class VectorCache:
    """The vectors of a corpus's documents (see `retrieval.blocks.DocumentVectors`).

    Args:
        folder: where the files lie; its name must change with everything that changes a vector.
        texts: the corpus.
        encode: called only if something is missing.
    """

    def __init__(self, folder: Path, texts: Sequence[str], encode: Encode) -> None:
        self.folder, self._texts, self._encode = folder, texts, encode
        self._documents, self._seconds = 0, 0.0

    def ensure(self, positions: np.ndarray) -> None:
        """Encode what is missing among these positions (sorted, distinct). To be called in every process."""
        wanted = self._mine(_by_block(positions))
        for _ in self._made(wanted, {n: self._absent(n, p) for n, p in wanted.items()}):
            pass
        distributed.barrier()

    def blocks(self, skip: Container[int] = ()) -> Iterator[Block]:
        """See `DocumentVectors.blocks`; a file that is damaged is made anew."""
        every = _by_block(np.arange(len(self._texts)))
        wanted = self._mine({number: positions for number, positions in every.items() if number not in skip})
        for number in wanted:
            if not self._is_intact(number):
                self._path(number).unlink()
        for number in self._made(wanted, {n: self._absent(n, p) for n, p in wanted.items()}):
            arrays = self._block(number)
            yield arrays["positions"].copy(), csr_matrix(_vectors(arrays), copy=True)

    def docs_per_s(self) -> float:
        """See `DocumentVectors.docs_per_s`; where all was there, the speed of the encoding that made most of it."""
        documents, speed = speed_over_processes(self._documents, self._seconds)
        return distributed.on_main(lambda: self._recorded_speed(documents, speed))

    def _recorded_speed(self, documents: int, speed: float) -> float:
        path = self.folder / "speed.json"  # not beside the vectors, whose files do not depend on time and processes
        recorded = read_json(path)
        if documents > recorded.get("documents", 0):
            recorded = {"documents": documents, "encode_docs_per_s": speed}
            write_json(path, recorded)
        return float(recorded.get("encode_docs_per_s", 0.0))

    def rows(self, positions: np.ndarray) -> Vectors:
        """The vectors at these positions (sorted, distinct), which must have been ensured."""
        parts = []
        for number, wanted in _by_block(positions).items():
            arrays = self._block(number)
            parts.append(_vectors(arrays)[np.searchsorted(arrays["positions"], wanted)])
        return _stacked(parts)

    def _mine(self, blocks: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        return {n: p for n, p in blocks.items() if n % distributed.world_size() == distributed.rank()}

    def _made(self, wanted: dict[int, np.ndarray], absent: dict[int, np.ndarray]) -> Iterator[int]:
        """The numbers of the wanted blocks, each as soon as it is on disk with what was absent."""
        missing = {n: p for n, p in absent.items() if len(p)}
        lists = ([self._texts[i] for i in positions] for positions in missing.values())
        total = sum(map(len, missing.values()))
        with tqdm(total=total, desc="encoding", unit="doc", disable=not (total and distributed.is_main())) as bar:
            encoded = timed(self._encode(lists, bar.update))
            for number in wanted:
                if number in missing:
                    vectors, seconds = next(encoded)
                    self._add(number, missing[number], vectors)
                    self._documents, self._seconds = self._documents + len(missing[number]), self._seconds + seconds
                yield number

    def _absent(self, number: int, positions: np.ndarray) -> np.ndarray:
        """Those of the positions that the block's file lacks."""
        arrays = map_arrays(self._path(number))
        return positions if arrays is None else np.setdiff1d(positions, arrays["positions"])

    def _is_intact(self, number: int) -> bool:
        """Whether the block's file holds what was written, as far as it can be read."""
        arrays = map_arrays(self._path(number))
        if arrays is None:
            return True
        try:
            written = read_facts(self._path(number)).get("crc32")
        except ValueError:
            return False
        return written is None or written == checksum(arrays)

    def _add(self, number: int, positions: np.ndarray, vectors: Vectors) -> None:
        """Write the block with these vectors and those that it holds already, in the order of positions."""
        arrays = map_arrays(self._path(number))
        if arrays is not None:
            positions = np.concatenate([arrays["positions"], positions])
            order = np.argsort(positions)
            positions, vectors = positions[order], _stacked([_vectors(arrays), vectors])[order]
        arrays = _arrays(positions, vectors)
        write_arrays(self._path(number), arrays, {"crc32": checksum(arrays)})

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
    indices = vectors.indices.astype(np.uint16 if vectors.shape[1] <= 2**16 else np.int32)
    parts = {"indptr": vectors.indptr.astype(np.int32), "shape": np.array(vectors.shape, dtype=np.int32)}
    return {"positions": positions, "data": vectors.data.astype(np.float32), "indices": indices, **parts}


def _vectors(arrays: dict[str, np.ndarray]) -> Vectors:
    if "vectors" in arrays:
        return arrays["vectors"]
    parts = (arrays["data"], arrays["indices"].astype(np.int32), arrays["indptr"])
    return csr_matrix(parts, shape=tuple(arrays["shape"]), copy=False)
