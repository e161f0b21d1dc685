"""verify: every installed program gives our weights, of every kind of model; what differs is seen and told."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import sparse_model
from sparse_model.query_weights import read_idf
from sparse_model.verify import __main__ as command
from sparse_model.verify import compare, consumers
from sparse_model.verify.compare import Comparison, Encoded
from sparse_model.verify.consumers import CONSUMERS, Checkpoint, Consumer
from sparse_model.verify.texts import TEXTS
from tests.conftest import SENTENCES, make_model
from tests.interop.conftest import make_checkpoint

Shown = pytest.CaptureFixture[str]


def rows(shown: Shown) -> dict[str, str]:
    """The line of each program in what was printed."""
    lines = shown.readouterr().out.splitlines()
    return {name: next(line for line in lines if line.startswith(name)) for name in CONSUMERS}


@pytest.fixture
def few(tmp_path: Path) -> list[str]:
    """--texts and a file of some: so many that no batch lacks tokens (transformers 4.44 fails there)."""
    texts = [*SENTENCES, "", "...", "a literal [SEP] </s>", "rain " * 99, "rain"]
    (tmp_path / "few.txt").write_text("\n".join(texts))
    return ["--texts", str(tmp_path / "few.txt")]


@pytest.mark.slow
def test_every_installed_program_agrees(checkpoint: Path, capsys: Shown) -> None:
    assert command.main([str(checkpoint)]) == 0
    found = rows(capsys)
    for name in ("sentence-transformers", "transformers", "TorchScript", "the same + client"):
        assert " agree" in found[name]
    assert "e+00" in found["one-logarithm server"]
    for name in ("ONNX, raw logits", "ONNX, pooled", "ONNX, int8", "FastEmbed"):
        installed = all(find_spec(package) for package in (CONSUMERS[name].package, "onnx"))
        assert (" agree" if installed else f"not installed: pip install {CONSUMERS[name].pip}") in found[name]


@pytest.mark.slow
@pytest.mark.parametrize("activation_type", ["relu", "l2_relu", "l3_relu"])
def test_other_activations(activation_type: str, few: list[str], tmp_path: Path, capsys: Shown) -> None:
    """One logarithm is right as it is served; what sentence-transformers does not know, it refuses."""
    assert command.main([str(make_checkpoint(tmp_path, "bert", activation_type)), *few]) == 0
    found = rows(capsys)
    assert ("right as they are" in found["one-logarithm server"]) == (activation_type == "relu")
    assert ("refuses" in found["sentence-transformers"]) == (activation_type != "relu")
    assert " agree" in found["the same + client"]


@pytest.mark.slow
@pytest.mark.parametrize("extra_ids", [0, 7])
@pytest.mark.parametrize("added_tokens", [0, 2])
@pytest.mark.parametrize("named", ["fewer", "more"])
def test_vocabularies_of_other_sizes(
    extra_ids: int, added_tokens: int, named: str, few: list[str], tmp_path: Path, capsys: Shown
) -> None:
    """V of the model beyond the tokenizer's, tokens added to both, query weights for fewer or other tokens."""
    plain = sparse_model.load(make_checkpoint(tmp_path / "first", "roberta", extra_ids=0))
    tokenizer = plain.tokenizer
    tokenizer.add_tokens([f"harbour{i}" for i in range(added_tokens)])
    plain.mlm.resize_token_embeddings(len(tokenizer) + extra_ids)
    encoder = sparse_model.SparseEncoder(plain.mlm, tokenizer, activation_type="l1_relu", max_seq_length=32)
    weights = dict.fromkeys(sorted(tokenizer.get_vocab())[:: 2 if named == "fewer" else 1], 2.5)
    weights |= {} if named == "fewer" else {"nowhere": 3.0}
    (tmp_path / "weights.json").write_text(json.dumps(weights))
    table = read_idf(str(tmp_path / "weights.json"), tokenizer, encoder.vocabulary_size)
    encoder.use_idf(table)
    encoder.eval().save(tmp_path / "checkpoint")
    assert command.main([str(tmp_path / "checkpoint"), *few]) == 0
    assert " agree" in rows(capsys)["sentence-transformers"]


@pytest.mark.slow
def test_a_siamese_checkpoint(tiny_model: Path, few: list[str], tmp_path: Path, capsys: Shown) -> None:
    sparse_model.load(tiny_model, inf_free=False, activation_type="l1_relu", max_seq_length=32).save(tmp_path / "c")
    assert command.main([str(tmp_path / "c"), *few]) == 0
    shown = rows(capsys)
    assert " agree" in shown["sentence-transformers"] and " agree" in shown["transformers"]


