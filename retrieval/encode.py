"""Encode a corpus, each process its own share of blocks."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.sparse import csr_matrix, vstack
from tqdm import tqdm

from retrieval.distributed import is_main, rank, world_size

BLOCK = 1024


class Encoder(Protocol):
    """What the evaluation needs of a model: sparse float32 weights, documents [N, V] and queries [Q, V]."""

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> csr_matrix: ...

    def encode_queries(self, texts: Sequence[str]) -> csr_matrix: ...


def encode_corpus(
    encoder: Encoder, texts: Sequence[str], vocabulary: int, batch_size: int = 32
) -> tuple[np.ndarray, csr_matrix]:
    """This process's part of the corpus: (positions in texts, ascending int64 [n]; weights [n, vocabulary]).

    Block b of BLOCK consecutive texts belongs to process b % processes. Blocks do not depend on the number of
    processes, so neither do the batches within them nor the weights.
    """
    starts = range(rank() * BLOCK, len(texts), world_size() * BLOCK)
    blocks = [range(start, min(start + BLOCK, len(texts))) for start in starts]
    weights = [csr_matrix((0, vocabulary), dtype=np.float32)]
    # A bar that counts this process's documents only: its total must be reached.
    total = sum(map(len, blocks))
    with tqdm(total=total, desc="encoding", unit="doc", disable=not is_main()) as progress:
        for block in blocks:
            weights.append(csr_matrix(encoder.encode_documents(texts[block.start : block.stop], batch_size=batch_size)))
            progress.update(len(block))
    positions = np.array([position for block in blocks for position in block], dtype=np.int64)
    return positions, vstack(weights, format="csr", dtype=np.float32)
