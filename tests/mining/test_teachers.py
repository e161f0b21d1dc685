"""Teachers against sentence-transformers, plain transformers and hand-written formulas; what must change nothing."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from mining.teachers import TYPES, TeacherSpec, check_teacher, load_teacher
from mining.teachers.pair_scorers import prompt_ids
from sparse_model import UserError
from tests.conftest import SENTENCES
from tests.mining.models import make_dense, tiny_spec, unigram_tokenizer

SHARED = os.environ.get("SPARSE_SHARED") or None
MINILM = os.environ.get("SPARSE_MINILM") or None
QUERIES = ["weather in new york", "insulin", "", "loud music and a song in the night"]
LONG = " ".join(SENTENCES * 3)
DOCUMENTS = [*SENTENCES, "rain", LONG]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


def test_a_sparse_teacher_scores_like_sentence_transformers(folders: dict[str, Path]) -> None:
    """Our special tokens weigh nothing, theirs something: they are left out on their side."""
    _compare_sparse(folders["sparse"], 24, DOCUMENTS)


def _compare_sparse(folder: Path, length: int, documents: list[str]) -> None:
    from sentence_transformers import SparseEncoder

    theirs = SparseEncoder(str(folder), device="cpu")
    theirs.max_seq_length = length
    queries = [query for query in QUERIES if query]
    vectors = [theirs.encode(texts, convert_to_sparse_tensor=False).numpy() for texts in (queries, documents)]
    for matrix in vectors:
        matrix[:, theirs.tokenizer.all_special_ids] = 0
    teacher = load_teacher(TeacherSpec("sparse", str(folder), max_length=length), "cpu")
    ours = teacher.encode(queries, "query"), teacher.encode(documents, "document")
    np.testing.assert_allclose((ours[0] @ ours[1].T).toarray(), vectors[0] @ vectors[1].T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_a_dense_teacher_scores_like_sentence_transformers(pooling: str, tmp_path: Path) -> None:
    _compare_dense(make_dense(tmp_path, pooling=pooling), 24, DOCUMENTS)


def _compare_dense(folder: Path, length: int, documents: list[str]) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(folder), device="cpu")
    theirs.max_seq_length = length
    expected = theirs.encode(QUERIES) @ theirs.encode(documents).T
    teacher = load_teacher(TeacherSpec("dense", str(folder), max_length=length), "cpu")
    ours = teacher.encode(QUERIES, "query") @ teacher.encode(documents, "document").T
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_the_pooling_that_is_asked_for_counts(folders: dict[str, Path]) -> None:
    """The first token's state by plain transformers, where the model itself says mean."""
    teacher = load_teacher(tiny_spec("dense", folders["dense"], pooling="cls"), "cpu")
    model, tokenizer = teacher._runner.model, teacher._runner.tokenizer
    with torch.no_grad():
        state = model(**tokenizer(SENTENCES[0], return_tensors="pt")).last_hidden_state[0, 0]
    np.testing.assert_allclose(teacher.encode(SENTENCES[:1], "query")[0], state / state.norm(), rtol=1e-5, atol=1e-6)


