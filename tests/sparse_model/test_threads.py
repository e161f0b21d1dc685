"""One encoder used from several threads, copied, pickled, and handed to a process of its own."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from scipy.sparse import csr_matrix
from transformers import AutoModelForMaskedLM

import sparse_model
from sparse_model import SparseEncoder
from sparse_model.layout import load_tokenizer
from sparse_model.tokens import document_ids, query_ids
from tests.conftest import SENTENCES, byte_level_tokenizer, make_model, wordpiece_tokenizer

# Of 1 to 60 tokens: most are cut at 16, and the queries, which are not cut, hold more.
TEXTS = [" ".join((SENTENCES * 2)[: 1 + i % 5])[: 6 + 40 * (i % 7)] for i in range(24)]


def _same(one: csr_matrix, other: csr_matrix) -> bool:
    """Bit for bit, and stored in the same order."""
    parts = ((one.indptr, other.indptr), (one.indices, other.indices), (one.data, other.data))
    return one.shape == other.shape and all(a.tobytes() == b.tobytes() for a, b in parts)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("inf_free", [False, True])
def test_eight_threads_with_both_calls(tiny_model: Path, training: bool, inf_free: bool) -> None:
    """Documents are cut and queries are not, whoever tokenises beside; a model in training drops nothing out."""
    overrides = {"hidden_dropout_prob": 0.5}
    encoder = sparse_model.load(tiny_model, max_seq_length=16, inf_free=inf_free, model_overrides=overrides)
    calls = [lambda: encoder.encode_documents(TEXTS, batch_size=4), lambda: encoder.encode_queries(TEXTS)]
    expected = [call() for call in calls]
    assert expected[0].nnz > 0 and expected[1].nnz > 0
    encoder.train(training)
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(calls[i % 2]) for i in range(48)]
    assert all(_same(future.result(), expected[i % 2]) for i, future in enumerate(found))
    assert encoder.training == encoder.mlm.training == training


@pytest.mark.parametrize("make", [wordpiece_tokenizer, byte_level_tokenizer])
@pytest.mark.parametrize("side", ["right", "left"])
def test_tokenising_leaves_the_tokenizer_as_it_is(make: Callable, side: str) -> None:
    """Cut as the tokenizer's own truncation cuts, which is never switched on."""
    tokenizer, own = make(max_length=9), make(max_length=9)
    tokenizer.truncation_side = own.truncation_side = side
    for length in (3, 4, 16, 100):
        found = document_ids(tokenizer, TEXTS, length)
        assert found == own(TEXTS, truncation=True, max_length=length)["input_ids"]
        assert tokenizer.backend_tokenizer.truncation is None
    rows = own(TEXTS, truncation=True, max_length=9, add_special_tokens=False)["input_ids"]
    assert query_ids(tokenizer, TEXTS) == [sorted(set(row) - set(own.all_special_ids)) for row in rows]
    assert tokenizer.backend_tokenizer.truncation is None


def test_an_encoder_starts_in_the_mode_of_its_model(tiny_model: Path) -> None:
    """Else encoding would leave a model with its dropout on."""
    mlm = AutoModelForMaskedLM.from_pretrained(tiny_model)
    encoder = SparseEncoder(mlm, load_tokenizer(str(tiny_model)))
    encoder.encode_documents(["rain"])
    assert not mlm.training


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_a_copy_encodes_the_same_and_is_its_own(tmp_path: Path, copied: Callable) -> None:
    encoder = sparse_model.load(make_model(tmp_path), max_seq_length=16, activation_type="l1_relu")
    encoder.use_idf(torch.rand(encoder.vocabulary_size))
    documents, queries = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    other = copied(encoder)
    assert _same(other.encode_documents(TEXTS), documents) and _same(other.encode_queries(TEXTS), queries)
    other.use_idf(torch.zeros(other.vocabulary_size))
    with torch.no_grad():
        other.mlm.get_output_embeddings().bias.fill_(-1e4)
    assert other.encode_documents(TEXTS).nnz == other.encode_queries(TEXTS).nnz == 0
    assert _same(encoder.encode_documents(TEXTS), documents) and _same(encoder.encode_queries(TEXTS), queries)


def _encoded_there(encoder: SparseEncoder) -> tuple[csr_matrix, csr_matrix]:
    return encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)


@pytest.mark.process
def test_a_spawned_process_encodes_the_same(tiny_model: Path) -> None:
    """After use here, with several threads: where a forked process would wait for ever."""
    encoder = sparse_model.load(tiny_model, max_seq_length=16)
    documents, queries = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(_encoded_there, encoder).result(timeout=120)
    assert _same(there[0], documents) and _same(there[1], queries)
