"""What export writes: ONNX in both forms, for every kind of masked LM, and what it refuses."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import sparse_model
from sparse_model.export import __main__ as command
from sparse_model.export.graphs import Logits, Weights
from sparse_model.verify.consumers import INT8_BOUNDS
from tests.conftest import SENTENCES
from tests.interop.conftest import make_checkpoint

TEXTS = [*SENTENCES, "", "rain", "…", "[SEP] <s>", "new york " * 20]


@pytest.fixture
def encoder(checkpoint: Path) -> sparse_model.SparseEncoder:
    return sparse_model.load(checkpoint)


def test_graphs_are_the_encoder(encoder: sparse_model.SparseEncoder) -> None:
    """Finished weights, an empty document's included, and logits from which they follow."""
    ids, mask = encoder.pad(encoder.tokenize_documents(TEXTS))
    expected = encoder.encode_documents(TEXTS).toarray()
    assert not expected[len(SENTENCES)].any() and expected[len(SENTENCES) + 1].any()
    with torch.no_grad():
        np.testing.assert_allclose(Weights(encoder)(ids, mask), expected, atol=1e-5)
        logits = Logits(encoder)(ids, mask) * mask.unsqueeze(2)
    np.testing.assert_allclose(logits.amax(1).relu().log1p().log1p()[:6], expected[:6], atol=1e-5)


def test_onnx_in_both_forms(checkpoint: Path, encoder: sparse_model.SparseEncoder, tmp_path: Path) -> None:
    """Of other batch sizes and lengths than it was traced with."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    assert command.main(["onnx", str(checkpoint), str(tmp_path / "out")]) == 0
    raw, pooled = (onnxruntime.InferenceSession(tmp_path / "out" / name) for name in ("model.onnx", "pooled.onnx"))
    for texts in (TEXTS, TEXTS[:1], ["rain"] * 3):
        ids, mask = encoder.pad(encoder.tokenize_documents(texts))
        inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        expected = encoder.encode_documents(texts).toarray()
        np.testing.assert_allclose(pooled.run(None, inputs)[0], expected, atol=1e-5)
        logits = np.where(mask.numpy()[:, :, None] > 0, raw.run(None, inputs)[0], -np.inf).max(1)
        has_text = expected.any(axis=1)
        np.testing.assert_allclose(np.log1p(np.log1p(np.maximum(logits, 0)))[has_text], expected[has_text], atol=1e-5)
    assert json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text())["max_seq_length"] == 32
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_onnx_in_8_bit_integers(
    checkpoint: Path, encoder: sparse_model.SparseEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both forms: products of integers, the head's too, and weights within what verify allows."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    assert command.main(["onnx", str(checkpoint), str(tmp_path / "out"), "--int8"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.onnx")) == ["model.onnx", "pooled.onnx"]
    ids, mask = encoder.pad(encoder.tokenize_documents(TEXTS))
    inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    for name in ("model.onnx", "pooled.onnx"):
        graph = onnx.load(tmp_path / "out" / name).graph
        constants = {tensor.name for tensor in graph.initializer}
        assert not any(node.op_type == "MatMul" and constants.intersection(node.input) for node in graph.node)
    (weights,) = onnxruntime.InferenceSession(tmp_path / "out" / "pooled.onnx").run(None, inputs)
    expected = encoder.encode_documents(TEXTS).toarray()
    assert 0 < np.abs(weights - expected).max() < INT8_BOUNDS[0]


def test_what_is_missing_is_told_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparse_model.commands.find_spec", lambda name: None if name == "onnx" else find_spec(name))
    assert command.main(["onnx", "no/model/here", str(tmp_path / "out")]) == 2
    assert "pip install" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert command.main(["onnx", "no/model/here", str(tmp_path)]) == 2
    assert "holds something already" in capsys.readouterr().err and (tmp_path / "mine.txt").read_text() == "mine"


def test_an_export_that_fails_leaves_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparse_model.export import onnx

    def fail(encoder: sparse_model.SparseEncoder, folder: Path, **options: bool) -> None:
        (folder / "half").write_text("")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "require", lambda **options: None)
    monkeypatch.setattr(onnx, "export", fail)
    assert command.main(["onnx", str(tiny_model), str(tmp_path / "out")]) == 1
    assert "is full; free some" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("activation_type", ["relu", "l2_relu"])
def test_fastembed_takes_two_logarithms(
    activation_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sparse_model.export import fastembed

    monkeypatch.setattr(fastembed, "require", lambda: None)
    checkpoint = make_checkpoint(tmp_path, "bert", activation_type)
    assert command.main(["fastembed", str(checkpoint), str(tmp_path / "out")]) == 2
    assert "takes log1p twice" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_fastembeds_folder(checkpoint: Path, tmp_path: Path) -> None:
    """That it encodes alike is verify's to tell; documents are cut at the checkpoint's length."""
    pytest.importorskip("onnx")
    assert command.main(["fastembed", str(checkpoint), str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.onnx", "idf.json", "tokenizer.json", "tokenizer_config.json"} <= names
    assert not any("safetensors" in name or name == "modules.json" for name in names)
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["model_max_length"] == 32
