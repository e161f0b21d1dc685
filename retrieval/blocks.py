"""A corpus as blocks of vectors, each process its own share of them."""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix
from tqdm import tqdm

from retrieval.distributed import all_gather_arrays, is_main, rank, world_size
from sparse_model.tokens import BLOCK

Block = tuple[np.ndarray, csr_matrix]
"""(positions in the corpus, consecutive int64 [n]; weights [n, V])"""


class Encoder(Protocol):
    """What the evaluation needs of a model: sparse float32 weights, documents [N, V] and queries [Q, V]."""

    def encode_blocks(
        self, blocks: Iterable[Sequence[str]], batch_size: int = 32, progress: Callable[[int], object] = ...
    ) -> Iterator[csr_matrix]: ...

    def encode_queries(self, texts: Sequence[str]) -> csr_matrix: ...

    def count_tokens(self, texts: Sequence[str]) -> csr_matrix: ...


class DocumentVectors(Protocol):
    """Where an engine gets a corpus's vectors from. Both methods are to be called in every process."""

    def blocks(self, skip: Container[int] = ()) -> Iterator[Block]:
        """This process's part of the corpus, block after block, without those whose number is in `skip`.

        Block b of BLOCK consecutive texts belongs to process b % processes. Blocks do not depend on the number of
        processes, so neither do the batches within them nor the weights.
        """
        ...

    def docs_per_s(self) -> float:
        """Documents encoded in a second over all processes; 0 as long as none has been."""
        ...


class FreshVectors:
    """Vectors that are encoded when they are asked for, and kept nowhere (see `DocumentVectors`)."""

    def __init__(self, encoder: Encoder, texts: Sequence[str], batch_size: int = 32) -> None:
        self._encoder, self._texts, self._batch_size = encoder, texts, batch_size
        self._documents, self._seconds = 0, 0.0

    def blocks(self, skip: Container[int] = ()) -> Iterator[Block]:
        """See `DocumentVectors.blocks`."""
        starts = range(rank() * BLOCK, len(self._texts), world_size() * BLOCK)
        ranges = [range(start, min(start + BLOCK, len(self._texts))) for start in starts if start // BLOCK not in skip]
        # A bar that counts this process's documents only: its total must be reached.
        with tqdm(total=sum(map(len, ranges)), desc="encoding", unit="doc", disable=not is_main()) as bar:
            lists = (self._texts[block.start : block.stop] for block in ranges)
            encoded = timed(self._encoder.encode_blocks(lists, self._batch_size, bar.update))
            for block, (weights, seconds) in zip(ranges, encoded, strict=True):
                self._documents, self._seconds = self._documents + len(block), self._seconds + seconds
                yield np.arange(block.start, block.stop, dtype=np.int64), weights

    def docs_per_s(self) -> float:
        """See `DocumentVectors.docs_per_s`."""
        return speed_over_processes(self._documents, self._seconds)[1]


def speed_over_processes(documents: int, seconds: float) -> tuple[int, float]:
    """(documents of all processes, how many that is for a second of the slowest), in every process."""
    counts, times = np.transpose(all_gather_arrays(np.array([documents, seconds], dtype=np.float64)))
    slowest = float(times.max())
    return int(counts.sum()), float(counts.sum()) / slowest if slowest > 0 else 0.0


def timed(items: Iterable[csr_matrix]) -> Iterator[tuple[csr_matrix, float]]:
    """Each item with the seconds that it took to make; the time of its use is not counted."""
    iterator = iter(items)
    while True:
        started = time.perf_counter()
        item = next(iterator, None)
        if item is None:
            return
        yield item, time.perf_counter() - started
