"""Vectors in a shape: the share first, then the cut, statistics of the whole corpus, each by hand over one matrix."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack

from retrieval.beir_data import load_beir
from retrieval.blocks import FreshVectors
from retrieval.score_dataset import score_dataset
from retrieval.shaped import Shape, ShapedVectors, Shaper, shaper_file
from sparse_model.errors import UserError
from sparse_model.lexical import LexicalStatistics
from sparse_model.pruning import Cut, document_rarity
from tests.retrieval.bag_of_words import VOCABULARY, BagOfWords, random_beir

SHAPES = [
    Shape(Cut(max_active_dims=2)),
    Shape(Cut(prune_ratio=0.6)),
    Shape(Cut(max_active_dims=2), cut_by="weight_df"),
    Shape(lexical_share=0.25),
    Shape(Cut(max_active_dims=3), "weight_df", lexical_share=0.5, lexical_idf=True),
]


def _by_hand(shape: Shape, texts: list[str]) -> csr_matrix:
    encoder = BagOfWords()
    weights, counts = encoder.encode_documents(texts), encoder.count_tokens(texts)
    if shape.lexical_share:
        share = LexicalStatistics.of(counts).share(shape.lexical_share, shape.lexical_idf)
        weights = csr_matrix(weights.toarray() + share.of(counts).toarray())
    rarity = document_rarity((weights.toarray() > 0).sum(axis=0), len(texts))
    return shape.cut(weights, rarity if shape.cut_by == "weight_df" else None)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blocks_are_as_by_hand(shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several blocks, whose statistics are those of the whole corpus."""
    for module in ("retrieval.blocks", "retrieval.shaped"):
        monkeypatch.setattr(f"{module}.BLOCK", 64)
    encoder, texts = BagOfWords(), load_beir(str(random_beir(tmp_path / "random", 200)), "").texts
    vectors = ShapedVectors(FreshVectors(encoder, texts), shape, VOCABULARY, texts, encoder.count_tokens)
    positions, weights = map(list, zip(*vectors.blocks(), strict=True))
    assert np.concatenate(positions).tolist() == list(range(200))
    np.testing.assert_allclose(vstack(weights).toarray(), _by_hand(shape, texts).toarray(), rtol=1e-6)
    left = dict(enumerate(range(0, 200, 64)))
    skipped = np.concatenate([positions for positions, _ in vectors.blocks(skip={0})])
    assert skipped.tolist() == list(range(left[1], 200))


def test_figures_are_of_the_shape(tmp_path: Path) -> None:
    """Lengths, FLOPS and index are those after the cut; the vectors that are kept are whole, and used again."""
    data = load_beir(str(random_beir(tmp_path / "random", 200)), "")
    kept = tmp_path / "vectors"
    whole = score_dataset(BagOfWords(), data, vectors_folder=kept).figures
    cut = score_dataset(BagOfWords(), data, vectors_folder=kept, shape=Shape(Cut(max_active_dims=2))).figures
    assert 1 < cut["d_length"] <= 2 < whole["d_length"] and cut["flops"] < whole["flops"]
    assert cut["index_bytes"] == round(cut["d_length"] * 200) * 6
    again = score_dataset(BagOfWords(), data, vectors_folder=kept).figures
    assert again["d_length"] == whole["d_length"]


def test_the_default_shape_changes_nothing() -> None:
    assert not Shape() and Shape().facts == {} and not Shape(lexical_idf=True)
    assert all(SHAPES) and len({str(shape.facts) for shape in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_later_document_is_shaped_by_the_corpus_statistics(shape: Shape, tmp_path: Path) -> None:
    """A text of the corpus gets the vector that is indexed, alone, from the file beside the kept vectors."""
    data, kept = load_beir(str(random_beir(tmp_path / "random", 200)), ""), tmp_path / "vectors"
    score_dataset(BagOfWords(), data, vectors_folder=kept, shape=shape)
    shaper = Shaper.load(shaper_file(kept, shape))
    assert shaper.shape == shape
    indexed = _by_hand(shape, data.texts)
    for i in (0, 199):
        vector = shaper.encode(BagOfWords(), [data.texts[i]])
        np.testing.assert_allclose(vector.toarray(), indexed[i].toarray(), rtol=1e-6)
    assert shaper.encode(BagOfWords(), []).shape == (0, VOCABULARY)


def test_kept_statistics_are_used_and_damaged_ones_made_anew(tmp_path: Path) -> None:
    data, kept = load_beir(str(random_beir(tmp_path / "random", 50)), ""), tmp_path / "vectors"
    shape = Shape(lexical_share=0.25)
    score_dataset(BagOfWords(), data, vectors_folder=kept, shape=shape)
    path, texts = shaper_file(kept, shape), data.texts
    made = path.read_bytes()
    of_kept = ShapedVectors(FreshVectors(BagOfWords(), texts), shape, VOCABULARY, texts, _not_called, kept)
    assert of_kept.shaper.words is not None and of_kept.shaper.words.documents == 50
    path.write_bytes(made[:40])
    with pytest.raises(UserError, match="damaged"):
        Shaper.load(path)
    score_dataset(BagOfWords(), data, vectors_folder=kept, shape=shape)
    assert path.read_bytes() == made


def _not_called(texts: object) -> csr_matrix:
    raise AssertionError("counted again")
