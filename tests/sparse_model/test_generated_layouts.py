"""sentence-transformers' modules in any order and under any routes: encoded as there, or refused with a sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from transformers import AutoTokenizer

import sparse_model
from sparse_model import UserError
from tests.conftest import SENTENCES, make_model
from tests.generated import examples

pytestmark = pytest.mark.generated
st = pytest.importorskip("sentence_transformers")

PLACE = "sentence_transformers.sparse_encoder.models."
MODULES = {
    "document": f"{PLACE}MLMTransformer.MLMTransformer",
    "pooling": f"{PLACE}SpladePooling.SpladePooling",
    "table": f"{PLACE}SparseStaticEmbedding.SparseStaticEmbedding",
    "query": f"{PLACE}MLMTransformer.MLMTransformer",
    "normalize": "sentence_transformers.models.Normalize",
    "lost": f"{PLACE}SpladePooling.SpladePooling",
}
PATHS = some.lists(some.sampled_from(sorted(MODULES)), min_size=0, max_size=3)
ORDERS = some.one_of(*map(some.just, (["document", "pooling"], ["query", "pooling"], ["table"])), PATHS)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of each module but `lost`."""
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SparseStaticEmbedding, SpladePooling

    root = tmp_path_factory.mktemp("parts")
    tokenizer = AutoTokenizer.from_pretrained(make_model(root / "plain"))
    torch.manual_seed(0)
    modules = {
        "document": MLMTransformer(str(root / "plain"), max_seq_length=9),
        "pooling": SpladePooling("max"),
        "table": SparseStaticEmbedding(tokenizer, torch.rand(len(tokenizer)) * 3),
        "query": MLMTransformer(str(make_model(root / "other", "distilbert", seed=1)), max_seq_length=7),
    }
    for name, module in modules.items():
        (root / "parts" / name).mkdir(parents=True)
        module.save(str(root / "parts" / name))
    (root / "parts" / "normalize").mkdir()
    return root / "parts"


def _written(folder: Path, data: some.DataObject) -> None:
    """modules.json, of a Router or of the modules themselves."""
    if not data.draw(some.booleans(), "router"):
        names = data.draw(ORDERS, "modules")
        rows = [{"idx": i, "name": str(i), "path": n, "type": MODULES[n]} for i, n in enumerate(names)]
        return _write(folder / "modules.json", rows)
    routes = {route: data.draw(ORDERS, route) for route in data.draw(some.permutations(["query", "document"]), "order")}
    if (extra := data.draw(some.sampled_from(["", "query", "document", "other"]), "a route more or less")) in routes:
        del routes[extra]
    elif extra:
        routes[extra] = data.draw(ORDERS, extra)
    types = {name: MODULES[name] for names in routes.values() for name in names}
    parameters: dict[str, Any] = {"default_route": data.draw(some.sampled_from([None, "query", "document", "x"]), "by")}
    says = {"types": types, "structure": routes, "parameters": parameters | {"allow_empty_key": True}}
    _write(folder / "router_config.json", says)
    return _write(folder / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": f"{ROUTER}"}])


ROUTER = "sentence_transformers.models.Router"


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


@examples(25)
@given(data=some.data())
def test_as_there_or_refused(parts: Path, tmp_path: Path, data: some.DataObject) -> None:
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(parts, folder)
    _write(folder / "config_sentence_transformers.json", {"model_type": "SparseEncoder", "similarity_fn_name": "dot"})
    _written(folder, data)
    try:
        ours = sparse_model.load(folder)
    except UserError as error:
        assert str(error)
        return
    theirs = st.SparseEncoder(str(folder), device="cpu")
    for found, expected in (
        (ours.encode_documents(SENTENCES), theirs.encode_document(SENTENCES, convert_to_sparse_tensor=False)),
        (ours.encode_queries(SENTENCES), theirs.encode_query(SENTENCES, convert_to_sparse_tensor=False)),
    ):
        expected = expected.numpy()
        expected[:, ours.tokenizer.all_special_ids] = 0
        np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5, atol=1e-5)
