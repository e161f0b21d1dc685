"""Folders of other programs, and damaged ones: what they say is obeyed, or refused by file and key."""

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

import sparse_model
from sparse_model import UserError
from sparse_model.layout import load_tokenizer
from tests.conftest import SENTENCES, WORDS, make_model

st = pytest.importorskip("sentence_transformers")
QUERIES = ["new york [SEP]", "the red bird", "insulin and loud music " * 9]
TABLE = "query_0_SparseStaticEmbedding"


def rewrite(path: Path, /, **changes: object) -> Path:
    """Change keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What sentence-transformers saves: siamese, and a Router whose queries are weights; ours beside them."""
    from sentence_transformers.models import Router
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SparseStaticEmbedding, SpladePooling

    root = tmp_path_factory.mktemp("theirs")
    plain = make_model(root / "plain")
    tokenizer = AutoTokenizer.from_pretrained(plain)
    torch.manual_seed(0)
    encoder = st.SparseEncoder(
        modules=[MLMTransformer(str(plain), max_seq_length=9), SpladePooling("max")], device="cpu"
    )
    encoder.save(str(root / "siamese"))
    weights = torch.rand(len(tokenizer)) * 3
    tokenizer.model_max_length = 12
    document = [MLMTransformer(str(plain), max_seq_length=9), SpladePooling("max", "log1p_relu")]
    router = Router.for_query_document([SparseStaticEmbedding(tokenizer, weights)], document)
    st.SparseEncoder(modules=[router], device="cpu").save(str(root / "router"))
    shared = Router.for_query_document(document, document)
    st.SparseEncoder(modules=[shared], device="cpu").save(str(root / "shared"))
    ours = sparse_model.load(plain, max_seq_length=20)
    ours.use_idf(torch.rand(len(tokenizer)))
    ours.save(root / "ours")
    (root / "ours" / "complete.json").unlink()  # what is damaged below is to be seen without it
    return {path.name: path for path in root.iterdir()}


def both(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(ours, theirs): documents and queries, special tokens at 0."""
    ours, theirs = sparse_model.load(folder), st.SparseEncoder(str(folder), device="cpu")
    texts = [*SENTENCES, " ".join(WORDS)]
    expected = [
        theirs.encode_document(texts, convert_to_sparse_tensor=False).numpy(),
        theirs.encode_query(QUERIES, convert_to_sparse_tensor=False).numpy(),
    ]
    for rows in expected:
        rows[:, ours.tokenizer.all_special_ids] = 0
    return [ours.encode_documents(texts).toarray(), ours.encode_queries(QUERIES).toarray()], expected


@pytest.mark.parametrize("name", ["siamese", "router", "shared", "ours"])
def test_encodes_as_sentence_transformers_does(name: str, made: dict[str, Path]) -> None:
    """Where documents and queries are cut included, which its newer versions leave to the tokenizers."""
    for found, expected in zip(*both(made[name]), strict=True):
        assert (expected > 0).any()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["siamese", "router", "ours"])
@pytest.mark.parametrize(
    "prompts",
    [
        {"prompts": {"query": "music: ", "document": "rain? "}},
        {"prompts": {"query": "loud", "passage": "rain"}},
        {"prompts": {"query": None, "document": "rain ", "other": "red "}, "default_prompt_name": "other"},
    ],
    ids=["both", "other names", "a default one"],
)
def test_prompts_are_put_where_sentence_transformers_puts_them(
    name: str, prompts: dict[str, Any], made: dict[str, Path], tmp_path: Path
) -> None:
    """Tokens of a query prompt are the query's, of a table's queries too; what is read of a text becomes less."""
    folder = shutil.copytree(made[name], tmp_path / "copy")
    alone, _ = both(folder)
    rewrite(folder / "config_sentence_transformers.json", **prompts)
    found, expected = both(folder)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    said = [bool(prompts["prompts"].get(role)) for role in ("document", "query")]
    assert [not np.array_equal(*pair) for pair in zip(found, alone, strict=True)] == said


def test_weights_that_a_config_names_by_file(made: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    """As there, they count before the tensors, and a token that the file leaves out finds nothing."""
    folder = shutil.copytree(made["router"], tmp_path / "copy")
    monkeypatch.chdir(folder / TABLE)  # where sentence-transformers looks for a relative path
    rewrite(folder / TABLE / "config.json", path="idf.json")
    (folder / TABLE / "idf.json").write_text(json.dumps({"new": 2.5, "york": 0, "red": 0.5}))
    found, expected = both(folder)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
    assert sorted(set(found[1].ravel().tolist())) == [0.0, 0.5, 2.5]


def test_weights_beside_a_plain_masked_lm_are_its_own(tiny_model: Path, tmp_path: Path) -> None:
    """As OpenSearch's models lie on the hub: a token that the file leaves out weighs 1."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "idf.json").write_text(json.dumps({"new": 2.5, "york": 0}))
    encoder = sparse_model.load(folder)
    assert encoder.inf_free and sorted(encoder.encode_queries(["the new york"]).data.tolist()) == [1.0, 2.5]


def _json(name: str, value: Any) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(json.dumps(value))


def _key(name: str, /, **changes: Any) -> Callable[[Path], Any]:
    return lambda folder: rewrite(folder / name, **changes)


def _append_module(folder: Path) -> None:
    rows = json.loads((folder / "modules.json").read_text())
    kind = "sentence_transformers.models.Normalize"
    (folder / "modules.json").write_text(json.dumps([*rows, {"idx": 2, "name": "2", "path": "2", "type": kind}]))


def _own_class(folder: Path) -> None:
    rows = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([rows[0] | {"type": "own.MLMTransformer"}, rows[1]]))


