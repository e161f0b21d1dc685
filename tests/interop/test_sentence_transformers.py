"""SparseEncoder(checkpoint) in whichever sentence-transformers is installed, and MTEB's figure of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

import sparse_model
from tests.conftest import SENTENCES
from tests.interop.conftest import make_checkpoint

st = pytest.importorskip("sentence_transformers")
QUERIES = ["new york", "rain rain", "a literal [SEP] </s>"]


def test_queries_and_documents_are_ours(checkpoint: Path) -> None:
    ours, theirs = sparse_model.load(checkpoint), st.SparseEncoder(str(checkpoint), device="cpu")
    documents = theirs.encode_document(SENTENCES, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(documents, ours.encode_documents(SENTENCES).toarray(), atol=1e-5)
    queries = theirs.encode_query(QUERIES, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(queries, ours.encode_queries(QUERIES).toarray(), atol=1e-6)
    scores = theirs.similarity(theirs.encode_query(QUERIES), theirs.encode_document(SENTENCES)).numpy()
    np.testing.assert_allclose(scores, queries @ documents.T, atol=1e-4)


@pytest.mark.parametrize("activation_type", ["l2_relu", "l3_relu"])
def test_an_activation_that_it_lacks_is_refused(activation_type: str, tmp_path: Path) -> None:
    """Never scored by another one."""
    with pytest.raises(Exception, match="activation_function"):
        theirs = st.SparseEncoder(str(make_checkpoint(tmp_path, "bert", activation_type)), device="cpu")
        theirs.encode_document(SENTENCES)


def test_mteb_gives_our_figure(beir_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("mteb")
    from benchmarks import interop, mteb_task
    from retrieval.beir_data import load_beir
    from sparse_model.verify.compare import Encoded

    checkpoint, data = make_checkpoint(tmp_path, "bert"), load_beir(str(beir_folder), "")
    encoder = sparse_model.load(checkpoint)
    vectors = Encoded(encoder.encode_documents(data.texts), encoder.encode_queries(data.queries))
    ours = interop._ndcg(data, interop.exact(vectors))
    assert mteb_task.ndcg(str(checkpoint), data) == pytest.approx(ours, abs=1e-3) and 0 < ours < 1


def test_mteb_ranks_documents_without_a_score_too(beir_folder: Path, tmp_path: Path) -> None:
    """Which is where its figure may be above ours: by rank, a document that no engine finds counts there."""
    pytest.importorskip("mteb")
    from benchmarks import interop, mteb_task
    from retrieval.beir_data import load_beir
    from sparse_model.verify.compare import Encoded

    encoder = sparse_model.load(make_checkpoint(tmp_path, "bert"))
    encoder.use_idf(torch.zeros(encoder.vocabulary_size))
    encoder.save(tmp_path / "nothing")
    data = load_beir(str(beir_folder), "")
    vectors = Encoded(encoder.encode_documents(data.texts), encoder.encode_queries(data.queries))
    assert interop._ndcg(data, interop.exact(vectors)) == 0 < mteb_task.ndcg(str(tmp_path / "nothing"), data)
