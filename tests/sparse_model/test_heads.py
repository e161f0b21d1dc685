"""Heads, positions and ids as they are in the model itself, whatever its family is called."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

import sparse_model
from sparse_model import SparseEncoder, UserError
from sparse_model.heads import longest_input
from sparse_model.query_weights import write_idf
from sparse_model.vocabulary import tokens_by_id
from tests.conftest import SENTENCES, WORDS, make_model, wordpiece_tokenizer

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def _mlm(kind: str, positions: int = 40, **more: object) -> nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=len(wordpiece_tokenizer()), max_position_embeddings=positions, **SIZES, **more
    )
    return AutoModelForMaskedLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("kind", "padding", "expected"),
    [
        ("bert", 0, 40),
        ("electra", 1, 40),
        ("roberta", 1, 38),
        ("roberta", 4, 35),
        ("xlm-roberta", 1, 38),
        ("data2vec-text", 0, 39),
        ("roberta-prelayernorm", 1, 38),
        ("xlm-roberta-xl", 1, 38),
        ("ibert", 1, 38),
        ("mpnet", 0, 38),  # which numbers from 2 on, whatever its config says of padding
        ("nystromformer", 0, 40),  # whose table has two rows more than its config says
    ],
)
def test_as_many_tokens_as_there_are_positions(kind: str, padding: int, expected: int) -> None:
    """The longest that is said is encoded, and one more is refused."""
    mlm = _mlm(kind, pad_token_id=padding)
    assert longest_input(mlm) == expected
    tokenizer = wordpiece_tokenizer()
    encoder = SparseEncoder(mlm, tokenizer, max_seq_length=expected)
    assert len(encoder.tokenize_documents([" ".join(WORDS)])[0]) == expected
    assert encoder.encode_documents([" ".join(WORDS)]).nnz > 0
    with pytest.raises(UserError, match=f"max_seq_length: {expected + 1}, .* positions for {expected} tokens"):
        encoder.max_seq_length = expected + 1


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("mobilebert", {"embedding_size": 8, "intra_bottleneck_size": 8, "num_feedforward_networks": 1}),
        ("deberta-v2", {"legacy": False}),
    ],
)
def test_other_heads_are_refused_by_name(kind: str, more: dict, tmp_path: Path) -> None:
    """One that multiplies by two matrices itself, and one whose output layer leads to D."""
    mlm = _mlm(kind, **more)
    mlm.save_pretrained(tmp_path)
    wordpiece_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"{type(mlm).__name__}: .*head .* not supported"):
        sparse_model.load(tmp_path)


def test_a_head_that_works_on_after_its_output_layer_is_refused() -> None:
    mlm = _mlm("bert")
    mlm.cls.predictions.register_forward_hook(lambda module, inputs, logits: 5 * torch.tanh(logits / 5))
    with torch.no_grad():
        mlm.get_output_embeddings().bias += 1
    with pytest.raises(UserError, match="BertForMaskedLM: .* not supported"):
        SparseEncoder(mlm, wordpiece_tokenizer(), max_seq_length=16)


def test_a_masked_lm_may_be_wrapped_again() -> None:
    mlm, tokenizer = _mlm("bert"), wordpiece_tokenizer()
    encoders = [SparseEncoder(mlm, tokenizer, max_seq_length=16) for _ in range(2)]
    rows = [encoder.encode_documents(SENTENCES) for encoder in encoders]
    assert (rows[0] != rows[1]).nnz == 0 < rows[0].nnz


@pytest.fixture
def gapped(tmp_path: Path) -> Path:
    """A model of V = 80 whose words have the ids from 11 on; 5 … 10 and those after the last stand for nothing."""
    folder = make_model(tmp_path / "gapped")
    says = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = says["model"]["vocab"]
    says["model"]["vocab"] = {token: i if i < 5 else i + 6 for token, i in vocabulary.items()}
    Tokenizer.from_str(json.dumps(says)).save(str(folder / "tokenizer.json"))
    assert max(says["model"]["vocab"].values()) < 79
    model = AutoModelForMaskedLM.from_pretrained(folder)
    model.resize_token_embeddings(80)
    model.save_pretrained(folder)
    return folder


def test_only_ids_without_a_token_are_silent(gapped: Path, tmp_path: Path) -> None:
    """And a saved checkpoint has a token for each, so that sentence-transformers encodes the same with it."""
    encoder = sparse_model.load(gapped, max_seq_length=32)
    encoder.use_idf(torch.rand(80) + 1)
    tokens = tokens_by_id(encoder.tokenizer, 80)
    unnamed = [i for i, token in enumerate(tokens) if token is None]
    assert unnamed == [5, 6, 7, 8, 9, 10, *range(len(WORDS) + 11, 80)]
    bias = encoder.mlm.get_output_embeddings().bias
    assert [i for i in range(80) if bias[i] < -5000] == sorted({*range(5), *unnamed})
    documents, queries = encoder.encode_documents(SENTENCES), encoder.encode_queries(SENTENCES)
    assert documents[:, 60:].nnz > 0 and queries[:, 60:].nnz > 0

    encoder.save(tmp_path / "saved")
    again = sparse_model.load(tmp_path / "saved")
    assert tokens_by_id(again.tokenizer, 80) == [
        f"[filler{i}]" if token is None else token for i, token in enumerate(tokens)
    ]
    assert (again.encode_documents(SENTENCES) != documents).nnz == 0
    assert (again.encode_queries(SENTENCES) != queries).nnz == 0
    st = pytest.importorskip("sentence_transformers")
    theirs = st.SparseEncoder(str(tmp_path / "saved"), device="cpu")
    encoded = theirs.encode_document(SENTENCES, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(encoded, documents.toarray(), rtol=1e-5, atol=1e-5)
    encoded = theirs.encode_query(SENTENCES, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(encoded, queries.toarray(), rtol=1e-6)


def test_a_table_of_a_gapped_vocabulary_by_token(gapped: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gapped)
    write_idf(tmp_path / "idf.json", torch.arange(80.0), tokenizer)
    assert json.loads((tmp_path / "idf.json").read_text()) == {
        token: float(i) for token, i in tokenizer.get_vocab().items()
    }
