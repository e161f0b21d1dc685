"""Encode a corpus, each process its own share of blocks."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix, vstack
from tqdm import tqdm

from retrieval.distributed import is_main, rank, world_size
from sparse_model.tokens import BLOCK

Block = tuple[np.ndarray, csr_matrix]
"""(positions in the corpus, consecutive int64 [n]; weights [n, V])"""


class Encoder(Protocol):
    """What the evaluation needs of a model: sparse float32 weights, documents [N, V] and queries [Q, V]."""

    def encode_blocks(
        self, blocks: Iterable[Sequence[str]], batch_size: int = 32, progress: Callable[[int], object] = ...
    ) -> Iterator[csr_matrix]: ...

    def encode_queries(self, texts: Sequence[str]) -> csr_matrix: ...


def encode_blocks(
    encoder: Encoder, texts: Sequence[str], batch_size: int = 32, skip: Container[int] = ()
) -> Iterator[Block]:
    """This process's part of the corpus, block after block, without those whose number is in `skip`.

    Block b of BLOCK consecutive texts belongs to process b % processes. Blocks do not depend on the number of
    processes, so neither do the batches within them nor the weights.
    """
    starts = range(rank() * BLOCK, len(texts), world_size() * BLOCK)
    ranges = [range(start, min(start + BLOCK, len(texts))) for start in starts if start // BLOCK not in skip]
    # A bar that counts this process's documents only: its total must be reached.
    with tqdm(total=sum(map(len, ranges)), desc="encoding", unit="doc", disable=not is_main()) as bar:
        blocks = (texts[block.start : block.stop] for block in ranges)
        for block, weights in zip(ranges, encoder.encode_blocks(blocks, batch_size, bar.update), strict=True):
            yield np.arange(block.start, block.stop, dtype=np.int64), weights


def concatenated(blocks: Iterator[Block], vocabulary: int) -> Block:
    """Blocks as one: (positions [n]; weights float32 [n, vocabulary]); n may be 0."""
    positions, weights = [np.zeros(0, np.int64)], [csr_matrix((0, vocabulary), dtype=np.float32)]
    for block_positions, block_weights in blocks:
        positions.append(block_positions)
        weights.append(block_weights)
    return np.concatenate(positions), vstack(weights, format="csr", dtype=np.float32)
