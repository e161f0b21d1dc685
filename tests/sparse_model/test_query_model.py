"""A query model of its own: two masked LMs under a Router, encoded with and saved as sentence-transformers does."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import sparse_model
from experiment.run.evaluate import run_evaluation
from experiment.run.train import train
from experiment.settings.settings import load_settings
from mining.teachers import TeacherSpec, load_teacher
from retrieval.beir_data import load_beir
from retrieval.score_dataset import score_dataset
from retrieval.search.__main__ import main as search
from retrieval.search.index import SearchIndex
from sparse_model import SparseEncoder, UserError
from sparse_model.card import card
from sparse_model.export import __main__ as export
from sparse_model.verify.compare import Comparison
from sparse_model.verify.consumers import CONSUMERS, Checkpoint
from tests.conftest import SENTENCES, make_model
from tests.sparse_model.test_foreign_folders import rewrite
from tests.training.runs import words_for

st = pytest.importorskip("sentence_transformers")
QUERIES = ["New York", "the red bird", "insulin and loud music " * 9]
QUERY, POOLING = "query_0_MLMTransformer", "query_1_SpladePooling"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What sentence-transformers saves: the models differ in kind, length, activation, prompt and capitals."""
    from sentence_transformers.models import Router
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SpladePooling

    root = tmp_path_factory.mktemp("two")
    query, document = make_model(root / "query", "distilbert", seed=1), make_model(root / "document", seed=2)
    router = Router.for_query_document(
        [MLMTransformer(str(query), max_seq_length=7), SpladePooling("max", "log1p_relu")],
        [MLMTransformer(str(document), max_seq_length=9), SpladePooling("max")],
    )
    prompts = {"query": "city: ", "document": "gene "}
    st.SparseEncoder(modules=[router], prompts=prompts, device="cpu").save(str(root / "saved"))
    tokenizer = json.loads((root / "saved" / QUERY / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None  # new york and New York are two to documents, which have one that lowers
    rewrite(root / "saved" / QUERY / "tokenizer.json", **tokenizer)
    return root / "saved"


@pytest.fixture(scope="module")
def ours(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sparse_model.load(theirs).save(folder := tmp_path_factory.mktemp("ours") / "run")
    return folder


def expected(encoder: SparseEncoder, folder: Path, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """sentence-transformers' documents and queries, special tokens of each side at 0."""
    model = st.SparseEncoder(str(folder), device="cpu")
    documents, queries = (
        encode(texts, convert_to_sparse_tensor=False).numpy() for encode in (model.encode_document, model.encode_query)
    )
    documents[:, encoder.tokenizer.all_special_ids] = 0
    queries[:, encoder.query_side.tokenizer.all_special_ids] = 0
    return documents, queries


@pytest.mark.parametrize("name", ["theirs", "ours"])
def test_encodes_as_sentence_transformers_does(name: str, request: pytest.FixtureRequest) -> None:
    """The foreign folder, and what is saved of it; queries are none that the documents' model makes."""
    encoder = sparse_model.load(folder := request.getfixturevalue(name))
    assert not encoder.inf_free and encoder.max_seq_length == 9 and encoder.query_side.max_seq_length == 7
    documents, queries = expected(encoder, folder, [*SENTENCES, *QUERIES])
    np.testing.assert_allclose(encoder.encode_documents([*SENTENCES, *QUERIES]).toarray(), documents, atol=1e-5)
    found = encoder.encode_queries([*SENTENCES, *QUERIES]).toarray()
    np.testing.assert_allclose(found, queries, atol=1e-5)
    assert np.abs(found - documents).max() > 0.1


def test_a_save_is_loaded_as_it_was(theirs: Path, ours: Path) -> None:
    """To the bit; the documents' model alone is what AutoModelForMaskedLM finds in the root."""
    first, again = sparse_model.load(theirs), sparse_model.load(ours)
    for name, weights in first.state_dict().items():
        np.testing.assert_array_equal(weights, again.state_dict()[name])
    for a, b in ((first, again), (first.query_side, again.query_side)):
        assert (a.activation_type, a.max_seq_length, a.prompts) == (b.activation_type, b.max_seq_length, b.prompts)
    assert (first.encode_queries(QUERIES) != again.encode_queries(QUERIES)).nnz == 0
    alone = sparse_model.load(make_alone(ours, theirs.parent / "alone"), max_seq_length=9, document_prompt="gene ")
    assert (alone.encode_documents(SENTENCES) != again.encode_documents(SENTENCES)).nnz == 0
    assert "Queries go through a model of their own." in card(ours, "run", {})


def make_alone(folder: Path, copy: Path) -> Path:
    """The files of the root that a plain masked LM has."""
    copy.mkdir()
    for path in (*folder.glob("tokenizer*"), folder / "config.json", folder / "model.safetensors"):
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_arguments_are_of_the_documents_model(theirs: Path) -> None:
    """Queries are cut where the query model says: at 7 tokens, of which two are the frame."""
    encoder = sparse_model.load(theirs, max_seq_length=20, activation_type="l2_relu", query_prompt="")
    assert encoder.max_seq_length == 20 and encoder.query_side.max_seq_length == 7
    assert (encoder.activation_type, encoder.query_side.activation_type) == ("l2_relu", "l1_relu")
    assert encoder.count_cut_queries(["rain " * 5, "rain " * 6]) == 1
    by_table = sparse_model.load(theirs, inf_free=True)
    assert by_table.query_side is by_table and by_table.encode_queries(["rain"]).data.tolist() == [1.0] * 2


def test_capitals_are_each_sides_own(theirs: Path, tmp_path: Path) -> None:
    """Queries lower-case where their part of the folder says so, or all texts are to be."""
    folder, capitals = shutil.copytree(theirs, tmp_path / "copy"), ["NEW YORK"]
    as_it_is, for_all = sparse_model.load(folder), sparse_model.load(folder, lowercase=True)
    rewrite(folder / QUERY / "sentence_bert_config.json", do_lower_case=True)
    said = sparse_model.load(folder)
    np.testing.assert_allclose(said.encode_queries(capitals).toarray(), expected(said, folder, capitals)[1], atol=1e-5)
    lower = as_it_is.encode_queries(["new york"])
    differs = [(encoder.encode_queries(capitals) != lower).nnz > 0 for encoder in (as_it_is, for_all, said)]
    assert differs == [True, False, False]


def test_scored_mined_with_and_searched(ours: Path, beir_folder: Path, tmp_path: Path) -> None:
    encoder, data = sparse_model.load(ours), load_beir(str(beir_folder), "")
    run_evaluation(
        load_settings([f"model_name_or_path={ours}", f"beir_datasets={beir_folder}", f"output_dir={tmp_path}"])
    )
    found = json.loads((tmp_path / "evaluation" / "tiny.json").read_text())
    wanted = score_dataset(encoder, data, 1000).figures
    assert {key: found[key] for key in ("ndcg@10", "flops", "q_length")} == {
        key: pytest.approx(wanted[key]) for key in ("ndcg@10", "flops", "q_length")
    }
    rows = encoder.encode_queries(data.queries)
    teacher = load_teacher(TeacherSpec(type="sparse", model_name_or_path=str(ours), max_length=9), "cpu")
    np.testing.assert_allclose(teacher.encode(data.queries, "query").toarray(), rows.toarray(), atol=1e-6)
    np.testing.assert_allclose(teacher.vectors(data.queries, "query"), rows.toarray(), atol=1e-5)
    index = tmp_path / "index"
    assert search([str(ours), str(beir_folder), data.queries[0], "--index", str(index), "--use-cpu"]) == 0
    assert SearchIndex(index, lambda query: encoder.encode_queries([query])).encode(data.queries[0]).nnz == rows[0].nnz


@pytest.mark.parametrize("program", ["sentence-transformers", "transformers", "TorchScript"])
def test_verify_takes_each_side_for_its_texts(program: str, ours: Path, tmp_path: Path) -> None:
    encoder = sparse_model.load(ours)
    found = CONSUMERS[program].encode(Checkpoint(ours, encoder, [*SENTENCES, *QUERIES], tmp_path))
    difference = Comparison(encoder, [*SENTENCES, *QUERIES]).difference(found, 1e-4)
    assert difference.within(1e-4), difference


def test_what_it_is_refused_for(
    ours: Path, tiny_model: Path, posnegs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One model is trained, so that is asked for; exports that weigh queries by a table have none."""
    with pytest.raises(UserError, match="has a query model of its own, .* inf_free: true takes that of documents"):
        train(load_settings(words_for(ours, posnegs_file, tmp_path / "run")))
    train(load_settings(words_for(ours, posnegs_file, tmp_path / "run", "inf_free=true", "max_steps=1")))
    assert sparse_model.load(tmp_path / "run").inf_free
    assert export.main(["opensearch", str(ours), str(tmp_path / "out")]) == 2
    assert "queries go through the model" in capsys.readouterr().err
    with pytest.raises(UserError, match="idf_path: queries go through"):
        sparse_model.load(ours, idf_path="corpus")
    model, other = sparse_model.load(tiny_model), sparse_model.load(make_model(tmp_path / "bytes", "roberta"))
    with pytest.raises(UserError, match="query_model: its V is "):
        SparseEncoder(model.mlm, model.tokenizer, inf_free=False, query_model=other)
    with pytest.raises(UserError, match="query_model: queries go by a table"):
        SparseEncoder(model.mlm, model.tokenizer, query_model=sparse_model.load(tiny_model))


@pytest.mark.parametrize(
    ("where", "changes", "message"),
    [
        (f"{QUERY}/sentence_bert_config.json", {"max_seq_length": 2}, f"{QUERY}/sentence_bert_config.json: max_seq"),
        (f"{QUERY}/config.json", {"n_layers": 10**9}, f"{QUERY}/config.json: n_layers: 1000000000"),
        (f"{POOLING}/config.json", {"pooling_strategy": "sum"}, f"{POOLING}/config.json: pooling_strategy: 'sum'"),
        ("router_config.json", {"structure": {"query": [QUERY], "document": [QUERY]}}, "documents go through MLMTrans"),
        ("config_sentence_transformers.json", {"prompts": {"query": "rain " * 9}}, "query_prompt: .* fills all 5"),
    ],
)
def test_what_its_folder_says_wrongly(where: str, changes: dict, message: str, theirs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(theirs, tmp_path / "copy")
    rewrite(folder / where, **changes)
    with pytest.raises(UserError, match=message):
        sparse_model.load(folder)