@pytest.mark.slow
def test_a_query_model_of_its_own(tiny_model: Path, few: list[str], tmp_path: Path, capsys: Shown) -> None:
    """Of another kind, length and activation; each program opens both folders."""
    own = sparse_model.load(make_model(tmp_path / "own", "distilbert", seed=1), inf_free=False, max_seq_length=12)
    plain = sparse_model.load(tiny_model, inf_free=False)
    options = {"activation_type": "l1_relu", "max_seq_length": 32, "query_prompt": "city ", "query_model": own}
    sparse_model.SparseEncoder(plain.mlm, plain.tokenizer, inf_free=False, **options).eval().save(tmp_path / "c")
    assert command.main([str(tmp_path / "c"), *few]) == 0
    shown = rows(capsys)
    assert " agree" in shown["sentence-transformers"] and " agree" in shown["transformers"]
    assert "not for a siamese checkpoint" in shown["FastEmbed"] or "not installed" in shown["FastEmbed"]


def _off_by(delta: float) -> Consumer:
    def encode(checkpoint: Checkpoint) -> Encoded:
        documents = checkpoint.encoder.encode_documents(checkpoint.texts)
        documents.data[0] += delta
        return Encoded(documents, checkpoint.encoder.encode_queries(checkpoint.texts))

    return Consumer("torch", "torch", encode)


@pytest.mark.parametrize(("delta", "code"), [(5e-5, 0), (2e-4, 1), (float("nan"), 1)])
def test_what_is_off_ends_with_1(
    tiny_model: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch, delta: float, code: int
) -> None:
    """And a plain masked LM is compared as it would be saved."""
    monkeypatch.setattr(consumers, "CONSUMERS", {"other": _off_by(delta)})
    assert command.main([str(tiny_model)]) == code
    shown = capsys.readouterr().out
    assert ("OFF by more than 0.0001" in shown) == bool(code) and "no checkpoint of ours" in shown


def test_a_program_that_fails_ends_with_1(tiny_model: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(checkpoint: Checkpoint) -> Encoded:
        raise KeyError("theirs")

    programs = {"broken": Consumer("torch", "torch", fail), "absent": Consumer("no_such_package", "it", fail)}
    monkeypatch.setattr(consumers, "CONSUMERS", programs)
    assert command.main([str(tiny_model)]) == 1
    shown = capsys.readouterr().out
    assert "FAILED: KeyError" in shown and "not installed: pip install it" in shown


def test_rankings_by_hand() -> None:
    """Ours 3 > 2 > 1. A swap of 3 and 2 is another ranking; a rise of no more than a tie is none."""
    ours = np.array([[3.0, 2.0, 1.0]])
    assert compare._rank_alike(np.array([[30.0, 20.0, 10.0]]), ours, 0.0)
    assert not compare._rank_alike(np.array([[2.0, 3.0, 1.0]]), ours, 0.5)
    assert compare._rank_alike(np.array([[2.0, 3.0, 1.0]]), ours, 1.0)


def test_special_ids_and_texts_without_a_token_are_left_out(tiny_model: Path) -> None:
    """Others may weigh both; one weight of a word is seen."""
    encoder = sparse_model.load(tiny_model)
    comparison = Comparison(encoder, [*SENTENCES, ""])
    theirs = comparison.ours.documents.tolil()
    theirs[len(SENTENCES), 9] = 4.0
    theirs[0, encoder.tokenizer.sep_token_id] = 4.0
    assert comparison.difference(Encoded(csr_matrix(theirs), comparison.ours.queries), 1e-4).weights == 0
    theirs[1, 9] += 4.0
    assert comparison.difference(Encoded(csr_matrix(theirs), comparison.ours.queries), 1e-4).weights == 4.0


def test_texts_of_ones_own(tiny_model: Path, tmp_path: Path, capsys: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "CONSUMERS", {"other": _off_by(0)})
    (tmp_path / "mine.txt").write_text("rain in new york\n\nwind\n")
    assert command.main([str(tiny_model), "--texts", str(tmp_path / "mine.txt")]) == 0
    assert "3 texts, of which 1 without a token" in capsys.readouterr().out
    assert command.main([str(tiny_model), "--texts", str(tmp_path / "none.txt")]) == 2
    assert "--texts" in capsys.readouterr().err


def test_the_nasty_texts_are_there() -> None:
    kinds = ["", "...", "[SEP]", "\x00", "😀", "مرحبا", "UPPER"]
    assert all(any(kind in text if kind else text == "" for text in TEXTS) for kind in kinds)
    assert max(len(text.split()) for text in TEXTS) >= 10_000
