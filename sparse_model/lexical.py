"""The lexical share: what BM25 would store of a document's own tokens, added to the weights that a model gives them.

One vector, one index, the same query; the model then only has to say what words alone do not. BM25's term frequency
part: Robertson and Zaragoza 2009, section 3.5; k1 and b as in Anserini (Thakur et al. 2021, arXiv 2104.08663).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from sparse_model import limits
from sparse_model.errors import UserError

K1, B = 0.9, 0.4
FILE = "lexical_share.json"  # of a checkpoint that was trained under a share


@dataclass(frozen=True)
class LexicalShare:
    """Adds share · tf·(k1 + 1) / (tf + k1·(1 − b + b·length/average_length)) for every token of a document.

    Args:
        share: 0 adds nothing.
        average_length: tokens of the corpus' documents on average (see `LexicalStatistics`).
        idf_V: [V] what each token's part is multiplied by; None: 1.
    """

    share: float
    average_length: float
    idf_V: np.ndarray | None = None

    def of(self, counts_NV: csr_matrix) -> csr_matrix:
        """The share alone, float32 [N, V], of documents with so many of each token."""
        counts_NV = csr_matrix(counts_NV, dtype=np.float64)
        lengths_N = np.asarray(counts_NV.sum(axis=1)).ravel()
        norm_N = K1 * (1 - B + B * lengths_N / max(self.average_length, 1e-9))
        tf = counts_NV.data
        parts = self.share * tf * (K1 + 1) / (tf + np.repeat(norm_N, np.diff(counts_NV.indptr)))
        if self.idf_V is not None:
            parts *= self.idf_V[counts_NV.indices]
        return csr_matrix((parts.astype(np.float32), counts_NV.indices, counts_NV.indptr), shape=counts_NV.shape)

    def of_ids(
        self, tokenizer: Any, vocabulary_size: int, prompt_ids: Sequence[int], ids: Sequence[Sequence[int]]
    ) -> csr_matrix:
        """The share alone, of documents as `token_counts` takes them."""
        return self.of(token_counts(ids, tokenizer, vocabulary_size, prompt_ids))

    def add(self, weights_NV: csr_matrix, counts_NV: csr_matrix) -> csr_matrix:
        """The vectors [N, V] with their documents' share."""
        return csr_matrix(weights_NV + self.of(counts_NV), dtype=np.float32)


@dataclass(frozen=True)
class LexicalStatistics:
    """What a share needs to know of a corpus. It stays with the vectors: a later document is weighed by it, too."""

    documents: int
    tokens: int
    document_df_V: np.ndarray
    """int64 [V], in how many documents each token stands"""

    @classmethod
    def of(cls, counts_NV: csr_matrix) -> "LexicalStatistics":
        """Of documents with so many of each token."""
        df = np.bincount(counts_NV.indices, minlength=counts_NV.shape[1])
        return cls(counts_NV.shape[0], int(counts_NV.sum()), df.astype(np.int64))

    def __add__(self, other: "LexicalStatistics") -> "LexicalStatistics":
        """Of both corpora together."""
        df = self.document_df_V + other.document_df_V
        return LexicalStatistics(self.documents + other.documents, self.tokens + other.tokens, df)

    def share(self, share: float, with_idf: bool) -> LexicalShare:
        """The share of a document of this corpus; with_idf: times `query_weights.idf` of its tokens."""
        from sparse_model.query_weights import idf  # here: it loads torch

        idf_V = idf(self.document_df_V, self.documents) if with_idf else None
        return LexicalShare(share, self.tokens / max(self.documents, 1), idf_V)


@dataclass(frozen=True)
class TrainedShare:
    """The share that a model was trained under: its weights lack what that says, and no checkpoint can add it.

    A file beside the checkpoint tells it, which this toolkit reads and others pass over.
    """

    lexical_share: float = 0.0
    lexical_idf: bool = False

    @property
    def missed(self) -> str:
        """What to tell whoever takes the model elsewhere; "" of one that was trained without."""
        if not self.lexical_share:
            return ""
        times = " times the IDF" if self.lexical_idf else ""
        return (
            f"the model's vectors lack the lexical share of {self.lexical_share:g}{times} that it was trained under: "
            f"evaluation here adds it, as {FILE} says; whoever encodes with the checkpoint alone leaves it out."
        )

    def write(self, folder: Path) -> None:
        """Say it in a checkpoint's folder; nothing of a model that was trained without."""
        if self.lexical_share:
            (folder / FILE).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "TrainedShare":
        """What a checkpoint's folder says.

        Raises:
            UserError: if the file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return cls()
        try:
            says = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        if limits.lexical_share(says.lexical_share, f"{path}: lexical_share") is None:
            raise UserError(f"{path}: lexical_share is null; give a number.")
        if not isinstance(says.lexical_idf, bool):
            raise UserError(f"{path}: lexical_idf: {says.lexical_idf!r} is neither true nor false.")
        return says


def token_counts(
    ids: Sequence[Sequence[int]], tokenizer: Any, vocabulary_size: int, prompt_ids: Sequence[int] = ()
) -> csr_matrix:
    """How often each token stands in each document, int64 [N, V]; special tokens are none.

    Args:
        ids: of documents as a model reads them (`SparseEncoder.tokenize_documents`), cut at its length.
        prompt_ids: `SparseEncoder.prompt_ids`, which are not counted: a share is of a document's own words.
    """
    ids = [row[_alike(row, prompt_ids) :] for row in ids]
    rows = np.repeat(np.arange(len(ids)), [len(row) for row in ids])
    columns = np.concatenate([np.zeros(0, np.int64), *(np.asarray(row, dtype=np.int64) for row in ids)])
    own = ~np.isin(columns, tokenizer.all_special_ids)
    ones = np.ones(int(own.sum()), dtype=np.int64)
    return csr_matrix((ones, (rows[own], columns[own])), shape=(len(ids), vocabulary_size))


def _alike(row: Sequence[int], prompt_ids: Sequence[int]) -> int:
    """How many ids both begin with; a tokenizer may have joined the prompt's last one with the text."""
    pairs = enumerate(zip(row, prompt_ids, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(row), len(prompt_ids)))
