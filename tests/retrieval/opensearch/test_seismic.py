"""index_method: seismic on an OpenSearch 3 node: approximate rankings beside the exact ones of the same server."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrieval.beir_data import BeirData
from retrieval.opensearch.client import Server
from retrieval.opensearch.host import version_of
from retrieval.opensearch.opensearch_engine import Options
from retrieval.opensearch.seismic import SeismicEngine, check_version, seismic
from retrieval.score_dataset import DatasetScores
from sparse_model import UserError
from tests.retrieval.bag_of_words import VOCABULARY
from tests.retrieval.opensearch.helpers import NEWER, SAME, TOKENS, Given, on


@pytest.fixture
def make_seismic(server: Server, home: Path) -> Iterator[Callable[..., SeismicEngine]]:
    """Makes engines over a bag of words; their indexes are removed at the end."""
    if not re.match(r"3\.[3-9]", version_of(home)) or not (home / "plugins" / "opensearch-knn").is_dir():
        pytest.skip("the node has no SEISMIC (OpenSearch 3.3 with opensearch-knn and opensearch-neural-search)")
    server.first_contact()
    engines = []

    def make(contents: str, parameters: dict[str, Any], searching: dict[str, Any] | None = None) -> SeismicEngine:
        arguments = (server, TOKENS, "random", {"contents": contents}, Options(), parameters, searching or {})
        engines.append(SeismicEngine(*arguments))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close(keep=False)


@pytest.mark.opensearch
@pytest.mark.xdist_group("opensearch")
@pytest.mark.parametrize("home", [NEWER], indirect=True)
def test_below_the_threshold_it_is_exact(
    make_seismic: Callable[..., SeismicEngine], data: BeirData, exact: DatasetScores
) -> None:
    """Empty documents, tokens with dots and ties included."""
    result = on(make_seismic("few", {"approximate_threshold": 100_000}), data)
    assert {key: result.figures[key] for key in SAME} == {key: exact.figures[key] for key in SAME}
    assert {q: dict(hits) for q, hits in result.rankings.items()} == {q: dict(h) for q, h in exact.rankings.items()}
    assert result.figures["overlap@10"] == 1.0 and result.figures["ndcg@10_loss"] == 0
    for name in ("index_bytes", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "build_s"):
        assert result.figures[name] > 0 and result.figures[f"rank_features_{name}"] > 0


@pytest.mark.opensearch
@pytest.mark.xdist_group("opensearch")
@pytest.mark.parametrize("home", [NEWER], indirect=True)
def test_above_it_what_is_lost_is_reported(make_seismic: Callable[..., SeismicEngine]) -> None:
    """Weights up to 9 are not cut at the server's ceiling of 3: the largest is the ceiling. Bytes: 0.4 % of it each."""
    rng = np.random.default_rng(0)
    weights = rng.random((1500, VOCABULARY), dtype=np.float32) * 9 * (rng.random((1500, VOCABULARY)) < 0.4)
    queries = rng.random((20, VOCABULARY), dtype=np.float32) * (rng.random((20, VOCABULARY)) < 0.1)
    engine = make_seismic(
        "many",
        {"approximate_threshold": 100, "n_postings": 1500, "quantization_ceiling_search": 1.0},
        {"top_n": 64, "heap_factor": 5.0},
    )
    given = Given((np.arange(1500), csr_matrix(weights)))
    engine.index([f"d{i:04}" for i in range(1500)], VOCABULARY, given)
    exactly = (queries @ weights.T).astype(np.float64)
    found, exact = engine.search(csr_matrix(queries), 10), engine.search(csr_matrix(queries), 10, exhaustive=True)
    shared = [len({*f.tolist()} & {*e.tolist()}) / 10 for (f, _), (e, _) in zip(found, exact, strict=True)]
    assert np.mean(shared) > 0.8
    for q, (positions, scores) in enumerate(found):
        assert scores == pytest.approx(exactly[q, positions], rel=0.05)


def test_versions_and_vocabularies() -> None:
    for version, vocabulary, message in [
        ("2.18.0", 30_522, "is OpenSearch 2.18.0; it is there from 3.3 on"),
        ("3.6.0", 50_265, "OpenSearch 3.6.0 takes ids modulo 32768, and the vocabulary has 50265"),
    ]:
        with pytest.raises(UserError, match=message):
            check_version(version, vocabulary)
    check_version("3.6.0", 30_522)
    check_version("3.9.0", 250_002)


def test_a_query_by_ids() -> None:
    layout = seismic({"n_postings": 9}, {"heap_factor": 1.5})
    names = layout.names(["a", None, "b"])
    query = layout.query("v", names, np.array([2, 0]), np.array([0.1, 2.0], dtype=np.float32), 7)
    asked = {"query_tokens": {"2": 0.1, "0": 2.0}, "method_parameters": {"k": 7, "heap_factor": 1.5}}
    assert query == {"neural_sparse": {"v": asked}}