def _other_tokenizer(folder: Path) -> None:
    path = folder / TABLE / "tokenizer.json"
    path.write_text(path.read_text().replace('"rain"', '"reign"'))


def _endless_ids(folder: Path) -> None:
    path = folder / TABLE / "tokenizer.json"
    path.write_text(re.sub(r'"rain": ?\d+', '"rain": 1000000000', path.read_text()))


def _query_weights(change: Callable[[torch.Tensor], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / TABLE / "model.safetensors")
        change(tensors["weight"])
        save_file(tensors, folder / TABLE / "model.safetensors")

    return spoil


def _set(weight: float) -> Callable[[torch.Tensor], Any]:
    return lambda weights: weights[40].fill_(weight)


def _one_tensor_more(folder: Path) -> None:
    tensors = load_file(folder / TABLE / "model.safetensors")
    save_file(tensors | {"bias": tensors["weight"].clone()}, folder / TABLE / "model.safetensors")


CONFIG, LENGTH, ROUTER = "config_sentence_transformers.json", "sentence_bert_config.json", "router_config.json"
POOLING = "1_SpladePooling/config.json"
MASKED_LM = "document_0_MLMTransformer"


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        *(
            ("siamese", _key(CONFIG, prompts=x), f"{CONFIG}: prompts: .* mapping of names")
            for x in ("q: ", {"query": 1})
        ),
        ("siamese", _key(CONFIG, prompts={"query": " ".join(WORDS)}), "query_prompt: .* fills all 7 tokens"),
        ("router", _key(CONFIG, prompts={"document": " ".join(WORDS)}), "document_prompt: .* fills all 7 tokens"),
        ("siamese", _key(CONFIG, max_active_dims=0), f"{CONFIG}: max_active_dims: '0' .*from 1 on"),
        ("siamese", _key(CONFIG, similarity_fn_name="cosine"), f"{CONFIG}: similarity_fn_name: 'cosine'"),
        ("siamese", _key(CONFIG, model_type="CrossEncoder"), f"{CONFIG}: model_type"),
        ("siamese", _key(CONFIG, new_feature="on"), f"{CONFIG}: new_feature: 'on' .* not known"),
        ("siamese", _json(CONFIG, ["x"]), f"{CONFIG} cannot be used: a JSON object"),
        ("siamese", _key(LENGTH, processing_kwargs={"text": {"max_length": 4}}), f"{LENGTH}: processing_kwargs"),
        ("siamese", _key(LENGTH, transformer_task="feature-extraction"), f"{LENGTH}: transformer_task"),
        ("siamese", _key(LENGTH, document_length=4), f"{LENGTH}: document_length"),
        *(("siamese", _key(LENGTH, max_seq_length=n), f"{LENGTH}: max_seq_length: {n}") for n in (2, 1, -5, 0)),
        *(("siamese", _key(LENGTH, max_seq_length=n), f"{LENGTH}: max_seq_length: ") for n in (True, "9", 9.5, [9])),
        ("siamese", _key("tokenizer_config.json", model_max_length=2), "model_max_length: 2 leaves no room"),
        *(
            (name, _key(f"{where}tokenizer_config.json", model_max_length=n), "model_max_length: .* is no number of")
            for name, where in (("siamese", ""), ("router", f"{TABLE}/"))
            for n in ("9", [9], True, 0, -3, 9.5)
        ),
        ("siamese", _key("tokenizer_config.json", pad_token="[NOTHING]"), "names a token that the model does not have"),
        ("siamese", _key(POOLING, pooling_strategy="sum"), f"{POOLING}: pooling_strategy: 'sum'"),
        ("siamese", _key(POOLING, activation_function="gelu"), f"{POOLING}: activation_function"),
        ("siamese", _key(POOLING, activation_function=["relu"]), f"{POOLING}: activation_function"),
        ("siamese", _key(POOLING, temperature=2), f"{POOLING}: temperature"),
        *(("siamese", _json("modules.json", x), "modules.json.*list of modules") for x in ({}, 5, None, [], "x")),
        *(("siamese", _json("modules.json", x), "modules.json.* is no module") for x in ([{}], [5], [{"type": 1}])),
        ("siamese", _append_module, "modules.json: documents go through .*Normalize"),
        ("siamese", _own_class, "modules.json: documents go through own.MLMTransformer"),
        ("siamese", lambda f: (f / "modules.json").unlink(), "no modules.json"),
        ("ours", lambda f: (f / "modules.json").unlink(), "no modules.json"),
        ("siamese", _json("tokenizer_config.json", []), "tokenizer_config.json cannot be used: a JSON object"),
        ("siamese", _key("tokenizer.json", model={"type": "Nothing"}), "no tokenizer that can be read"),
        ("siamese", _json("config.json", [1]), "config.json cannot be used: a JSON object"),
        ("siamese", _key("config.json", num_hidden_layers=10**9), "config.json: num_hidden_layers: 1000000000"),
        ("siamese", _key("config.json", num_hidden_layers=1), r"no place for, such as bert.encoder.layer.1\."),
        ("siamese", _json("adapter_config.json", {}), "adapter_config.json"),
        ("siamese", lambda f: (f / "model.safetensors").rename(f / "model.onnx"), "model.onnx, a graph for other"),
        ("siamese", lambda f: (f / "modules.json").write_text("[" * 200_000), "modules.json cannot be read"),
        ("router", _key(ROUTER, structure={"query": [TABLE]}), f"{ROUTER} has no routes"),
        ("router", _key(ROUTER, structure={"query": ["x"], "document": ["y"]}), f"{ROUTER}: structure: query: .*'x'"),
        ("router", _key(ROUTER, structure=[1]), f"{ROUTER}: structure"),
        ("router", _key(ROUTER, parameters={"default_route": "x"}), "default_route: 'x' is none of its routes"),
        ("router", _key(ROUTER, parameters={"default_route": ["query"]}), "default_route: .* is none of its routes"),
        ("router", _key(ROUTER, structure={"query": [TABLE], "document": [TABLE], "x": []}), "structure: x: "),
        ("router", _key(ROUTER, types=[1]), f"{ROUTER}: types"),
        ("router", _key(ROUTER, parameters={"route_mappings": {"('query', None)": "document"}}), "parameters"),
        ("router", _key(ROUTER, structure={"query": [MASKED_LM], "document": [TABLE]}), "not a sparse masked LM"),
        ("router", _key(f"{TABLE}/config.json", path="../../away.json"), "leads out of its folder"),
        ("router", _key(f"{TABLE}/config.json", path="away.json"), "away.json is missing"),
        ("router", lambda f: (f / TABLE / "model.safetensors").unlink(), "model.safetensors is missing"),
        ("router", _other_tokenizer, f"{TABLE}: its tokenizer for queries is another"),
        ("router", _endless_ids, "its ids go up to 1000000000"),
        ("router", _query_weights(_set(-1.0)), f"{TABLE}/model.safetensors: 1 of .*'.*' has weight -1.0"),
        ("router", _query_weights(_set(float("nan"))), f"{TABLE}/model.safetensors: .*weight nan"),
        ("ours", _query_weights(_set(1e9)), f"{TABLE}/model.safetensors: .*weight 1000000000"),
        ("ours", _one_tensor_more, f"{TABLE}/model.safetensors: expected .*bias"),
    ],
)
def test_what_would_be_passed_over_is_refused(
    name: str, spoil: Callable, message: str, made: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(made[name], tmp_path / "copy")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        sparse_model.load(folder)


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64, torch.int64], ids=str)
@pytest.mark.parametrize("where", ["model.safetensors", "pytorch_model.bin", f"{TABLE}/model.safetensors"])
def test_weights_that_are_no_floating_point_numbers(
    kind: torch.dtype, where: str, made: dict[str, Path], tmp_path: Path
) -> None:
    """They would be read as what they are not: without a scale, without their imaginary part."""
    folder = shutil.copytree(made["ours"], tmp_path / "copy")
    weights = (folder / where).parent / "model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name] = tensors[name].to(kind)
    torch.save(tensors, folder / where) if where.endswith("bin") else save_file(tensors, folder / where)
    with pytest.raises(UserError, match=rf"{folder / where}: {name} is of kind \w+; weights are of float32, "):
        sparse_model.load(folder)


