"""The cut of document vectors: hand-worked values, ties, empty rows, and against a plain loop."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random

import sparse_model
from sparse_model import UserError
from sparse_model.pruning import Cut, document_rarity
from tests.conftest import SENTENCES


def test_keeps_the_heaviest() -> None:
    """Of 3, 1, 3, 2 two: both threes; of an empty document nothing; of fewer than k all."""
    vectors = csr_matrix(np.array([[3, 1, 3, 2], [0, 0, 0, 0], [0, 5, 0, 0]], np.float32))
    expected = [[3, 0, 3, 0], [0, 0, 0, 0], [0, 5, 0, 0]]
    assert Cut(max_active_dims=2)(vectors).toarray().tolist() == expected


def test_equal_weights_by_id() -> None:
    vectors = csr_matrix(np.array([[2, 2, 2, 2]], np.float32))
    assert Cut(max_active_dims=3)(vectors).toarray().tolist() == [[2, 2, 2, 0]]


def test_share_of_the_largest() -> None:
    """Half of 4 is 2, which is kept; both limits together keep what both keep."""
    vectors = csr_matrix(np.array([[4, 2, 1.9, 3]], np.float32))
    assert Cut(prune_ratio=0.5)(vectors).toarray().tolist() == [[4, 2, 0, 3]]
    assert Cut(max_active_dims=2, prune_ratio=0.5)(vectors).toarray().tolist() == [[4, 0, 0, 3]]


def test_rarity_decides_which_not_how_much() -> None:
    """Of four documents: df 4 weighs ln 1 = 0, df 1 ln 4, df 0 (another corpus' token) 0; weights stay as they are."""
    rarity = document_rarity(np.array([4, 1, 2, 0]), 4)
    assert rarity.tolist() == pytest.approx([0, np.log(4), np.log(2), 0])
    vectors = csr_matrix(np.array([[9, 1, 1.9, 0]], np.float32))
    assert Cut(max_active_dims=2)(vectors, rarity).toarray() == pytest.approx(np.array([[0, 1, 1.9, 0]]))
    assert Cut(max_active_dims=1)(vectors, rarity).toarray() == pytest.approx(np.array([[0, 1, 0, 0]]))


@pytest.mark.parametrize("cut", [Cut(max_active_dims=5), Cut(prune_ratio=0.7), Cut(4, 0.3)], ids=str)
def test_as_row_by_row(cut: Cut) -> None:
    vectors = random(60, 40, density=0.3, format="csr", dtype=np.float32, random_state=1)
    for row, kept in zip(vectors, cut(vectors), strict=True):
        dense = row.toarray().ravel()
        order = sorted(np.flatnonzero(dense), key=lambda j: (-dense[j], j))[: cut.max_active_dims]
        least = np.float32(cut.prune_ratio or 0) * dense.max()
        assert sorted(kept.indices) == sorted(j for j in order if dense[j] >= least)


def test_leaves_its_argument_alone() -> None:
    vectors = csr_matrix(np.array([[4, 2, 1, 3]], np.float32))
    Cut(max_active_dims=1)(vectors)
    assert vectors.nnz == 4


@pytest.mark.parametrize("wrong", [{"max_active_dims": 0}, {"max_active_dims": 1.5}, {"prune_ratio": 1.0}], ids=str)
def test_refuses_what_cannot_be(wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Cut(**wrong)


def test_an_encoder_cuts_documents(tiny_model: Path) -> None:
    """By the argument and by the attribute; queries that go through a model stay whole."""
    whole = sparse_model.load(tiny_model, inf_free=False)
    cut = sparse_model.load(tiny_model, inf_free=False, max_active_dims=3)
    expected = Cut(3)(whole.encode_documents(SENTENCES))
    assert (cut.encode_documents(SENTENCES) != expected).nnz == 0 and expected[0].nnz == 3
    assert (cut.encode_queries(SENTENCES) != whole.encode_queries(SENTENCES)).nnz == 0
    whole.max_active_dims = 3
    assert (whole.encode_documents(SENTENCES) != expected).nnz == 0
