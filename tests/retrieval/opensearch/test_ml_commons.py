"""The calls of how-to.md, as `export opensearch` writes them, on a real OpenSearch 3 with ML Commons.

The node has no PyTorch: the document model is registered there, but cannot be deployed. The query tokenizer is.
"""

import json
import re
import shutil
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparse_model
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import stored_precision
from retrieval.opensearch.host import usable_folder
from sparse_model.export.__main__ import main as export
from tests.conftest import SENTENCES
from tests.interop.conftest import make_checkpoint
from tests.retrieval.opensearch.helpers import NEWER

TEXTS = [*SENTENCES, "cold", "rain. a b, " * 40, "[SEP] 東京 naïve </s>", "...", "UPPER new york."]
INDEX = "by-ml-commons"


@pytest.fixture
def cluster(server: Server, home: Path) -> Iterator[Server]:
    """The node, without the index, the pipeline and what was set afterwards."""
    if not (home / "plugins" / "opensearch-ml").is_dir() or not shutil.which("curl"):
        pytest.skip("the node has no ML Commons (install --ml), or there is no curl")
    yield server
    server.call("DELETE", f"/{INDEX}", missing={})
    server.call("DELETE", "/_ingest/pipeline/encode-documents", missing={})


def answers(command: str, out: Path, url: str) -> list[Any]:
    """What curl prints of calls in how-to.md, typed in its folder."""
    words = ["bash", "-ec", textwrap.dedent(command).replace("URL", url).replace("curl ", "curl -sS ")]
    left = subprocess.run(words, cwd=out, check=True, capture_output=True, text=True).stdout.strip()
    found = []
    while left:
        answer, end = json.JSONDecoder().raw_decode(left)
        found, left = [*found, answer], left[end:].strip()
    return found


def soon(server: Server, path: str, key: str, *states: str) -> dict[str, Any]:
    """An answer once its state is one of these."""
    for _ in range(240):
        answer = server.call("GET", path)
        if answer[key] in states:
            return answer
        time.sleep(0.25)
    pytest.fail(f"{path}: {answer}")


@pytest.mark.opensearch
@pytest.mark.slow
@pytest.mark.xdist_group("opensearch")
@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("home", [NEWER], indirect=True)
def test_the_calls_in_order(cluster: Server, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Both models are registered; queries that the cluster tokenises score as the exact engine's."""
    folder = usable_folder(tmp_path_factory.mktemp(kind))
    out = folder / "out"
    checkpoint = make_checkpoint(tmp_path_factory.mktemp("made"), kind)
    assert export(["opensearch", str(checkpoint), str(out), "--index", INDEX, "--name", kind]) == 0
    out.chmod(0o755)
    settings, register, make, send, search = re.findall(r"```\n(.*?)```", (out / "how-to.md").read_text(), re.S)
    for file, archive in (("document-model", "document-model.zip"), ("query-tokenizer", "query-tokenizer.zip")):
        (out / archive).chmod(0o644)
        path = out / f"register-{file}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"url": f"file://{out / archive}"}))
    url = cluster.address
    assert answers(settings, out, url)[0]["acknowledged"]
    tasks = [answer["task_id"] for answer in answers(register, out, url)]
    done = [soon(cluster, f"/_plugins/_ml/tasks/{task}", "state", "COMPLETED", "FAILED") for task in tasks]
    assert [task["state"] for task in done] == ["COMPLETED", "COMPLETED"]
    documents_by, queries_by = (task["model_id"] for task in done)
    soon(cluster, f"/_plugins/_ml/models/{queries_by}", "model_state", "DEPLOYED")
    soon(cluster, f"/_plugins/_ml/models/{documents_by}", "model_state", "DEPLOY_FAILED", "DEPLOYED")
    for name, model in (("pipeline.json", documents_by), ("search.json", queries_by)):
        (out / name).write_text(re.sub("<[^>]*id>", model, (out / name).read_text()))
    assert all(answer["acknowledged"] for answer in answers(make, out, url))
    encoder = sparse_model.load(checkpoint)
    documents = stored_precision(encoder.encode_documents(TEXTS))
    decode = encoder.tokenizer.backend_tokenizer.decode
    for n, text in enumerate(TEXTS):  # encoded here, as the node has no PyTorch
        row = documents[n]
        named = {decode([int(j)]): float(w) for j, w in zip(row.indices, row.data, strict=True)}
        body = {"text": text, "text_sparse": {name: weight for name, weight in named.items() if name}}
        cluster.call("POST", f"/{INDEX}/_doc/{n}", body, {"pipeline": "_none", "refresh": "true"})
    assert str(INDEX) in send and answers(search, out, url)[0]["timed_out"] is False
    wanted = (encoder.encode_queries(TEXTS) @ documents.T).toarray()
    body = json.loads((out / "search.json").read_text()) | {"size": len(TEXTS)}
    for text, scores in zip(TEXTS, wanted, strict=True):
        body["query"]["neural_sparse"]["text_sparse"]["query_text"] = text
        hits = cluster.call("POST", f"/{INDEX}/_search", body)["hits"]["hits"]
        found = np.zeros(len(TEXTS))
        found[[int(hit["_id"]) for hit in hits]] = [hit["_score"] for hit in hits]
        np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-5)
    assert wanted.max() > 1
