"""Encodings: other architectures, padding, order, batch size, special tokens, save and load, interoperability."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import vstack
from transformers import AutoModelForMaskedLM, AutoTokenizer

import sparse_model
from sparse_model import UserError, activate
from sparse_model.head import positive_logits_dense
from sparse_model.query_weights import idf
from tests.conftest import SENTENCES, make_model

KINDS = ["bert", "distilbert", "roberta", "mpnet", "modernbert"]


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp(request.param), request.param)


def _by_definition(folder: Path, text: str, logarithms: int) -> np.ndarray:
    """log1p(… relu(max over tokens of the masked LM's own logits)), special tokens 0."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False)).logits[0]
    weights = logits.amax(dim=0).relu()
    for _ in range(logarithms):
        weights = torch.log1p(weights)
    weights[tokenizer.all_special_ids] = 0
    return weights.numpy()


def test_encodes_as_defined_by_the_masked_lm(folder: Path) -> None:
    encoder = sparse_model.load(folder, activation_type="l1_relu")
    encoded = encoder.encode_documents(SENTENCES).toarray()
    expected = np.stack([_by_definition(folder, text, 2) for text in SENTENCES])
    assert (expected > 0).mean() > 0.1
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-5)


def test_save_equals_load_everywhere(folder: Path, tmp_path: Path) -> None:
    """Our load, AutoModelForMaskedLM, and sentence-transformers read the same weights from a checkpoint."""
    encoder = sparse_model.load(folder, activation_type="l1_relu", max_seq_length=16)
    encoder.use_idf(torch.rand(encoder.vocabulary_size) * 5)
    with torch.no_grad():  # a trained bias, not the zeros of a new model
        encoder.mlm.get_output_embeddings().bias[40:] += torch.rand(encoder.vocabulary_size - 40)
    encoder.save(tmp_path)
    documents, queries = encoder.encode_documents(SENTENCES), encoder.encode_queries(["new york", "loud [SEP]"])
    again = sparse_model.load(tmp_path)
    assert (again.activation_type, again.max_seq_length, again.inf_free) == ("l1_relu", 16, True)
    assert (again.encode_documents(SENTENCES) != documents).nnz == 0
    assert (again.encode_queries(["new york", "loud [SEP]"]) != queries).nnz == 0
    np.testing.assert_allclose(
        np.stack([_by_definition(tmp_path, text, 2) for text in SENTENCES[:2]]),
        documents[:2].toarray(),
        rtol=1e-5,
        atol=1e-5,
    )
    st = pytest.importorskip("sentence_transformers")
    theirs = st.SparseEncoder(str(tmp_path), device="cpu")
    encoded = theirs.encode_document(SENTENCES, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(encoded, documents.toarray(), rtol=1e-5, atol=1e-5)
    encoded = theirs.encode_query(["new york", "loud [SEP]"], convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(encoded, queries.toarray(), rtol=1e-6)


def test_special_tokens_never_carry_weight(folder: Path, tmp_path: Path) -> None:
    """Not here, and not in a consumer that knows nothing of us."""
    encoder = sparse_model.load(folder)
    special = encoder.tokenizer.all_special_ids
    assert encoder.encode_documents(SENTENCES)[:, special].nnz == 0
    assert encoder.encode_queries(["".join(encoder.tokenizer.all_special_tokens)]).nnz == 0
    encoder.save(tmp_path)
    plain = AutoModelForMaskedLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert plain(torch.tensor([[5, 6, 7]])).logits[..., special].max() < -5000


def test_order_batch_and_padding_change_nothing(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    texts = [*SENTENCES, "rain", " ".join(SENTENCES)]
    together = encoder.encode_documents(texts).toarray()
    one_by_one = np.vstack([encoder.encode_documents([text]).toarray() for text in texts])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5, atol=1e-5)
    backwards = encoder.encode_documents(texts[::-1], batch_size=1).toarray()[::-1]
    np.testing.assert_allclose(together, backwards, rtol=1e-5, atol=1e-5)


def test_training_forward_equals_encoding(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    query = encoder.pad(encoder.tokenize_queries(["new york", "rain"]))
    document = encoder.pad(encoder.tokenize_documents(SENTENCES))
    query_QV, document_NV = encoder(*query, *document)
    np.testing.assert_allclose(query_QV.detach(), encoder.encode_queries(["new york", "rain"]).toarray(), rtol=1e-6)
    np.testing.assert_allclose(
        document_NV.detach(), encoder.encode_documents(SENTENCES).toarray(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.slow
def test_a_compiled_encoder(tiny_model: Path) -> None:
    """It gives the same weights and gradients. aot_eager: everything that torch.compile does but the C++ compiler."""
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("aot_eager")
    results, compilations = [], []
    for compiled in (False, True):
        encoder = sparse_model.load(tiny_model)
        model = torch.compile(encoder, backend=counter, dynamic=True) if compiled else encoder
        document_NV = torch.zeros(0)
        for texts in (SENTENCES, SENTENCES[:2], ["rain", SENTENCES[0]]):
            ids = encoder.pad(encoder.tokenize_documents(texts))
            _, document_NV = model(*ids, *ids)
            document_NV.log1p().sum().backward()
            compilations.append(counter.frame_count)
        results.append([document_NV, *(p.grad for p in encoder.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 10
    assert 0 < compilations[3] == compilations[4], "fewer documents of other lengths are not compiled anew"
    for ours, eager in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-5, atol=1e-5)


def test_empty_texts_are_empty_rows(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    assert encoder.encode_documents(["", "rain", "  "]).getnnz(axis=1).tolist()[::2] == [0, 0]
    assert encoder.encode_documents([]).shape == (0, encoder.vocabulary_size)
    assert encoder.encode_queries([]).shape == (0, encoder.vocabulary_size)
    assert encoder.encode_queries([""]).nnz == 0


def test_queries_weigh_each_token_once(tiny_model: Path, tmp_path: Path) -> None:
    table = tmp_path / "idf.json"
    table.write_text(json.dumps({"rain": 2.5, "new": 0.0, "[SEP]": 9.0}))
    encoder = sparse_model.load(tiny_model, idf_path=str(table))
    row = encoder.encode_queries(["rain rain new york [SEP]"])
    tokens = encoder.tokenizer.convert_ids_to_tokens(row.indices.tolist())
    # A token that the file does not name weighs 1; a zero stays a zero and does not come back as 1.
    assert dict(zip(tokens, row.data.tolist(), strict=True)) == {"rain": 2.5, "york": 1.0}
    encoder.save(tmp_path / "saved")
    assert sparse_model.load(tmp_path / "saved").encode_queries(["new"]).nnz == 0


def test_idf_by_hand() -> None:
    """N = 3: df 0 → ln(1 + 3.5/0.5) = ln 8; df 3 → ln(1 + 0.5/3.5) = ln(8/7)."""
    np.testing.assert_allclose(idf(np.array([0, 3]), 3), [math.log(8), math.log(8 / 7)], rtol=1e-6)


def test_corpus_idf_counts_documents_not_occurrences(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    table = sparse_model.corpus_idf(encoder.tokenizer, ["rain rain", "rain sun", "sun"], encoder.vocabulary_size)
    ids = encoder.tokenizer.convert_tokens_to_ids(["rain", "sun", "wind", "[SEP]"])
    expected = [math.log(1 + 1.5 / 2.5), math.log(1 + 1.5 / 2.5), math.log(8), 0.0]
    assert table[ids].tolist() == pytest.approx(expected, rel=1e-6)


def test_siamese_queries_go_through_the_model(tiny_model: Path, tmp_path: Path) -> None:
    encoder = sparse_model.load(tiny_model, inf_free=False)
    assert (encoder.encode_queries(SENTENCES) != encoder.encode_documents(SENTENCES)).nnz == 0
    encoder.save(tmp_path)
    again = sparse_model.load(tmp_path)
    assert not again.inf_free and (again.encode_queries(["rain"]) != encoder.encode_queries(["rain"])).nnz == 0
    st = pytest.importorskip("sentence_transformers")
    theirs = st.SparseEncoder(str(tmp_path), device="cpu").encode_query(["rain"], convert_to_sparse_tensor=False)
    np.testing.assert_allclose(theirs.numpy(), encoder.encode_queries(["rain"]).toarray(), rtol=1e-5, atol=1e-6)


def test_activations_that_sentence_transformers_lacks_are_kept_and_not_misread(
    tiny_model: Path, tmp_path: Path
) -> None:
    encoder = sparse_model.load(tiny_model, activation_type="l3_relu")
    encoder.save(tmp_path)
    assert sparse_model.load(tmp_path).activation_type == "l3_relu"
    st = pytest.importorskip("sentence_transformers")
    with pytest.raises(ValueError, match="activation_function"):
        st.SparseEncoder(str(tmp_path), device="cpu")


def test_what_an_argument_says_beats_the_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    sparse_model.load(tiny_model, activation_type="l1_relu", max_seq_length=16).save(tmp_path)
    encoder = sparse_model.load(tmp_path, activation_type="relu", max_seq_length=8, inf_free=False)
    assert (encoder.activation_type, encoder.max_seq_length, encoder.inf_free) == ("relu", 8, False)


def test_prune_ratio_drops_light_tokens(tiny_model: Path) -> None:
    full = sparse_model.load(tiny_model).encode_documents(SENTENCES[:1]).toarray()
    pruned = sparse_model.load(tiny_model, prune_ratio=0.5).encode_documents(SENTENCES[:1]).toarray()
    np.testing.assert_array_equal(pruned, np.where(full >= 0.5 * full.max(), full, 0))


def test_explain_adds_up_to_the_score(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    query, document = "weather in new york", SENTENCES[0]
    score = (encoder.encode_queries([query]) @ encoder.encode_documents([document]).T).toarray()[0, 0]
    rows = encoder.explain(query, document)
    assert sum(product for *_, product in rows) == pytest.approx(float(score), rel=1e-5)
    assert [row[3] for row in rows] == sorted((row[3] for row in rows), reverse=True)


def test_reads_what_sentence_transformers_writes(tiny_model: Path, tmp_path: Path) -> None:
    """A Router with its parts in folders of their own, and a siamese two-module model, as that library saves them."""
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sparse_encoder import models

    theirs = st.SparseEncoder(
        modules=[models.MLMTransformer(str(tiny_model)), models.SpladePooling("max", "log1p_relu")], device="cpu"
    )
    theirs.save(str(tmp_path))
    ours = sparse_model.load(tmp_path)
    assert (ours.activation_type, ours.inf_free) == ("l1_relu", False)
    expected = theirs.encode_document(SENTENCES, convert_to_sparse_tensor=False).numpy()
    expected[:, ours.tokenizer.all_special_ids] = 0
    np.testing.assert_allclose(ours.encode_documents(SENTENCES).toarray(), expected, rtol=1e-5, atol=1e-5)


def test_a_padded_vocabulary_is_read_everywhere(tiny_model: Path, tmp_path: Path) -> None:
    """V = 75 for a tokenizer of fewer: the surplus never carries weight, and sentence-transformers loads it."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    surplus = range(len(tokenizer), 75)
    model.resize_token_embeddings(75)
    model.save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")
    encoder = sparse_model.load(tmp_path / "wide")
    documents = encoder.encode_documents(SENTENCES)
    assert documents.shape == (6, 75) and documents[:, list(surplus)].nnz == 0
    encoder.save(tmp_path / "saved")
    again = sparse_model.load(tmp_path / "saved")
    assert (again.encode_documents(SENTENCES) != documents).nnz == 0
    st = pytest.importorskip("sentence_transformers")
    theirs = st.SparseEncoder(str(tmp_path / "saved"), device="cpu")
    encoded = theirs.encode_document(SENTENCES, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(encoded, documents.toarray(), rtol=1e-5, atol=1e-5)


def test_a_tokenizer_of_another_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", "roberta")
    with pytest.raises(UserError, match="another model's tokenizer"):
        sparse_model.load(tiny_model, tokenizer_name=str(other))


def test_a_saved_tokenizer_does_not_depend_on_the_last_call(tiny_model: Path, tmp_path: Path) -> None:
    encoder = sparse_model.load(tiny_model, max_seq_length=8)
    encoder.encode_documents(SENTENCES)
    encoder.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["truncation"] is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"broken"), "no masked language model that can be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "gpt2"}'), "no masked language model"),
        (lambda f: (f / "config.json").unlink(), "holds no model"),
        (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "no tokenizer|no fast tokenizer"),
        (lambda f: (f / "modules.json").write_text('[{"type": "x.Pooling", "path": "1"}]'), "not a sparse masked LM"),
    ],
)
def test_unusable_models_are_user_errors(spoil, message: str, tmp_path: Path) -> None:
    make_model(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        sparse_model.load(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = AutoModelForMaskedLM.from_pretrained(make_model(tmp_path))
    with torch.no_grad():
        model.get_input_embeddings().weight[3, 3] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="damaged"):
        sparse_model.load(tmp_path)


def test_a_model_without_masked_lm_head_is_refused_unless_it_is_trained(tiny_model: Path, tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_pretrained(tiny_model).bert.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no masked-LM head"):
        sparse_model.load(tmp_path)
    assert sparse_model.load(tmp_path, allow_new_head=True).encode_documents(["rain"]).shape[0] == 1


@pytest.mark.parametrize("name", ["no/such/folder", "./nothing", "some-org/never-fetched"])
def test_models_that_are_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="model_name_or_path"):
        sparse_model.load(name)


def test_grouping_by_length_changes_nothing(tiny_model: Path) -> None:
    """Weights and gradients of documents of very unlike lengths, against all of them padded to the longest."""
    encoder = sparse_model.load(tiny_model)
    texts = [" ".join(SENTENCES[: 1 + i % 4])[: 8 + 40 * (i % 5)] for i in range(12)]
    ids, mask = encoder.pad(encoder.tokenize_documents(texts))
    output = encoder.mlm.get_output_embeddings()
    hidden_NLD = encoder.mlm(input_ids=ids, attention_mask=mask).logits
    padded_NV = activate(positive_logits_dense(hidden_NLD, mask, output.weight, output.bias), "relu")
    results = []
    for weights_NV in (padded_NV, encoder.document_weights(ids, mask)):
        encoder.zero_grad()
        (weights_NV * torch.linspace(0, 1, weights_NV.numel()).view_as(weights_NV)).sum().backward()
        results.append([weights_NV, *(p.grad for p in encoder.parameters() if p.grad is not None)])
    assert len(set(mask.sum(dim=1).tolist())) > 4
    for ours, reference in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)


def test_blocks_give_what_all_documents_at_once_give(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    done: list[int] = []
    blocks = list(encoder.encode_blocks([SENTENCES[:2], [], SENTENCES[2:]], batch_size=2, progress=done.append))
    assert [block.shape[0] for block in blocks] == [2, 0, len(SENTENCES) - 2] and sum(done) == len(SENTENCES)
    together = encoder.encode_documents(SENTENCES)
    np.testing.assert_allclose(vstack(blocks).toarray(), together.toarray(), rtol=1e-6, atol=1e-6)


def test_one_group_in_another_order_changes_nothing(tiny_model: Path) -> None:
    """Lengths so alike that all go together, longest first, and come out as they came in."""
    encoder = sparse_model.load(tiny_model)
    texts = sorted(SENTENCES, key=lambda text: len(encoder.tokenize_documents([text])[0]))
    ids, mask = encoder.pad(encoder.tokenize_documents(texts))
    lengths = mask.sum(dim=1).tolist()
    assert min(lengths) > 0.7 * max(lengths) and lengths != sorted(lengths, reverse=True)
    one_by_one = torch.cat([encoder.document_weights(ids[n : n + 1], mask[n : n + 1]) for n in range(len(texts))])
    torch.testing.assert_close(encoder.document_weights(ids, mask), one_by_one, rtol=1e-5, atol=1e-5)