def test_a_cross_encoder_scores_like_sentence_transformers(folders: dict[str, Path]) -> None:
    from sentence_transformers import CrossEncoder

    theirs = CrossEncoder(str(folders["cross_encoder"]), device="cpu", max_length=24)
    expected = theirs.predict(PAIRS, activation_fn=torch.nn.Identity())
    assert np.ptp(expected) > 0.1
    scores = load_teacher(tiny_spec("cross_encoder", folders["cross_encoder"]), "cpu").score(PAIRS)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_monot5_is_a_softmax_over_true_and_false(folders: dict[str, Path]) -> None:
    """One pair at a time, nothing padded: log p = t − log(eᵗ + eᶠ), t and f the logits of ▁true and ▁false."""
    folder = folders["monot5"]
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    vocabulary, short = tokenizer.get_vocab(), [pair for pair in PAIRS if pair[1] != LONG]
    expected = []
    for query, document in short:
        ids = tokenizer(f"Query: {query} Document: {document} Relevant:", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits[0, 0].double()
        true, false = logits[vocabulary["▁true"]].item(), logits[vocabulary["▁false"]].item()
        expected.append(true - np.log(np.exp(true) + np.exp(false)))
    assert np.ptp(expected) > 0.01
    scores = load_teacher(TeacherSpec("monot5", str(folder), max_length=64), "cpu").score(short)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("document", [LONG, "xyz " * 50, "a   rain  ", ""])
@pytest.mark.parametrize("length", [12, 24, 40])
def test_a_long_document_loses_its_end_and_the_prompt_stays(document: str, length: int) -> None:
    tokenizer = unigram_tokenizer()
    whole = tokenizer(f"Query: red bird Document: {document} Relevant:")["input_ids"]
    (ids,) = prompt_ids(tokenizer, ["red bird"], [document], length)
    tail = tokenizer("Relevant:")["input_ids"]
    assert len(ids) == min(len(whole), length)
    assert ids[-len(tail) :] == tail and ids[: -len(tail)] == whole[: len(ids) - len(tail)]


def test_a_query_longer_than_the_prompt_is_cut_too() -> None:
    tokenizer = unigram_tokenizer()
    (ids,) = prompt_ids(tokenizer, [LONG], ["rain"], 16)
    assert len(ids) == 16 and ids[-3:] == tokenizer("Relevant:")["input_ids"]


@pytest.mark.parametrize("kind", ["cross_encoder", "monot5"])
def test_a_pair_of_megabytes_is_read_as_far_as_it_counts(kind: str, folders: dict[str, Path]) -> None:
    started = time.perf_counter()
    spec = tiny_spec(kind, folders[kind])
    long = f"{LONG} " * 10_000
    ends = [(text[:500], other[:500]) for text, other in ((QUERIES[0], long), (long, LONG))]
    whole = _results(spec, [(QUERIES[0], long), (long, LONG)])
    np.testing.assert_allclose(whole, _results(spec, ends), rtol=1e-4, atol=1e-5)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("kind", ["sparse", "dense", "cross_encoder", "monot5"])
def test_order_batch_size_and_neighbours_change_nothing(kind: str, folders: dict[str, Path]) -> None:
    spec = tiny_spec(kind, folders[kind])
    done: list[int] = []
    whole = _results(spec, PAIRS, done.append)
    assert sum(done) == len(PAIRS) * (1 if kind in ("cross_encoder", "monot5") else 2)
    assert np.array_equal(whole, _results(spec, PAIRS)), "the same list must give the same batches"
    order = np.random.default_rng(0).permutation(len(PAIRS))
    for batch_size in (1, 3, 32):
        mixed = _results(replace(spec, batch_size=batch_size), [PAIRS[i] for i in order])
        np.testing.assert_allclose(mixed, whole[order], rtol=1e-4, atol=1e-5)
    assert len(_results(spec, [])) == 0


def test_a_type_and_its_teachers_say_the_same() -> None:
    for name, kind in TYPES.items():
        teacher: Any = TeacherSpec(name, "folder").teacher_class
        assert teacher.encodes == kind.encodes, name
        assert hasattr(teacher, "encode" if kind.encodes else "score")


def _results(spec: TeacherSpec, pairs: list[tuple[str, str]], *progress: Any) -> np.ndarray:
    teacher: Any = load_teacher(spec, "cpu")
    if not teacher.encodes:
        return teacher.score(pairs, *progress)
    rows = [teacher.encode([p[i] for p in pairs], role, *progress) for i, role in enumerate(("query", "document"))]
    return np.hstack([row if isinstance(row, np.ndarray) else row.toarray() for row in rows])


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("role", ["query", "document"])
def test_vectors_are_what_encode_gives(kind: str, role: Any, folders: dict[str, Path]) -> None:
    teacher: Any = load_teacher(tiny_spec(kind, folders[kind], query_prefix="red ", document_prefix="rain "), "cpu")
    encoded = teacher.encode(DOCUMENTS, role)
    vectors = teacher.vectors(DOCUMENTS, role)
    assert vectors.dtype == torch.float32 and not vectors.requires_grad
    encoded = encoded if isinstance(encoded, np.ndarray) else encoded.toarray()
    np.testing.assert_allclose(vectors.numpy(), encoded, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["sparse", "dense", "cross_encoder", "monot5"])
def test_prefixes_are_part_of_the_texts(kind: str, folders: dict[str, Path]) -> None:
    plain, spec = (
        tiny_spec(kind, folders[kind]),
        tiny_spec(kind, folders[kind], query_prefix="red ", document_prefix="rain "),
    )
    prefixed = _results(plain, [(f"red {query}", f"rain {document}") for query, document in PAIRS])
    np.testing.assert_array_equal(_results(spec, PAIRS), prefixed)
    assert not np.allclose(_results(plain, PAIRS), prefixed)


def test_a_sparse_teacher_with_a_query_table_uses_it(tiny_model: Path, tmp_path: Path) -> None:
    import sparse_model

    sparse_model.load(tiny_model).save(tmp_path)
    for rows in (
        load_teacher(tiny_spec("sparse", tmp_path), "cpu").encode(["rain"], "query").toarray(),
        load_teacher(tiny_spec("sparse", tmp_path), "cpu").vectors(["rain"], "query").numpy(),
    ):
        assert rows.sum() == 1 and (rows > 0).sum() == 1


def test_lower_precision_stays_close(folders: dict[str, Path]) -> None:
    for kind in ("sparse", "dense", "cross_encoder", "monot5"):
        full = _results(tiny_spec(kind, folders[kind]), PAIRS)
        low = _results(tiny_spec(kind, folders[kind], dtype="bfloat16"), PAIRS)
        assert not np.array_equal(full, low) and np.abs(full - low).max() < 0.1 * np.abs(full).max()


def test_a_lost_head_is_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    make_dense(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"], config["id2label"] = ["BertForSequenceClassification"], {"0": "LABEL_0"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_teacher(tiny_spec("cross_encoder", tmp_path), "teachers[0]")
    with pytest.raises(UserError, match="it lacks classifier.bias"):
        load_teacher(tiny_spec("cross_encoder", tmp_path), "cpu")


@pytest.mark.realdata
@pytest.mark.skipif(SHARED is None, reason="SPARSE_SHARED names no folder with models/splade-tiny")
def test_a_trained_sparse_teacher() -> None:
    _compare_sparse(Path(str(SHARED)) / "models" / "splade-tiny", 64, [*SENTENCES, LONG * 3])


@pytest.mark.realdata
@pytest.mark.skipif(MINILM is None, reason="SPARSE_MINILM names no folder of all-MiniLM-L6-v2")
def test_a_trained_dense_teacher() -> None:
    _compare_dense(Path(str(MINILM)), 64, [*SENTENCES, LONG * 3])


def test_later_fields_change_no_older_hash() -> None:
    """What a teacher's stage is named by: revision and code_revision count where they are given."""
    before = "type model_name_or_path max_length batch_size weight dtype pooling query_prefix document_prefix"
    spec = tiny_spec("dense", Path("a/b"))
    assert list(spec.facts) == [*before.split(), "trust_remote_code", "tokenizer_name"]
    assert replace(spec, code_revision="v1").facts == spec.facts | {"code_revision": "v1"}
