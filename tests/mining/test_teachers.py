"""Teachers against sentence-transformers, plain transformers and hand-written formulas; what must change nothing."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from mining.teachers import TeacherSpec, check_teacher, load_teacher
from mining.teachers.pair_scorers import prompt_ids
from sparse_model import UserError
from tests.conftest import SENTENCES
from tests.mining.models import make_cross_encoder, make_dense, make_monot5, make_sparse, unigram_tokenizer

SHARED = os.environ.get("SPARSE_SHARED") or None
MINILM = os.environ.get("SPARSE_MINILM") or None
QUERIES = ["weather in new york", "insulin", "", "loud music and a song in the night"]
LONG = " ".join(SENTENCES * 3)
DOCUMENTS = [*SENTENCES, "rain", LONG]
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


def _spec(kind: str, folder: Path, **more: Any) -> TeacherSpec:
    return TeacherSpec(kind, str(folder), max_length=24, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny teacher of each type."""
    root = tmp_path_factory.mktemp("teachers")
    return {
        "sparse": make_sparse(root / "sparse"),
        "dense": make_dense(root / "dense", pooling="mean"),
        "cross_encoder": make_cross_encoder(root / "cross_encoder"),
        "monot5": make_monot5(root / "monot5"),
    }


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
    teacher = load_teacher(_spec("dense", folders["dense"], pooling="cls"), "cpu")
    model, tokenizer = teacher._runner.model, teacher._runner.tokenizer
    with torch.no_grad():
        state = model(**tokenizer(SENTENCES[0], return_tensors="pt")).last_hidden_state[0, 0]
    np.testing.assert_allclose(teacher.encode(SENTENCES[:1], "query")[0], state / state.norm(), rtol=1e-5, atol=1e-6)


def test_a_cross_encoder_scores_like_sentence_transformers(folders: dict[str, Path]) -> None:
    from sentence_transformers import CrossEncoder

    theirs = CrossEncoder(str(folders["cross_encoder"]), device="cpu", max_length=24)
    expected = theirs.predict(PAIRS, activation_fn=torch.nn.Identity())
    assert np.ptp(expected) > 0.1
    scores = load_teacher(_spec("cross_encoder", folders["cross_encoder"]), "cpu").score(PAIRS)
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


@pytest.mark.parametrize("kind", ["sparse", "dense", "cross_encoder", "monot5"])
def test_order_batch_size_and_neighbours_change_nothing(kind: str, folders: dict[str, Path]) -> None:
    spec = _spec(kind, folders[kind])
    done: list[int] = []
    whole = _results(spec, PAIRS, done.append)
    assert sum(done) == len(PAIRS) * (1 if kind in ("cross_encoder", "monot5") else 2)
    assert np.array_equal(whole, _results(spec, PAIRS)), "the same list must give the same batches"
    order = np.random.default_rng(0).permutation(len(PAIRS))
    for batch_size in (1, 3, 32):
        mixed = _results(replace(spec, batch_size=batch_size), [PAIRS[i] for i in order])
        np.testing.assert_allclose(mixed, whole[order], rtol=1e-4, atol=1e-5)
    assert len(_results(spec, [])) == 0


def _results(spec: TeacherSpec, pairs: list[tuple[str, str]], *progress: Any) -> np.ndarray:
    teacher: Any = load_teacher(spec, "cpu")
    if hasattr(teacher, "score"):
        return teacher.score(pairs, *progress)
    rows = [teacher.encode([p[i] for p in pairs], role, *progress) for i, role in enumerate(("query", "document"))]
    return np.hstack([row if isinstance(row, np.ndarray) else row.toarray() for row in rows])


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("role", ["query", "document"])
def test_vectors_are_what_encode_gives(kind: str, role: Any, folders: dict[str, Path]) -> None:
    teacher: Any = load_teacher(_spec(kind, folders[kind], query_prefix="red ", document_prefix="rain "), "cpu")
    encoded = teacher.encode(DOCUMENTS, role)
    vectors = teacher.vectors(DOCUMENTS, role)
    assert vectors.dtype == torch.float32 and not vectors.requires_grad
    encoded = encoded if isinstance(encoded, np.ndarray) else encoded.toarray()
    np.testing.assert_allclose(vectors.numpy(), encoded, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["sparse", "dense", "cross_encoder", "monot5"])
def test_prefixes_are_part_of_the_texts(kind: str, folders: dict[str, Path]) -> None:
    plain, spec = _spec(kind, folders[kind]), _spec(kind, folders[kind], query_prefix="red ", document_prefix="rain ")
    prefixed = _results(plain, [(f"red {query}", f"rain {document}") for query, document in PAIRS])
    np.testing.assert_array_equal(_results(spec, PAIRS), prefixed)
    assert not np.allclose(_results(plain, PAIRS), prefixed)


def test_a_sparse_teacher_with_a_query_table_uses_it(tiny_model: Path, tmp_path: Path) -> None:
    import sparse_model

    sparse_model.load(tiny_model).save(tmp_path)
    for rows in (
        load_teacher(_spec("sparse", tmp_path), "cpu").encode(["rain"], "query").toarray(),
        load_teacher(_spec("sparse", tmp_path), "cpu").vectors(["rain"], "query").numpy(),
    ):
        assert rows.sum() == 1 and (rows > 0).sum() == 1


