"""Files of retrieval.encode in Qdrant, Milvus, Seismic and bm25s, by their PyPI packages: the exact product's ranking.

Each loads as its documentation says, from the files alone. What is not installed is skipped and says so (make
test-clients installs all that PyPI has).
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, load_npz

import sparse_model
from retrieval.encode.__main__ import main
from tests.conftest import SENTENCES, make_model, write_jsonl

N, K = 400, 10
QUERIES = ["weather in new york", "insulin binds protein", "loud music.", "the red bird", "bank loan rate", "cold"]

Found = list[list[tuple[str, float]]]
"""Of each query (id, score), best first."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a corpus of random sentences, queries."""
    folder = tmp_path_factory.mktemp("clients")
    make_model(folder / "model")
    words, rng = np.array(" ".join(SENTENCES).split()), np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, rng.integers(4, 30))) for _ in range(N)]
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"doc-{i}", "text": text} for i, text in enumerate(texts)])
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": text} for i, text in enumerate(QUERIES)])
    return folder


@pytest.fixture(scope="module")
def exact(folder: Path) -> np.ndarray:
    """Scores [Q, N]."""
    encoder = sparse_model.load(folder / "model")
    texts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    return (encoder.encode_queries(QUERIES) @ encoder.encode_documents(texts).T).toarray()


@pytest.fixture(scope="module")
def encoded(folder: Path) -> Callable[[str], Path]:
    """The vectors in a form."""

    def make(form: str) -> Path:
        out = folder / form
        words = [
            folder / "model",
            folder / "corpus.jsonl",
            out,
            "--format",
            form,
            "--queries",
            folder / "queries.jsonl",
        ]
        assert main([*map(str, words), "--use-cpu"]) == 0
        return out

    return make


def same_ranking(found: Found, exact: np.ndarray, tolerance: float) -> None:
    """The scores of the exact best K in order, and each document's own score beside its name."""
    for hits, scores in zip(found, exact, strict=True):
        best = np.sort(scores)[::-1][:K]
        assert [score for _, score in hits] == pytest.approx(best.tolist(), rel=tolerance)
        own = [scores[int(name.removeprefix("doc-"))] for name, _ in hits]
        assert own == pytest.approx(best.tolist(), rel=2 * tolerance) and len({name for name, _ in hits}) == K


def parquet_rows(path: Path) -> list[dict]:
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


def test_qdrant(encoded: Callable[[str], Path], exact: np.ndarray) -> None:
    """Its local mode. A point's id is an integer or a UUID: the document's own id goes into the payload."""
    pytest.importorskip("qdrant_client", reason="pip install qdrant-client")
    from qdrant_client import QdrantClient, models

    out = encoded("parquet")
    client = QdrantClient(":memory:")
    client.create_collection("docs", sparse_vectors_config={"text": models.SparseVectorParams()}, vectors_config={})
    vector = lambda row: models.SparseVector(indices=row["indices"], values=row["values"])  # noqa: E731
    points = [
        models.PointStruct(id=n, vector={"text": vector(row)}, payload={"id": row["id"]})
        for n, row in enumerate(parquet_rows(out / "documents-000000.parquet"))
    ]
    client.upsert("docs", points)
    found = []
    for row in parquet_rows(out / "queries.parquet"):
        hits = client.query_points("docs", query=vector(row), using="text", limit=K).points
        found.append([(hit.payload["id"], hit.score) for hit in hits])
    same_ranking(found, exact, 1e-5)


def test_milvus(encoded: Callable[[str], Path], exact: np.ndarray, tmp_path: Path) -> None:
    """Milvus Lite. Inner product, nothing dropped; ids may be strings."""
    pytest.importorskip("milvus_lite", reason="pip install milvus-lite pymilvus")
    from pymilvus import DataType, MilvusClient

    out = encoded("parquet")
    client = MilvusClient(str(tmp_path / "milvus.db"))
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
    schema.add_field("vector", DataType.SPARSE_FLOAT_VECTOR)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection("docs", schema=schema, index_params=index)
    vector = lambda row: dict(zip(row["indices"], row["values"], strict=True))  # noqa: E731
    rows = parquet_rows(out / "documents-000000.parquet")
    client.insert("docs", [{"id": row["id"], "vector": vector(row)} for row in rows])
    asked = [vector(row) for row in parquet_rows(out / "queries.parquet")]
    answers = client.search("docs", asked, anns_field="vector", limit=K, search_params={"metric_type": "IP"})
    same_ranking([[(hit["id"], hit["distance"]) for hit in hits] for hits in answers], exact, 1e-5)
    client.close()


def test_seismic(encoded: Callable[[str], Path], exact: np.ndarray) -> None:
    """With every posting in a block of its own list and nothing skipped it is exact, but for half precision."""
    pytest.importorskip("seismic", reason="pip install pyseismic-lsr")
    from seismic import SeismicIndex, get_seismic_string

    out = encoded("seismic")
    index = SeismicIndex.build(str(out / "documents.jsonl"), n_postings=N, max_fraction=10.0, doc_cut=100)
    text = get_seismic_string()
    queries = [json.loads(line) for line in (out / "queries.jsonl").read_text().splitlines()]
    found = [
        [
            (name, score)
            for _, score, name in index.search(
                query_id=query["id"],
                query_components=np.array(list(query["vector"]), dtype=text),
                query_values=np.array(list(query["vector"].values()), dtype=np.float32),
                k=K,
                query_cut=100,
                heap_factor=0.0,
            )
        ]
        for query in queries
    ]
    same_ranking(found, exact, 2e-3)


def test_bm25s(encoded: Callable[[str], Path], exact: np.ndarray) -> None:
    """It adds up documents' weights and knows no query weights: a table's are folded into the documents."""
    bm25s = pytest.importorskip("bm25s", reason="pip install bm25s")

    out = encoded("csr")
    documents, queries = load_npz(out / "documents.npz"), load_npz(out / "queries.npz")
    idf_V = csr_matrix(queries).max(axis=0).toarray().ravel()  # of the tokens that are asked for
    columns = documents.multiply(idf_V).tocsc()
    index = bm25s.BM25()
    index.scores = {"data": columns.data, "indices": columns.indices, "indptr": columns.indptr, "num_docs": N}
    index.nonoccurrence_array = None
    with np.load(out / "documents.npz") as file:
        ids = file["ids.txt"].decode().split("\n")
    found = []
    for row in queries:
        scores = index.get_scores_from_ids(row.indices.tolist())
        best = np.argsort(-scores, kind="stable")[:K]
        found.append([(ids[n], float(scores[n])) for n in best])
    same_ranking(found, exact, 1e-5)
