"""Encode a corpus, each process its own share of blocks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix, vstack
from tqdm import tqdm

from retrieval.distributed import is_main, rank, world_size

BLOCK = 1024


class Encoder(Protocol):
    """What the evaluation needs of a model: sparse float32 weights, documents [N, V] and queries [Q, V]."""

    def encode_blocks(
        self, blocks: Iterable[Sequence[str]], batch_size: int = 32, progress: Callable[[int], object] = ...
    ) -> Iterator[csr_matrix]: ...

    def encode_queries(self, texts: Sequence[str]) -> csr_matrix: ...


def encode_blocks(
    encoder: Encoder, texts: Sequence[str], batch_size: int = 32
) -> Iterator[tuple[np.ndarray, csr_matrix]]:
    """This process's blocks of the corpus in turn: (positions in texts, int64 [n]; weights [n, V]).

    Block b of BLOCK consecutive texts belongs to process b % processes. Blocks do not depend on the number of
    processes, so neither do the batches within them nor the weights.
    """
    starts = range(rank() * BLOCK, len(texts), world_size() * BLOCK)
    positions = [np.arange(start, min(start + BLOCK, len(texts)), dtype=np.int64) for start in starts]
    # A bar that counts this process's documents only: its total must be reached.
    with tqdm(total=sum(map(len, positions)), desc="encoding", unit="doc", disable=not is_main()) as bar:
        blocks = (texts[start : start + BLOCK] for start in starts)
        yield from zip(positions, encoder.encode_blocks(blocks, batch_size, bar.update), strict=True)


def encode_corpus(
    encoder: Encoder, texts: Sequence[str], vocabulary: int, batch_size: int = 32
) -> tuple[np.ndarray, csr_matrix]:
    """This process's part of the corpus at once: (positions in texts, ascending; weights [n, vocabulary])."""
    parts = list(encode_blocks(encoder, texts, batch_size))
    positions = np.concatenate([np.zeros(0, np.int64), *(positions for positions, _ in parts)])
    empty = csr_matrix((0, vocabulary), dtype=np.float32)
    return positions, vstack([empty, *(weights for _, weights in parts)], format="csr", dtype=np.float32)
