"""A real node, one for all tests of a session, from the distribution that OPENSEARCH_HOME names.

What holds on an OpenSearch 3 too is marked `HOMES`: OPENSEARCH3_HOME names one, OPENSEARCH3_JAVA_HOME its Java.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from retrieval.beir_data import BeirData, load_beir
from retrieval.opensearch.client import Server
from retrieval.opensearch.host import usable_folder
from retrieval.opensearch.node import Node
from retrieval.opensearch.opensearch_engine import OpenSearchEngine, Options
from retrieval.score_dataset import DatasetScores, score_dataset
from tests.retrieval.bag_of_words import BagOfWords, random_beir
from tests.retrieval.opensearch.helpers import ALL, NEWER, OLDER, TOKENS, MakeEngine, MakeNode
from tests.retrieval.opensearch.proxy import Proxy, proxied


@pytest.fixture
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unpacked distribution, and its Java in the environment."""
    variable = getattr(request, "param", OLDER)
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} (an unpacked OpenSearch with mapper-extras) is not set")
    if variable == NEWER and (java := os.environ.get("OPENSEARCH3_JAVA_HOME")):
        monkeypatch.setenv("OPENSEARCH_JAVA_HOME", java)
    return Path(named)


def _make_node(home: Path, tmp_path_factory: pytest.TempPathFactory, ended: ExitStack, **options: Any) -> Node:
    """A node (not started) that is stopped and removed when `ended` is."""
    node = Node(home, usable_folder(tmp_path_factory.mktemp("node")), **{"heap": "512m", **options})
    ended.callback(node.remove)
    ended.callback(node.stop)
    return node


@pytest.fixture
def make_node(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeNode]:
    """Makes nodes (not started), which are stopped and removed at the end."""
    with ExitStack() as ended:
        yield partial(_make_node, home, tmp_path_factory, ended)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Node]]:
    """The node of a distribution, which runs from when a test first asks for it to the end of the session."""
    with ExitStack() as ended:

        @cache
        def of(home: Path) -> Node:
            node = _make_node(home, tmp_path_factory, ended)
            node.start()
            return node

        yield of


@pytest.fixture
def node(home: Path, running: Callable[[Path], Node]) -> Node:
    """A running node for tests that leave it as it is."""
    return running(home)


@pytest.fixture
def server(node: Node) -> Iterator[Server]:
    """A client of the node."""
    server = Server([node.url], patience_s=20)
    yield server
    server.close()


@pytest.fixture
def make_engine(server: Server) -> Iterator[MakeEngine]:
    """Makes engines over a bag of words; their indexes are removed at the end."""
    names = set()

    def make(
        contents: str = "x", on: Server | None = None, tokens: Sequence[str | None] = TOKENS, **options: Any
    ) -> OpenSearchEngine:
        engine = OpenSearchEngine(on or server, tokens, "random", {"contents": contents}, Options(**options))
        names.add(engine.name)
        return engine

    yield make
    for name in names:
        server.call("DELETE", f"/{name}", missing={})


@pytest.fixture
def data(tmp_path: Path) -> BeirData:
    """2500 documents, three blocks."""
    return load_beir(str(random_beir(tmp_path / "random", 2500)), "")


@pytest.fixture
def exact(data: BeirData) -> DatasetScores:
    """What the exact engine makes of `data`."""
    return score_dataset(BagOfWords(), data, ALL)


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    """A way to the node on which requests can go astray."""
    with proxied(node.url) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _quiet_client() -> None:
    """As the commands do: the client's logger would show every request that is repeated."""
    logging.getLogger("opensearch").setLevel(logging.ERROR)
