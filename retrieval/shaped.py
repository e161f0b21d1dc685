"""Documents' vectors as they are indexed: the model's, with the lexical share, cut to their heaviest tokens.

What a corpus told about itself on the way stays with its vectors, so that a later document is shaped alike:

    shaper = Shaper.load("output/run/evaluation/.vectors/scifact-0123456789abcdef/shape-0123456789abcdef.safetensors")
    vectors = shaper.encode(sparse_model.load("output/run"), ["a later document"])
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix, vstack

from retrieval import distributed
from retrieval.arrays import read_arrays, read_facts, write_arrays
from retrieval.blocks import Block, DocumentVectors, Encoder
from retrieval.engine import counted, over_processes
from retrieval.fingerprint import hash_of
from sparse_model.errors import UserError
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


@dataclass(frozen=True)
class Shaper:
    """A shape with what it has to know of a corpus: it turns a model's vectors into those that are indexed.

    Args:
        words: of the corpus, where the shape has a lexical share.
        document_df_V, documents: in how many of so many vectors, shared and not cut, each token has a weight, where the
            shape cuts by rarity.
    """

    shape: Shape
    words: LexicalStatistics | None = None
    document_df_V: np.ndarray | None = None
    documents: int = 0

    def __call__(self, weights_NV: csr_matrix, counts_NV: csr_matrix | None) -> csr_matrix:
        """The vectors [N, V] in shape.

        Args:
            weights_NV: the model's, not cut; counts_NV: of the same documents, see `token_counts`; only for the share.
        """
        shared_NV = weights_NV if counts_NV is None or self.share is None else self.share.add(weights_NV, counts_NV)
        return self.shape.cut(shared_NV, self._rarity_V) if self.shape.cut else shared_NV

    @cached_property
    def share(self) -> LexicalShare | None:
        """What is added to each document; None: nothing."""
        return self.words.share(self.shape.lexical_share, self.shape.lexical_idf) if self.words else None

    @cached_property
    def _rarity_V(self) -> np.ndarray | None:
        return None if self.document_df_V is None else document_rarity(self.document_df_V, self.documents)

    def encode(self, encoder: Encoder, texts: Sequence[str], batch_size: int = 32) -> csr_matrix:
        """Vectors [N, V] of documents that come after the corpus, whose statistics count.

        Args:
            encoder: the corpus' model, without a cut of its own.
        """
        starts = range(0, len(texts), BLOCK)
        blocks = list(encoder.encode_blocks((texts[i : i + BLOCK] for i in starts), batch_size))
        weights = vstack(blocks, format="csr") if blocks else encoder.encode_queries([])
        return self(weights, encoder.count_tokens(texts) if self.words else None)

    def save(self, path: Path) -> None:
        """Write it to a safetensors file."""
        words = self.words
        facts = {"shape": asdict(self.shape), "documents": self.documents}
        facts |= {"words": [words.documents, words.tokens]} if words else {}
        arrays = {"words_df": words.document_df_V} if words else {}
        arrays |= {} if self.document_df_V is None else {"df": self.document_df_V}
        write_arrays(path, arrays, facts)

    @classmethod
    def load(cls, path: str | Path) -> "Shaper":
        """What `save` wrote.

        Raises:
            UserError: if there is no such file, or it is damaged.
        """
        found = _read(Path(path))
        if found is None:
            raise UserError(
                f"{path}: no shape of a corpus' vectors lies there, or it is damaged; name another, or make it again."
            )
        return found


def shaper_of(shape: Shape, weights_NV: csr_matrix, counts_NV: csr_matrix) -> Shaper:
    """The shaper by these documents alone; see `Shaper.__call__`."""
    words = LexicalStatistics.of(counts_NV) if shape.lexical_share else None
    made = Shaper(shape, words)
    if not shape.reads_twice:
        return made
    shared_NV = Shaper(replace(shape, cut=Cut()), words)(weights_NV, counts_NV)
    document_df_V = np.bincount(shared_NV.indices[shared_NV.data != 0], minlength=shared_NV.shape[1])
    return replace(made, document_df_V=document_df_V, documents=shared_NV.shape[0])


class ShapedVectors:
    """The vectors of a corpus in a shape (see `retrieval.blocks.DocumentVectors`).

    Statistics of the corpus are made once, when they are first asked for, in every process together.

    Args:
        vectors: the model's.
        shape: with a Shaper, the statistics are those of its corpus.
        vocabulary: V.
        texts: the corpus, in the vectors' order.
        count_tokens: `SparseEncoder.count_tokens`; asked only for the lexical share.
        folder: where the model's vectors are kept, and the shape's statistics beside them; None: nowhere.
    """

    def __init__(
        self,
        vectors: DocumentVectors,
        shape: Shape | Shaper,
        vocabulary: int,
        texts: Sequence[str],
        count_tokens: Callable[[Sequence[str]], csr_matrix],
        folder: Path | None = None,
    ) -> None:
        self._given = shape if isinstance(shape, Shaper) else None
        self.shape = shape.shape if isinstance(shape, Shaper) else shape
        self._vectors, self._vocabulary = vectors, vocabulary
        self._texts, self._count_tokens = texts, count_tokens
        self._kept = shaper_file(folder, self.shape) if folder else None

    def blocks(self, skip: Container[int] = ()) -> Iterator[Block]:
        """See `DocumentVectors.blocks`."""
        yield from self._shaped(self.shaper, skip)

    def docs_per_s(self) -> float:
        """See `DocumentVectors.docs_per_s`."""
        return self._vectors.docs_per_s()

    @cached_property
    def shaper(self) -> Shaper:
        """By the whole corpus."""
        if self._given is not None:
            return self._given
        path = self._kept
        if kept := distributed.on_main(lambda: _read(path) if path else None):
            return kept
        words = self._words() if self.shape.lexical_share else None
        made = Shaper(self.shape, words)
        if self.shape.reads_twice:
            uncut = Shaper(replace(self.shape, cut=Cut()), words)
            made = replace(made, document_df_V=self._document_df_V(uncut), documents=len(self._texts))
        if path:
            distributed.on_main(lambda: made.save(path))
        return made

    def _shaped(self, shaper: Shaper, skip: Container[int] = ()) -> Iterator[Block]:
        for positions, weights in self._vectors.blocks(skip):
            counts = self._count_tokens([self._texts[i] for i in positions]) if shaper.words else None
            yield positions, shaper(weights, counts)

    def _words(self) -> LexicalStatistics:
        starts = range(distributed.rank() * BLOCK, len(self._texts), distributed.world_size() * BLOCK)
        counts = (self._count_tokens(self._texts[start : start + BLOCK]) for start in starts)
        own = sum(map(LexicalStatistics.of, counts), LexicalStatistics(0, 0, np.zeros(self._vocabulary, np.int64)))
        documents, tokens = over_processes(np.array([own.documents, own.tokens]))
        return LexicalStatistics(int(documents), int(tokens), over_processes(own.document_df_V))

    def _document_df_V(self, uncut: Shaper) -> np.ndarray:
        document_df_V = np.zeros(self._vocabulary, np.int64)
        for _ in counted(self._shaped(uncut), document_df_V):
            pass
        return over_processes(document_df_V)


def shaper_file(folder: Path, shape: Shape) -> Path:
    """Where the shaper of the vectors in a folder lies."""
    return folder / f"shape-{hash_of(shape.facts)}.safetensors"


def _read(path: Path) -> Shaper | None:
    """What `Shaper.save` wrote; None if there is no such file or it is damaged."""
    arrays = read_arrays(path)
    if arrays is None:
        return None
    facts = read_facts(path)
    shape = Shape(**facts["shape"] | {"cut": Cut(**facts["shape"]["cut"])})
    words = None
    if "words" in facts:
        documents, tokens = facts["words"]
        words = LexicalStatistics(documents, tokens, arrays["words_df"])
    return Shaper(shape, words, arrays.get("df"), facts["documents"])