def test_all_that_a_file_says_wrongly_is_told_at_once(made: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(made["siamese"], tmp_path / "copy")
    rewrite(folder / CONFIG, max_active_dims=-1, similarity_fn_name="euclidean")
    with pytest.raises(UserError) as caught:
        sparse_model.load(folder)
    assert {line.split(": ")[1] for line in str(caught.value).splitlines()} == {"max_active_dims", "similarity_fn_name"}


@pytest.mark.parametrize("weight", ["-1", "NaN", "Infinity", "1e7", "1" + "0" * 400, "true", '"1"', "null", "[1]"])
def test_query_weights_of_a_file_are_numbers(weight: str, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "idf.json"
    path.write_text(f'{{"new": 1, "york": {weight}}}')
    with pytest.raises(UserError, match=f"idf_path: {path}: .*'york' has weight "):
        sparse_model.load(tiny_model, idf_path=str(path))


def test_a_token_has_one_weight(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "idf.json").write_text('{"new": 1, "york": 2, "new": 3}')
    with pytest.raises(UserError, match="idf_path: .*'new' stands there twice"):
        sparse_model.load(tiny_model, idf_path=str(tmp_path))


def test_trained_query_weights_stay_at_zero_or_above(tiny_model: Path, tmp_path: Path) -> None:
    """A step that leads below zero ends at zero; what is saved is what the next step would begin with."""
    encoder = sparse_model.load(tiny_model)
    encoder.use_idf(torch.ones(encoder.vocabulary_size), requires_grad=True)
    with torch.no_grad():
        encoder.idf_V[7:9] = torch.tensor([-0.5, 0.25])
    encoder.save(tmp_path)
    ids = torch.tensor([[7, 8, 9]])
    weights_QV = encoder.query_weights(ids, torch.ones_like(ids))
    assert weights_QV[0, 7:10].tolist() == [0.0, 0.25, 1.0] and weights_QV.requires_grad
    again = sparse_model.load(tmp_path)
    assert torch.equal(again.idf_V, encoder.idf_V)


def test_nobody_is_asked_whether_code_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a class of its own, and "y" on standard input."""
    folder = make_model(tmp_path / "model")
    own = {"AutoConfig": "own.C", "AutoTokenizer": ["own.T", None], "AutoModelForMaskedLM": "own.M"}
    rewrite(folder / "config.json", model_type="own", auto_map=own)
    rewrite(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", "own.T"]}, tokenizer_class="T")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nT = M = C\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(UserError, match="trust_remote_code"):
        sparse_model.load(folder)
    assert not (tmp_path / "ran").exists() and sys.stdin.tell() == 0


def test_a_model_may_be_cut_on_purpose(tiny_model: Path) -> None:
    """Tensors without a place are what model_overrides ask for."""
    encoder = sparse_model.load(tiny_model, model_overrides={"num_hidden_layers": 1})
    assert len(encoder.mlm.bert.encoder.layer) == 1
    with pytest.raises(UserError, match="num_hidden_layers: 1000000000"):
        sparse_model.load(tiny_model, model_overrides={"num_hidden_layers": 10**9})


def test_a_tokenizer_of_nothing_known(tmp_path: Path) -> None:
    """tokenizers raises a bare Exception for it."""
    make_model(tmp_path)
    rewrite(tmp_path / "tokenizer.json", model={"type": "Nothing", "vocab": {}})
    with pytest.raises(UserError, match="tokenizer_name: .* holds no tokenizer that can be read"):
        load_tokenizer(str(tmp_path))
