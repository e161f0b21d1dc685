"""Prompts: where they are put, what they leave alone, and that everyone who encodes with the checkpoint agrees."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sparse_model
from experiment.run.models import load_start, scored_model
from experiment.run.train import train
from experiment.settings.settings import load_settings
from mining.teachers import TeacherSpec, load_teacher
from retrieval.search.index import SearchIndex
from sparse_model import SparseEncoder, UserError
from sparse_model.card import card
from sparse_model.export import __main__ as export
from sparse_model.lexical import token_counts
from sparse_model.prompts import Prompts
from sparse_model.verify.compare import Comparison
from sparse_model.verify.consumers import CONSUMERS, Checkpoint
from tests.conftest import SENTENCES, make_model, write_jsonl
from tests.training.runs import NO_DROPOUT, weights, words_for

PROMPTS = {"query_prompt": "city: ", "document_prompt": "the gene? "}
WORDS = ['query_prompt="city: "', "document_prompt='the gene? '"]
CHANGES_NOTHING = ["", " \n"]


def made(plain: Path, folder: Path, **more: object) -> SparseEncoder:
    """A checkpoint with prompts, and query weights that differ."""
    encoder = sparse_model.load(plain, max_seq_length=14, **PROMPTS, **more)
    if encoder.inf_free:
        encoder.use_idf(torch.rand(encoder.vocabulary_size, generator=torch.Generator().manual_seed(1)) + 0.1)
    encoder.save(folder)
    return sparse_model.load(folder)


@pytest.fixture(scope="module")
def ours(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_at(tiny_model, tmp_path_factory.mktemp("prompts") / "run")


def made_at(plain: Path, folder: Path) -> Path:
    made(plain, folder)
    return folder


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("inf_free", [True, False])
def test_encodes_as_sentence_transformers_does(kind: str, inf_free: bool, tmp_path: Path) -> None:
    """And as texts with the prompt before them, which one without prompts is given."""
    st = pytest.importorskip("sentence_transformers")
    ours = made(make_model(tmp_path / "plain", kind), tmp_path / "run", inf_free=inf_free)
    assert ours.prompts == Prompts("city: ", "the gene? ")
    theirs = st.SparseEncoder(str(tmp_path / "run"), device="cpu")
    bare = sparse_model.load(tmp_path / "run", query_prompt="", document_prompt="")
    for role, found, expected in (
        ("query", ours.encode_queries(SENTENCES), theirs.encode_query),
        ("document", ours.encode_documents(SENTENCES), theirs.encode_document),
    ):
        alone = bare.encode_queries if role == "query" else bare.encode_documents
        prompt = PROMPTS[f"{role}_prompt"]
        np.testing.assert_array_equal(found.toarray(), alone([prompt + text for text in SENTENCES]).toarray())
        assert not np.array_equal(found.toarray(), alone(SENTENCES).toarray())
        rows = expected(SENTENCES, convert_to_sparse_tensor=False).numpy()
        rows[:, ours.tokenizer.all_special_ids] = 0
        np.testing.assert_allclose(found.toarray(), rows, rtol=1e-5, atol=1e-5)


def test_what_says_nothing_gets_no_prompt(ours: Path) -> None:
    """Else every empty document would be found by the prompt's words, and an empty query would find them."""
    encoder = sparse_model.load(ours)
    assert encoder.encode_documents(CHANGES_NOTHING).nnz == encoder.encode_queries(CHANGES_NOTHING).nnz == 0
    assert encoder.encode_queries(["zzz"]).nnz, "[UNK] aside, the prompt's tokens"


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_words_of_the_prompt_are_not_the_documents(kind: str, tmp_path: Path) -> None:
    """Counted is what is read behind the prompt, a prompt's word included where the document says it too."""
    encoder = made(make_model(tmp_path / "plain", kind), tmp_path / "run")
    whole = sparse_model.load(tmp_path / "run", max_seq_length=64)
    bare = sparse_model.load(tmp_path / "run", max_seq_length=64, document_prompt="")
    texts = [*SENTENCES, "gene", "the gene", *CHANGES_NOTHING]
    prompted = token_counts(whole.tokenize_documents(texts), whole.tokenizer, whole.vocabulary_size)
    # A byte-level tokenizer joins the prompt's last space with the text's first word.
    joined = [" " + text if kind == "roberta" and text.strip() else text for text in texts]
    counts, own = whole.count_tokens(texts).toarray(), bare.count_tokens(joined).toarray()
    np.testing.assert_array_equal(counts, own)
    assert (prompted.toarray() >= counts).all() and prompted.sum() > counts.sum()
    # Of 14 tokens two frame the text; the prompt has two or, where ? is a token, three.
    assert encoder.count_tokens(texts).sum(axis=1).max() == {"bert": 9, "roberta": 10}[kind]


