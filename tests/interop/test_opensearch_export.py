"""python -m sparse_model.export opensearch: both archives, read back as ML Commons reads them, and the bodies."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import sparse_model
from sparse_model.export.__main__ import main
from sparse_model.export.opensearch import cut_dense, query_weights
from sparse_model.pruning import Cut
from tests.conftest import SENTENCES
from tests.interop.conftest import make_checkpoint

TEXTS = [*SENTENCES, "", "cold", "rain. a b, " * 40, "[SEP] 東京 naïve"]


@pytest.fixture(scope="module", params=["bert", "roberta"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a checkpoint, what was exported of it)."""
    folder = tmp_path_factory.mktemp("served")
    checkpoint = make_checkpoint(folder, request.param)
    assert main(["opensearch", str(checkpoint), str(folder / "out"), "--field", "vector", "--text-field", "body"]) == 0
    return checkpoint, folder / "out"


def as_ml_commons(out: Path, file: str) -> tuple[dict[str, bytes], Tokenizer]:
    with zipfile.ZipFile(out / file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    return parts, Tokenizer.from_str(parts["tokenizer.json"].decode())


def test_scores_are_the_checkpoints(served: tuple[Path, Path]) -> None:
    """Documents one at a time, by name; queries by idf.json, 1.0 where it lacks a name: as the plugin does it."""
    checkpoint, out = served
    encoder = sparse_model.load(checkpoint)
    parts, tokenizer = as_ml_commons(out, "document-model.zip")
    assert [name for name in parts if name.endswith(".pt")] == ["inference-free-sparse.pt"] and len(parts) == 2
    assert json.loads(parts["tokenizer.json"])["truncation"] == {
        "direction": "Right",
        "max_length": encoder.max_seq_length,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    model = torch.jit.load(io.BytesIO(parts["inference-free-sparse.pt"]))
    documents = []
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        inputs = {"input_ids": torch.tensor([encoding.ids]), "attention_mask": torch.tensor([encoding.attention_mask])}
        (row,) = model(inputs)["output"].numpy()
        named = {tokenizer.decode([int(j)], skip_special_tokens=True): float(row[j]) for j in np.flatnonzero(row)}
        documents.append({name: weight for name, weight in named.items() if name})
    parts, tokenizer = as_ml_commons(out, "query-tokenizer.zip")
    assert set(parts) == {"tokenizer.json", "idf.json"}
    idf = json.loads(parts["idf.json"])
    assert all(0 < weight <= 64 for weight in idf.values())
    queries = []
    for text in TEXTS:
        names = [tokenizer.decode([i], skip_special_tokens=True) for i in dict.fromkeys(tokenizer.encode(text).ids)]
        queries.append({name: idf.get(name, 1.0) for name in names if name})
    found = [[sum(w * d.get(name, 0.0) for name, w in q.items()) for d in documents] for q in queries]
    wanted = (encoder.encode_queries(TEXTS) @ encoder.encode_documents(TEXTS).T).toarray()
    assert np.allclose(found, wanted, atol=1e-3) and wanted.max() > 1


def test_what_is_registered_is_what_lies_there(served: tuple[Path, Path]) -> None:
    _, out = served
    for file, archive, function in [
        ("register-document-model.json", "document-model.zip", "SPARSE_ENCODING"),
        ("register-query-tokenizer.json", "query-tokenizer.zip", "SPARSE_TOKENIZE"),
    ]:
        body, content = json.loads((out / file).read_text()), (out / archive).read_bytes()
        assert body["model_content_size_in_bytes"] == len(content) and body["function_name"] == function
        assert body["model_content_hash_value"] == hashlib.sha256(content).hexdigest()
    assert json.loads((out / "pipeline.json").read_text())["processors"][0]["sparse_encoding"]["field_map"] == {
        "body": "vector"
    }
    assert json.loads((out / "index.json").read_text())["mappings"]["properties"]["vector"]["type"] == "rank_features"
    assert "neural_sparse" in (out / "search.json").read_text() and "URL/documents" in (out / "how-to.md").read_text()
    assert json.loads((out / "export.json").read_text())["versions"]["ML Commons' torch"] == "2.5.1"


def test_query_weights_lie_where_they_may(tiny_model: Path) -> None:
    """128 becomes 64 and all others half of theirs, 0 the least there is, special tokens no entry."""
    encoder = sparse_model.load(tiny_model)
    table = torch.ones(encoder.vocabulary_size)
    table[10], table[11] = 128.0, 0.0
    encoder.use_idf(table)
    weights, notes = query_weights(encoder)
    tokens = encoder.tokenizer.convert_ids_to_tokens([10, 11, 12])
    assert [weights[token] for token in tokens] == [64.0, 1e-6, 0.5] and "[CLS]" not in weights
    assert len(notes) == 1 and "multiplied by 0.5" in notes[0]


def test_the_cut_is_the_encoders() -> None:
    row = torch.tensor([[4.0, 0.0, 1.0, 3.0, 2.0]])
    assert cut_dense(row, Cut(2)).tolist() == [[4, 0, 0, 3, 0]]
    assert cut_dense(row, Cut(None, 0.5)).tolist() == [[4, 0, 0, 3, 2]]


def test_mistakes(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["opensearch", str(tiny_model), str(tmp_path / "out"), "--index", "a b"]) == 2
    assert "--index 'a b'" in capsys.readouterr().err and not (tmp_path / "out").exists()
