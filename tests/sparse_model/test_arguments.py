"""What the Python API takes, and what it says of anything else; the files that it writes can be read."""

import os
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import sparse_model
from experiment.settings.keys import ModelKeys
from sparse_model import SparseEncoder, UserError
from sparse_model.errors import RunError
from tests.conftest import SENTENCES


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> SparseEncoder:
    return sparse_model.load(tiny_model)


CALLS = [
    lambda encoder, texts: encoder.encode_documents(texts),
    lambda encoder, texts: encoder.encode_queries(texts),
    lambda encoder, texts: next(iter(encoder.encode_blocks([texts]))),
]
OTHER_CALLS = [
    lambda encoder, texts: encoder.count_cut_queries(texts),
    lambda encoder, texts: sparse_model.corpus_idf(encoder.tokenizer, texts, encoder.vocabulary_size),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "of", [tuple, iter, np.array, lambda texts: (text for text in texts), lambda texts: np.array(texts, object)]
)
def test_texts_come_in_anything_that_has_an_order(encoder: SparseEncoder, call: Callable, of: Callable) -> None:
    expected = call(encoder, SENTENCES)
    assert expected.shape[0] == len(SENTENCES) and expected.nnz > 0
    assert (call(encoder, of(SENTENCES)) != expected).nnz == 0


@pytest.mark.parametrize("call", [*CALLS, *OTHER_CALLS])
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("red bird", "not a str; of one text"),
        (b"red bird", "not a bytes"),
        (np.array("red bird"), "not a ndarray"),
        (None, "not a NoneType"),
        (7, "not a int"),
        ({"red": 1}, "not a dict"),
        ({"red", "bird"}, "not a set"),
        (["red", None], "text 1 is a NoneType"),
        (["red", "bird", ("cat", "dog")], r"text 2 is a tuple, not a string: \('cat', 'dog'\)"),
        ([["red", "bird"]], "text 0 is a list"),
        (["red", 3.5], "text 1 is a float"),
        (["red", float("nan")], "text 1 is a float, not a string: nan"),
        ([b"red"], "text 0 is a bytes"),
        (np.array([["red", "bird"]]), "text 0 is a ndarray"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(encoder: SparseEncoder, call: Callable, texts: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call(encoder, texts)


def test_explain_wants_two_texts(encoder: SparseEncoder) -> None:
    with pytest.raises(UserError, match="text 0 is a list"):
        encoder.explain(["rain"], "rain")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("prune_ratio", value) for value in (5, 1, -0.1, float("nan"), True, "0.5")),
        *(("max_seq_length", value) for value in (0, 1, 2, -5, 65, 9.5, True, "9")),
        ("activation_type", "gelu"),
        ("activation_type", ""),
        ("activation_type", ["relu"]),
        ("head_dtype", "float16"),
        ("inf_free", "false"),
        ("idf_path", ""),
        ("idf_path", "no/such/file.json"),
        ("model_overrides", {"no_such_field": 1}),
    ],
)
def test_an_argument_has_the_limits_of_its_key(argument: str, value: Any, tiny_model: Path) -> None:
    with pytest.raises(UserError, match=f"^{argument}: "):
        sparse_model.load(tiny_model, **{argument: value})


@pytest.mark.parametrize("value", [5, 1, -0.1, float("nan"), 0, 0.99])
def test_a_share_is_the_same_as_a_key_and_as_an_argument(value: float, encoder: SparseEncoder) -> None:
    refused = []
    for error, attempt in (
        (ValidationError, lambda: ModelKeys(prune_ratio=value)),
        (UserError, lambda: setattr(encoder, "prune_ratio", value)),
    ):
        try:
            attempt()
        except error:
            refused.append(error)
    encoder.prune_ratio = None
    assert len(refused) == (0 if 0 <= value < 1 else 2)


@pytest.mark.parametrize("name", ["", "  ", None, 5, b"model"])
def test_a_model_has_a_name(name: Any) -> None:
    """An empty one is not the current folder."""
    with pytest.raises(UserError, match=re.escape(f"model_name_or_path: {name!r} is no folder and no hub id")):
        sparse_model.load(name)


@pytest.mark.parametrize("weight", [float("nan"), -1.0, float("inf"), 1e9])
def test_a_query_table_holds_weights(weight: float, encoder: SparseEncoder) -> None:
    before = encoder.encode_queries(SENTENCES)
    table = torch.ones(encoder.vocabulary_size)
    table[40] = weight
    with pytest.raises(UserError, match="the query table: 1 of .* has weight"):
        encoder.use_idf(table)
    for shape in ((3,), (), (1, encoder.vocabulary_size)):
        with pytest.raises(UserError, match="a query table of"):
            encoder.use_idf(torch.ones(shape))
    assert (encoder.encode_queries(SENTENCES) != before).nnz == 0


