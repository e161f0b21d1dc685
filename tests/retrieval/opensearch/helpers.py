"""Engines, encoders and comparisons that the tests of the OpenSearch engine share."""

from collections.abc import Callable, Container, Iterator, Sequence

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrieval.beir_data import BeirData
from retrieval.blocks import Block
from retrieval.opensearch.node import Node
from retrieval.opensearch.opensearch_engine import OpenSearchEngine
from retrieval.score_dataset import DatasetScores, score_dataset
from tests.retrieval.bag_of_words import VOCABULARY, BagOfWords

MakeNode = Callable[..., Node]
MakeEngine = Callable[..., OpenSearchEngine]

# Tokens that a careless index loses or mixes up, then plain ones.
TOKENS = [
    ".",
    "...",
    "##.",
    "a.b",
    "",
    "%",
    "%2E",
    "%.",
    "[UNK]",
    "##s",
    "ü",
    "东",
    '"',
    "\\",
    "a b",
    "*",
    "_",
    "\u2028",
]
TOKENS += [f"t{i}" for i in range(len(TOKENS), VOCABULARY)]

SAME = ("queries", "documents", "ndcg@10", "recall@100", "mrr@10", "map", "flops", "q_length", "d_length")
OLDER, NEWER = "OPENSEARCH_HOME", "OPENSEARCH3_HOME"
HOMES = pytest.mark.parametrize("home", [OLDER, NEWER], indirect=True)
"""A test for both nodes."""
ALL = 3000  # more than there are documents: no ranking is cut, so that ties are no matter of chance


class Watched(BagOfWords):
    """Counts the documents it encodes; may call something before each block."""

    def __init__(self, before=None) -> None:
        self.encoded, self._before = 0, before

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> csr_matrix:
        if self._before:
            self._before(self.encoded)
        self.encoded += len(texts)
        return super().encode_documents(texts, batch_size)


class Scaled(BagOfWords):
    """Another checkpoint: weights rise with the token's id."""

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> csr_matrix:
        weights = super().encode_documents(texts)
        return csr_matrix(weights.multiply(1 + np.arange(VOCABULARY) / 4))


class Given:
    """Vectors of one block, given as (positions, weights)."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def blocks(self, skip: Container[int] = ()) -> Iterator[Block]:
        yield self._block

    def docs_per_s(self) -> float:
        return 0.0


def same(result: DatasetScores, expected: DatasetScores) -> None:
    assert result.rankings == expected.rankings
    assert {key: result.figures[key] for key in SAME} == {key: expected.figures[key] for key in SAME}


def on(engine: OpenSearchEngine, data: BeirData, encoder: BagOfWords | None = None, **options) -> DatasetScores:
    return score_dataset(encoder or BagOfWords(), data, ALL, engine=engine, **options)
