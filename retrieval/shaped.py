"""Documents' vectors as they are indexed: the model's, with the lexical share, cut to their heaviest tokens."""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.blocks import Block, DocumentVectors
from retrieval.engine import counted, over_processes
from sparse_model.lexical import LexicalShare, LexicalStatistics
from sparse_model.pruning import Cut, document_rarity
from sparse_model.tokens import BLOCK

CutBy = Literal["weight", "weight_df"]


@dataclass(frozen=True)
class Shape:
    """What becomes of a model's document vectors before they are indexed; by default nothing.

    Args:
        cut_by: what is dropped first: the lightest tokens, or those of the least weight × `document_rarity`.
        lexical_share, lexical_idf: see `LexicalShare`.
    """

    cut: Cut = Cut()
    cut_by: CutBy = "weight"
    lexical_share: float = 0.0
    lexical_idf: bool = False

    def __bool__(self) -> bool:
        """Whether anything may change."""
        return bool(self.cut) or self.lexical_share > 0

    @property
    def reads_twice(self) -> bool:
        """Whether all vectors are read once before the first can be indexed."""
        return bool(self.cut) and self.cut_by == "weight_df"

    @property
    def facts(self) -> dict[str, Any]:
        """What tells one shape from another; {} of the default one."""
        return {"shape": asdict(self)} if self else {}


NO_SHAPE = Shape()


class ShapedVectors:
    """The vectors of a corpus in a shape (see `retrieval.blocks.DocumentVectors`).

    Statistics of the corpus are made once, when they are first asked for, in every process together.

    Args:
        vectors: the model's.
        vocabulary: V.
        texts: the corpus, in the vectors' order.
        count_tokens: `SparseEncoder.count_tokens`; asked only for the lexical share.
    """

    def __init__(
        self,
        vectors: DocumentVectors,
        shape: Shape,
        vocabulary: int,
        texts: Sequence[str],
        count_tokens: Callable[[Sequence[str]], csr_matrix],
    ) -> None:
        self._vectors, self.shape, self._vocabulary = vectors, shape, vocabulary
        self._texts, self._count_tokens = texts, count_tokens

    def blocks(self, skip: Container[int] = ()) -> Iterator[Block]:
        """See `DocumentVectors.blocks`."""
        rarity_V = self._rarity_V if self.shape.reads_twice else None
        for positions, weights in self._shared(skip):
            yield positions, self.shape.cut(weights, rarity_V) if self.shape.cut else weights

    def docs_per_s(self) -> float:
        """See `DocumentVectors.docs_per_s`."""
        return self._vectors.docs_per_s()

    def _shared(self, skip: Container[int] = ()) -> Iterator[Block]:
        """The blocks with their share, not cut."""
        share = self._share if self.shape.lexical_share else None
        for positions, weights in self._vectors.blocks(skip):
            yield positions, share.add(weights, self._counts(positions)) if share else weights

    def _counts(self, positions: np.ndarray) -> csr_matrix:
        return self._count_tokens([self._texts[i] for i in positions])

    @cached_property
    def statistics(self) -> LexicalStatistics:
        """Of the whole corpus."""
        starts = range(distributed.rank() * BLOCK, len(self._texts), distributed.world_size() * BLOCK)
        counts = (self._count_tokens(self._texts[start : start + BLOCK]) for start in starts)
        own = sum(map(LexicalStatistics.of, counts), LexicalStatistics(0, 0, np.zeros(self._vocabulary, np.int64)))
        documents, tokens = over_processes(np.array([own.documents, own.tokens]))
        return LexicalStatistics(int(documents), int(tokens), over_processes(own.document_df_V))

    @cached_property
    def _share(self) -> LexicalShare:
        return self.statistics.share(self.shape.lexical_share, self.shape.lexical_idf)

    @cached_property
    def _rarity_V(self) -> np.ndarray:
        document_df_V = np.zeros(self._vocabulary, np.int64)
        for _ in counted(self._shared(), document_df_V):
            pass
        return document_rarity(over_processes(document_df_V), len(self._texts))