def test_a_table_of_numpy_is_taken(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    encoder.use_idf(np.full(encoder.vocabulary_size, 2.5))  # type: ignore[arg-type]
    assert set(encoder.encode_queries(SENTENCES).data.tolist()) == {2.5}


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None])
def test_a_batch_holds_a_document_or_more(size: Any, encoder: SparseEncoder) -> None:
    with pytest.raises(UserError, match="batch_size: .* is no whole number from 1 on"):
        encoder.encode_documents(SENTENCES, batch_size=size)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_saved_files_are_readable_as_the_umask_says(mask: int, encoder: SparseEncoder, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        encoder.save(tmp_path / "saved")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert "model.safetensors" in modes and set(modes.values()) == {0o666 & ~mask}


def test_weights_of_queries_that_have_no_table(tiny_model: Path, tmp_path: Path) -> None:
    """Queries through the model would pass them over; whether an argument or the checkpoint says so."""
    (tmp_path / "idf.json").write_text('{"a": 2.0}')
    encoder = sparse_model.load(tiny_model, inf_free=False)
    encoder.save(tmp_path / "two-way")
    for folder, options in ((tiny_model, {"inf_free": False}), (tmp_path / "two-way", {})):
        with pytest.raises(UserError, match="idf_path: .*inf_free is false"):
            sparse_model.load(folder, idf_path=str(tmp_path / "idf.json"), **options)
    assert sparse_model.load(tmp_path / "two-way", inf_free=True, idf_path=str(tmp_path / "idf.json")).inf_free


@pytest.mark.parametrize(
    "overrides", [[1], "x", 3, {1: 2}, {"save_pretrained": 1}, {"to_dict": {}}, {"num_hidden_layers": -1}], ids=str
)
def test_overrides_that_are_no_fields(tiny_model: Path, overrides: Any) -> None:
    """Methods of the config's class, which would be lost to it, and a model of less than no layers."""
    with pytest.raises(UserError, match="model_overrides|num_hidden_layers: -1"):
        sparse_model.load(tiny_model, model_overrides=overrides)


def test_names_that_no_file_can_have(tiny_model: Path) -> None:
    for given in ({"name_or_path": "x" * 5000}, *({key: "x" * 5000} for key in ("tokenizer_name", "idf_path"))):
        with pytest.raises(UserError, match="hub"):
            sparse_model.load(**{"name_or_path": tiny_model, **given})


@pytest.mark.parametrize("table", ["x", None, {"rain": 1.0}, ["x"]], ids=str)
def test_what_is_no_query_table(encoder: SparseEncoder, table: Any) -> None:
    with pytest.raises(UserError, match="a query table is needed"):
        encoder.use_idf(table)


def test_weights_that_are_not_finite_are_no_vectors(tiny_model: Path) -> None:
    broken = sparse_model.load(tiny_model, model_overrides={"layer_norm_eps": float("nan")})
    with pytest.raises(RunError, match="not finite"):
        broken.encode_documents(SENTENCES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "'' names no folder"),
        (None, "'None' names no folder"),
        ("a\0b", "names no folder"),
        ("file", "file is no folder"),
        ("file/below", "file is no folder"),
        ("x" * 300, "longer than the name of a file may be"),
    ],
)
def test_a_save_says_what_no_folder_is(encoder: SparseEncoder, tmp_path: Path, name: Any, message: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=message):
        encoder.save(f"{tmp_path}/{name}" if name else name)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_save_that_falls_short_says_where(encoder: SparseEncoder, tmp_path: Path) -> None:
    """A real limit of the system's on the size of files; what was saved before stays, and there is no room for more."""
    encoder.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (100, 10_000):  # a JSON file, and the weights, which a library writes
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ
        try:
            with pytest.raises(RunError, match=f"{tmp_path}.*(ulimit|full)"):
                encoder.save(tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("size", [4, 0, 2.5, None])
def test_idf_of_a_vocabulary_that_is_too_small(encoder: SparseEncoder, size: Any) -> None:
    with pytest.raises(UserError, match="the model's V is 4|vocabulary_size: .* is no whole number"):
        sparse_model.corpus_idf(encoder.tokenizer, SENTENCES, size)