def test_lower_precision_stays_close(folders: dict[str, Path]) -> None:
    for kind in ("sparse", "dense", "cross_encoder", "monot5"):
        full = _results(_spec(kind, folders[kind]), PAIRS)
        low = _results(_spec(kind, folders[kind], dtype="bfloat16"), PAIRS)
        assert not np.array_equal(full, low) and np.abs(full - low).max() < 0.1 * np.abs(full).max()


def test_a_lost_head_is_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    make_dense(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"], config["id2label"] = ["BertForSequenceClassification"], {"0": "LABEL_0"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_teacher(_spec("cross_encoder", tmp_path), "teachers[0]")
    with pytest.raises(UserError, match="it lacks classifier.bias"):
        load_teacher(_spec("cross_encoder", tmp_path), "cpu")


@pytest.mark.parametrize("kind", ["sparse", "dense", "cross_encoder", "monot5"])
def test_good_teachers_pass(kind: str, folders: dict[str, Path]) -> None:
    check_teacher(_spec(kind, folders[kind]), "teachers[0]")
    assert _spec(kind, folders[kind]).name == kind


@pytest.mark.parametrize(
    ("kind", "model", "more", "message"),
    [
        ("sparse", "nowhere/at/all", {}, "there is no folder"),
        ("sparse", "dense", {}, "not a sparse masked LM"),
        ("sparse", "cross_encoder", {}, "type sparse is a …ForMaskedLM"),
        ("dense", "sparse", {}, "not a dense encoder"),
        ("dense", "monot5", {}, "is an encoder-decoder"),
        ("dense", "dense", {"pooling": "median"}, "pooling: 'median' is none of cls, mean, max"),
        ("cross_encoder", "sparse", {}, "…ForSequenceClassification"),
        ("cross_encoder", "dense", {"max_length": 65}, "positions for 64 tokens; give max_length: 64 or less"),
        ("monot5", "cross_encoder", {}, "…ForConditionalGeneration"),
        ("monot5", "sparse", {}, "no tokens ▁true and ▁false"),
        ("monot5", "monot5", {"dtype": "float16"}, "T5 overflows in float16"),
        ("monot5", "monot5", {"max_length": 3}, "no room before"),
        ("sparse", "sparse", {"max_length": 2}, "no room beside 2 special tokens"),
        ("dense", "dense", {"tokenizer_name": "no/such/tokenizer"}, "tokenizer_name: there is no folder"),
    ],
)
def test_what_cannot_teach_says_why(
    kind: str, model: str, more: dict[str, Any], message: str, folders: dict[str, Path]
) -> None:
    spec = replace(_spec(kind, folders.get(model, Path(model))), **more)
    with pytest.raises(UserError) as caught:
        check_teacher(spec, "teachers[1]")
    assert message in str(caught.value)
    assert all(line.startswith("teachers[1]: ") for line in str(caught.value).splitlines())


def test_another_models_tokenizer_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["dense"])
    tokenizer.add_tokens(["more", "than", "fit"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="another model's tokenizer"):
        check_teacher(_spec("dense", folders["dense"], tokenizer_name=str(tmp_path)), "teachers[0]")


def test_several_logits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 3 logits"):
        check_teacher(_spec("cross_encoder", make_cross_encoder(tmp_path, num_labels=3)), "teachers[0]")


def test_remote_code_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    """A model whose folder brings its class: refused by name, and loaded once it is trusted."""
    make_dense(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own_kind", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own_kind'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(UserError, match="brings its own code.*trust_remote_code: true for this teacher"):
        check_teacher(_spec("dense", tmp_path), "teachers[0]")
    trusted = _spec("dense", tmp_path, trust_remote_code=True)
    check_teacher(trusted, "teachers[0]")
    assert load_teacher(trusted, "cpu").encode(["rain"], "query").shape == (1, 16)


def test_a_dense_model_of_other_modules_is_refused(tmp_path: Path) -> None:
    make_dense(tmp_path, pooling="mean")
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="Transformer, Pooling, Normalize, Dense"):
        check_teacher(_spec("dense", tmp_path), "teachers[0]")


def test_a_lost_pooling_is_not_guessed(tmp_path: Path) -> None:
    make_dense(tmp_path, pooling="mean")
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(UserError, match="1_Pooling/config.json is missing.* give pooling"):
        check_teacher(_spec("dense", tmp_path), "teachers[0]")
    check_teacher(_spec("dense", tmp_path, pooling="mean"), "teachers[0]")


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, None),
        ({"pooling_mode": ["cls", "mean"]}, None),
    ],
)
def test_both_forms_of_a_stored_pooling(stored: dict[str, Any], found: str | None, tmp_path: Path) -> None:
    make_dense(tmp_path, pooling="mean")
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **stored}))
    if found is None:
        with pytest.raises(UserError, match="give pooling"):
            check_teacher(_spec("dense", tmp_path), "teachers[0]")
    else:
        assert load_teacher(_spec("dense", tmp_path), "cpu").pooling == found  # type: ignore[union-attr]


@pytest.mark.realdata
@pytest.mark.skipif(SHARED is None, reason="SPARSE_SHARED names no folder with models/splade-tiny")
def test_a_trained_sparse_teacher() -> None:
    _compare_sparse(Path(str(SHARED)) / "models" / "splade-tiny", 64, [*SENTENCES, LONG * 3])


@pytest.mark.realdata
@pytest.mark.skipif(MINILM is None, reason="SPARSE_MINILM names no folder of all-MiniLM-L6-v2")
def test_a_trained_dense_teacher() -> None:
    _compare_dense(Path(str(MINILM)), 64, [*SENTENCES, LONG * 3])
