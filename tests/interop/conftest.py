"""Checkpoints for other programs to load: of every kind of masked LM, with a V beyond their tokenizer's."""

from pathlib import Path

import pytest
import torch

import sparse_model
from tests.conftest import make_model

KINDS = ["bert", "distilbert", "roberta", "mpnet", "modernbert"]


def make_checkpoint(folder: Path, kind: str, activation_type: str = "l1_relu", extra_ids: int = 7) -> Path:
    """A saved checkpoint with random query weights, a trained output bias and ids that stand for no token."""
    plain = sparse_model.load(make_model(folder / "plain", kind))
    if extra_ids:
        plain.mlm.resize_token_embeddings(plain.vocabulary_size + extra_ids)
    encoder = sparse_model.SparseEncoder(
        plain.mlm, plain.tokenizer, activation_type=activation_type, max_seq_length=32
    ).eval()
    with torch.no_grad():
        encoder.mlm.get_output_embeddings().bias[10:60] += torch.rand(50)
    encoder.use_idf(torch.rand(encoder.vocabulary_size) * 5)
    encoder.save(folder / "checkpoint")
    return folder / "checkpoint"


@pytest.fixture(scope="session", params=KINDS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of every kind."""
    return make_checkpoint(tmp_path_factory.mktemp(request.param), request.param)
