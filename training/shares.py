"""The lexical share that a training scores documents with, by the statistics of the documents that it trains on."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np

from sparse_model import SparseEncoder
from sparse_model.lexical import LexicalShare, LexicalStatistics

# So many are counted: a mean and an IDF need no more, and a training should begin.
MOST_DOCUMENTS = 100_000
BLOCK = 4096


def training_share(encoder: SparseEncoder, documents: Iterable[str]) -> LexicalShare | None:
    """What the encoder's `trained_share` adds to a document of these; None: nothing.

    Args:
        documents: the first MOST_DOCUMENTS of them count, cut at the encoder's length.
    """
    asked = encoder.trained_share
    if not asked.lexical_share:
        return None
    counts = map(encoder.count_tokens, _blocks(islice(documents, MOST_DOCUMENTS)))
    none = LexicalStatistics(0, 0, np.zeros(encoder.vocabulary_size, np.int64))
    return sum(map(LexicalStatistics.of, counts), none).share(asked.lexical_share, asked.lexical_idf)


def _blocks(documents: Iterator[str]) -> Iterator[Sequence[str]]:
    while block := list(islice(documents, BLOCK)):
        yield block
