"""The lexical share: hand-worked values, and against bm25s."""

from pathlib import Path

import bm25s
import numpy as np
import pytest
from scipy.sparse import csr_matrix

import sparse_model
from sparse_model.lexical import LexicalShare, token_counts
from tests.conftest import SENTENCES


def test_hand_worked() -> None:
    """A token twice among four, four being the average: 2 · 1.9 / (2 + 0.9 · (0.6 + 0.4)) = 3.8 / 2.9.

    Of a document of two, one of them: norm 0.9 · (0.6 + 0.4 / 2) = 0.72, 1.9 / 1.72.
    """
    counts = csr_matrix(np.array([[2, 1, 1, 0], [0, 1, 0, 1]]))
    share = LexicalShare(0.25, average_length=4.0).of(counts).toarray()
    np.testing.assert_allclose(share[0], [0.25 * 3.8 / 2.9, 0.25, 0.25, 0], rtol=1e-6)
    np.testing.assert_allclose(share[1], [0, 0.25 * 1.9 / 1.72, 0, 0.25 * 1.9 / 1.72], rtol=1e-6)


def test_is_added_to_what_the_model_says() -> None:
    """Tokens of the model's alone, of the document's alone, and of both; times the IDF where there is one."""
    counts = csr_matrix(np.array([[1, 0, 1]]))
    weights = csr_matrix(np.array([[0.5, 2, 0]], np.float32))
    added = LexicalShare(1.0, 2.0, np.array([3.0, 1.0, 2.0])).add(weights, counts)
    assert added.dtype == np.float32
    np.testing.assert_allclose(added.toarray(), [[3.5, 2, 2]], rtol=1e-6)


def test_with_idf_it_is_bm25() -> None:
    """The share 1 with BM25's own IDF ranks as bm25s' Robertson form scores, but for k1 + 1 … in both."""
    rng = np.random.default_rng(0)
    corpus = [rng.integers(0, 30, rng.integers(1, 20)).tolist() for _ in range(40)]
    counts = csr_matrix(np.stack([np.bincount(row, minlength=30) for row in corpus]))
    df = (counts > 0).sum(axis=0).A1
    idf = np.log(1 + (40 - df + 0.5) / (df + 0.5))
    index = bm25s.BM25(k1=0.9, b=0.4, method="atire", idf_method="lucene")
    index.index((corpus, {str(i): i for i in range(30)}), create_empty_token=False, show_progress=False)
    ours = LexicalShare(1.0, counts.sum() / 40, idf).of(counts)
    for query in ([3], [1, 7, 20], list(range(30))):
        np.testing.assert_allclose(
            index.get_scores_from_ids(query), np.asarray(ours[:, query].sum(axis=1)).ravel(), rtol=1e-5, atol=1e-6
        )


def test_counts_what_the_model_reads(tiny_model: Path) -> None:
    """Special tokens are none; what max_seq_length cuts off is not there; the empty text has nothing."""
    encoder = sparse_model.load(tiny_model, max_seq_length=6)
    texts = ["new york new york new york", "", SENTENCES[0]]
    counts = token_counts(encoder.tokenize_documents(texts), encoder.tokenizer, encoder.vocabulary_size)
    assert counts.shape == (3, encoder.vocabulary_size) and counts[0].sum() == 4 and counts[1].nnz == 0
    ids = encoder.tokenizer("new york", add_special_tokens=False)["input_ids"]
    assert [counts[0, i] for i in ids] == [2, 2]


def test_empty_corpus_divides_by_nothing() -> None:
    assert LexicalShare(1.0, 0.0).of(csr_matrix((3, 5))).nnz == 0


@pytest.mark.parametrize("length", [1, 50])
def test_longer_documents_get_less(length: int) -> None:
    """The same count in a document of ten times the average is worth less than in one of a tenth of it."""
    count = csr_matrix(np.array([[1, 9]]))
    assert LexicalShare(1.0, length * 1.0).of(count)[0, 0] <= LexicalShare(1.0, length * 10.0).of(count)[0, 0]
