"""OpenSearch's approximate search: postings in clusters (SEISMIC, Bruch et al. 2024, arXiv 2404.18812), from 3.3 on.

A field of type sparse_vector, tokens by their ids. Beside it lies an index of rank_features on the same server, by
whose exact rankings and figures the approximate ones are judged. Below `approximate_threshold` documents in a segment
OpenSearch ranks exactly here, too.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retrieval.blocks import DocumentVectors
from retrieval.distributed import all_gather_arrays
from retrieval.engine import Hits
from retrieval.opensearch.client import Server
from retrieval.opensearch.layout import Layout
from retrieval.opensearch.opensearch_engine import OpenSearchEngine, Options
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

SINCE, ANY_VOCABULARY = (3, 3), (3, 9)
MOST_TOKENS = 32_768
CEILING = "quantization_ceiling_ingest"
INDEXING = (
    *("n_postings", "cluster_ratio", "summary_prune_ratio", "approximate_threshold"),
    *(CEILING, "quantization_ceiling_search"),
)
"""What OpenSearch takes with the field."""
SEARCHING = ("top_n", "heap_factor")
"""What it takes with a query, beside k."""
BESIDE = ("index_bytes", "build_s", "ingest_docs_per_s", "latency_", "queries_per_s_")
NO_PLUGIN = (
    "index_method: seismic: the server does not know sparse_vector; install its plugins opensearch-knn and "
    "opensearch-neural-search on every node."
)


def seismic(parameters: Mapping[str, Any], searching: Mapping[str, Any]) -> Layout:
    """The layout; parameters, searching: some of INDEXING and SEARCHING, the rest as OpenSearch has it."""

    def query(field: str, names: Sequence[str], tokens: np.ndarray, weights: np.ndarray, size: int) -> dict[str, Any]:
        asked = {names[t]: float(str(w)) for t, w in zip(tokens, weights, strict=True)}
        return {"neural_sparse": {field: {"query_tokens": asked, "method_parameters": {"k": size, **searching}}}}

    return Layout(
        mapping={"type": "sparse_vector", "method": {"name": "seismic", "parameters": dict(parameters)}},
        settings={"sparse": True},
        names=lambda tokens: list(map(str, range(len(tokens)))),
        query=query,
        countable=False,
        needs=NO_PLUGIN,
    )


class SeismicEngine:
    """One corpus on a server, twice (see `retrieval.engine.Engine`, `OpenSearchEngine`).

    Args:
        parameters, searching: see `seismic`. A ceiling of documents' weights that is not given is their largest.
    """

    approximate = True

    def __init__(
        self,
        server: Server,
        tokens: Sequence[str | None],
        data_set: str,
        contents: dict[str, Any],
        options: Options,
        parameters: Mapping[str, Any],
        searching: Mapping[str, Any],
    ) -> None:
        check_version(server.version, len(tokens))
        self._parameters, self._searching = parameters, searching
        self._exact = OpenSearchEngine(server, tokens, data_set, contents, options)
        named = {**contents, "seismic": dict(parameters)}
        self._make = lambda layout: OpenSearchEngine(server, tokens, data_set, named, replace(options, layout=layout))

    def index(self, doc_ids: Sequence[str], vocabulary: int, vectors: DocumentVectors) -> np.ndarray:
        """See `Engine.index`; vectors are read once more for the ceiling, and once for each index that is not there."""
        document_df = self._exact.index(doc_ids, vocabulary, vectors)
        parameters = {CEILING: _largest(vectors), **self._parameters}
        self._fast = self._make(seismic(parameters, self._searching))
        self._fast.index(doc_ids, vocabulary, vectors)
        return document_df

    def search(self, queries: csr_matrix, top_k: int, exhaustive: bool = False) -> Hits:
        """See `Engine.search`."""
        return (self._exact if exhaustive else self._fast).search(queries, top_k)

    def measure(self, queries: csr_matrix, top_k: int) -> dict[str, Any]:
        """See `Engine.measure`; rank_features_<figure>: of the exact index."""
        exact = self._exact.measure(queries, top_k)
        beside = {f"rank_features_{name}": value for name, value in exact.items() if name.startswith(BESIDE)}
        return {**self._fast.measure(queries, top_k), "index_method": "seismic", **beside}

    def close(self, keep: bool) -> None:
        """See `Engine.close`."""
        self._exact.close(keep)
        self._fast.close(keep)


def check_version(version: str, vocabulary: int) -> None:
    """Raise a UserError where the server has no SEISMIC, or would take one token for another."""
    number = tuple(int(part) for part in version.split(".")[:2])
    if number < SINCE:
        raise UserError(f"index_method: seismic: the server is OpenSearch {version}; it is there from 3.3 on.")
    if vocabulary > MOST_TOKENS and number < ANY_VOCABULARY:
        raise UserError(
            f"index_method: seismic: OpenSearch {version} takes ids modulo {MOST_TOKENS}, and the vocabulary has "
            f"{vocabulary}; take OpenSearch 3.9 or newer, or index_method: rank_features."
        )


def _largest(vectors: DocumentVectors) -> float:
    """The largest weight over all processes' documents; 1.0 if there is none."""
    mine = max((float(weights.data.max()) for _, weights in vectors.blocks() if weights.nnz), default=0.0)
    return float(np.concatenate(all_gather_arrays(np.array([mine], np.float32))).max()) or 1.0