def test_a_training_reads_them(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """Weights are those of rows that bring the prompts themselves, keys that tell equal texts apart aside."""
    rows = [json.loads(line) for line in posnegs_file.read_text().splitlines()]
    query, document = PROMPTS.values()
    brought = [
        {"query": query + row["query"], "pos": document + row["pos"], "negs": [document + text for text in row["negs"]]}
        for row in rows
    ]
    brought_file = write_jsonl(tmp_path / "posnegs.jsonl", brought)
    more = [NO_DROPOUT, "inf_free=false", "flops_q_lambda=0.01", "flops_q_T=2", "max_steps=2"]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "a", *more, *WORDS)))
    train(load_settings(words_for(tiny_model, brought_file, tmp_path / "b", *more)))
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "c", *more)))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(a[name], c[name]) for name in a)
    assert sparse_model.load(tmp_path / "a").prompts == Prompts(query, document)
    assert not sparse_model.load(tmp_path / "b").prompts
    for name in "ab":  # what was written can be read again
        load_settings([str(tmp_path / name / "config.yaml")])


def test_a_checkpoint_says_them_and_a_given_key_counts(ours: Path) -> None:
    named = [f"model_name_or_path={ours}"]
    encoder = scored_model(load_settings(named)).load()
    assert encoder.prompts == Prompts("city: ", "the gene? ")
    chosen = scored_model(load_settings([*named, "query_prompt=null"]))
    assert chosen.load().prompts == Prompts("", "the gene? ")
    assert chosen.vector_facts(encoder, "")["prompt"] == "the gene? "
    _, settings = load_start(load_settings([*named, "train_file=rows.jsonl", "data_type=kd", "document_prompt=rain"]))
    assert (settings.model.query_prompt, settings.model.document_prompt) == ("city: ", "rain")


def test_a_search_index_asks_with_it(ours: Path, tmp_path: Path) -> None:
    from retrieval.search.__main__ import main

    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": str(n), "text": t} for n, t in enumerate(SENTENCES)])
    index = tmp_path / "index"
    assert main([str(ours), str(corpus), "rain", "--index", str(index), "--use-cpu"]) == 0
    encoder = sparse_model.load(ours)
    found = SearchIndex(index).encode("rain and snow")
    np.testing.assert_array_equal(found.toarray(), encoder.encode_queries(["rain and snow"]).toarray())
    assert found.nnz > len(encoder.tokenizer.tokenize("rain and snow"))


@pytest.mark.parametrize("inf_free", [True, False])
def test_a_teachers_own_prompts_are_obeyed(inf_free: bool, tiny_model: Path, tmp_path: Path) -> None:
    """By role; a prefix that is given stands in their place."""
    encoder = made(tiny_model, tmp_path / "run", inf_free=inf_free)
    spec = {"type": "sparse", "model_name_or_path": str(tmp_path / "run"), "max_length": 14}
    teacher = load_teacher(TeacherSpec(**spec), "cpu")
    for role, expected in (("query", encoder.encode_queries), ("document", encoder.encode_documents)):
        wanted = expected(SENTENCES).toarray()
        np.testing.assert_allclose(teacher.encode(SENTENCES, role).toarray(), wanted, rtol=1e-6)
        np.testing.assert_allclose(teacher.vectors(SENTENCES, role).numpy(), wanted, rtol=1e-4, atol=1e-5)
    other = load_teacher(TeacherSpec(**spec, query_prefix="snow "), "cpu")
    asked = sparse_model.load(tmp_path / "run", query_prompt="snow ").encode_queries(SENTENCES)
    np.testing.assert_allclose(other.encode(SENTENCES, "query").toarray(), asked.toarray(), rtol=1e-6)


@pytest.mark.parametrize("program", ["sentence-transformers", "transformers"])
def test_verify_puts_them_too(program: str, ours: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    encoder, texts = sparse_model.load(ours), [*SENTENCES, *CHANGES_NOTHING]
    found = CONSUMERS[program].encode(Checkpoint(ours, encoder, texts, tmp_path))
    difference = Comparison(encoder, texts).difference(found, 1e-4)
    assert difference.within(1e-4), difference


def test_programs_that_would_leave_them_out(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["opensearch", str(ours), str(tmp_path / "out")]) == 2
    assert "ML Commons reads texts as they are" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    text = card(ours, "run", {})
    assert "behind query_prompt 'city: ' and document_prompt 'the gene? '" in text and "OpenSearch:" not in text


def test_what_is_no_prompt(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="query_prompt: 5 is no text"):
        sparse_model.load(tiny_model, query_prompt=5)
    with pytest.raises(UserError, match="document_prompt: 'rain rain.* fills all 6 tokens"):
        sparse_model.load(tiny_model, max_seq_length=8, document_prompt="rain " * 6)
