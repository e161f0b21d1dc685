"""Engines that search vectors made here, each as its users call it; another one is an entry in ENGINES."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sparse_model.verify.compare import Encoded

Hits = list[list[tuple[int, float]]]
"""Of each query (document's row, score), best first."""
BATCH = 500


class Engine(NamedTuple):
    """An engine: the package that it is, how it is installed, and how it searches."""

    package: str
    pip: str
    search: Callable[[Encoded, int, Path], Hits]
    """(vectors, hits a query, a folder to write into)"""


def _qdrant(vectors: Encoded, k: int, folder: Path) -> Hits:
    """Its local mode."""
    from qdrant_client import QdrantClient, models

    def sparse(row: Any) -> Any:
        return models.SparseVector(indices=row.indices.tolist(), values=row.data.tolist())

    client = QdrantClient(":memory:")
    client.create_collection("docs", sparse_vectors_config={"text": models.SparseVectorParams()}, vectors_config={})
    points = [models.PointStruct(id=n, vector={"text": sparse(row)}) for n, row in enumerate(vectors.documents)]
    for start in range(0, len(points), BATCH):
        client.upsert("docs", points[start : start + BATCH])
    answers = [
        client.query_points("docs", query=sparse(row), using="text", limit=k).points if row.nnz else []
        for row in vectors.queries
    ]
    return [[(hit.id, hit.score) for hit in hits if hit.score > 0] for hits in answers]


def _milvus(vectors: Encoded, k: int, folder: Path) -> Hits:
    """Milvus Lite. Inner product, nothing dropped; what is not flushed is not indexed, and takes it long."""
    from pymilvus import DataType, MilvusClient

    def sparse(row: Any) -> dict[int, float]:
        return dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))

    client = MilvusClient(str(folder / "milvus.db"))
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.SPARSE_FLOAT_VECTOR)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection("docs", schema=schema, index_params=index)
    rows = [{"id": n, "vector": sparse(row)} for n, row in enumerate(vectors.documents)]
    for start in range(0, len(rows), BATCH):
        client.insert("docs", rows[start : start + BATCH])
    client.flush("docs")
    client.load_collection("docs")
    asked = [sparse(row) for row in vectors.queries]
    answers = client.search("docs", asked, anns_field="vector", limit=k, search_params={"metric_type": "IP"})
    found = [[(hit["id"], hit["distance"]) for hit in hits if hit["distance"] > 0] for hits in answers]
    client.close()
    return found


ENGINES = {
    "Qdrant": Engine("qdrant_client", "qdrant-client", _qdrant),
    "Milvus": Engine("milvus_lite", "milvus-lite", _milvus),
}
"""by the name that is printed"""
