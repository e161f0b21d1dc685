"""Keys to engines: what a server and a private node are told, and what becomes of them; nothing is started."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from experiment.run import private_node
from experiment.run.engines import ENGINES, check_engine, engine_options, open_engines, tokens_of
from experiment.run.evaluate import run_evaluation
from experiment.run.locks import FolderInUse, locked
from experiment.run.models import Chosen
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys
from experiment.settings.settings import load_settings
from retrieval.exact_engine import ExactEngine
from retrieval.opensearch.index import index_name
from retrieval.opensearch.opensearch_engine import OpenSearchEngine
from sparse_model import RunError, UserError
from sparse_model.prompts import Prompts

TOKENS = ["a", "b", None]


class FakeServer:
    """Keeps what it was made with."""

    made: list["FakeServer"] = []

    def __init__(self, urls: Sequence[str], **options: Any) -> None:
        self.urls, self.options, self.closed, self.address = list(urls), options, False, ", ".join(urls)
        FakeServer.made.append(self)

    def first_contact(self) -> str:
        return "3.0.0"

    def close(self) -> None:
        self.closed = True


class FakeNode:
    """A node that only says that it was started, stopped and removed."""

    made: list["FakeNode"] = []

    def __init__(self, home: Path, folder: Path, heap: str) -> None:
        self.folder, self.heap, self.url, self.pid, self.is_new = folder, heap, "http://127.0.0.1:4711", 1, True
        self.log, self.done = folder / "node.log", [f"made for {home}"]
        FakeNode.made.append(self)

    def start(self) -> None:
        self.done.append("started")

    def stop(self) -> None:
        self.done.append("stopped")

    def remove(self) -> None:
        self.done.append("removed")

    def last_words(self) -> str:
        return "Out of memory."


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[FakeServer]:
    """The servers that are reached."""
    monkeypatch.setattr("retrieval.opensearch.client.Server", FakeServer)
    monkeypatch.setattr(FakeServer, "made", [])
    for name in ("OPENSEARCH_USERNAME", "OPENSEARCH_PASSWORD", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return FakeServer.made


@pytest.fixture
def nodes(servers: list[FakeServer], monkeypatch: pytest.MonkeyPatch) -> list[FakeNode]:
    """The private nodes that are started, on a machine that could."""
    monkeypatch.setattr(private_node, "Node", FakeNode)
    monkeypatch.setattr(private_node, "check_distribution", lambda home: None)
    monkeypatch.setattr(private_node, "version_of", lambda home: "2.18.0")
    monkeypatch.setattr(private_node, "usable_folder", lambda folder: folder)
    monkeypatch.setattr(FakeNode, "made", [])
    return FakeNode.made


def _open(folders: Sequence[Path] = (), evaluation: dict | None = None, **opensearch: Any) -> Any:
    evaluation = {"engine": "opensearch"} | (evaluation or {})
    return open_engines(EvaluationKeys(**evaluation), OpenSearchKeys(**opensearch), lambda: TOKENS, folders)


def test_there_is_an_engine_for_each_value_of_the_key() -> None:
    assert list(ENGINES) == list(get_args(EvaluationKeys.model_fields["engine"].annotation))


@pytest.mark.parametrize(("rounded", "stored"), [(False, 1.2345678), (True, 1.234375)])
def test_the_exact_engine(rounded: bool, stored: float) -> None:
    """With round_weights it holds what an OpenSearch index would."""
    keys = EvaluationKeys(engine="exact", round_weights=rounded)
    block = (np.arange(1), csr_matrix(np.array([[1.2345678]], dtype=np.float32)))
    vectors = SimpleNamespace(blocks=lambda: iter([block]), docs_per_s=lambda: 0.0)
    with open_engines(keys, OpenSearchKeys(), lambda: TOKENS, []) as make:
        engine = make("tiny", 1, {})
        engine.index(["d"], 1, vectors)
        [(_, scores)] = engine.search(csr_matrix(np.ones((1, 1), dtype=np.float32)), 1)
    assert isinstance(engine, ExactEngine) and scores[0] == np.float32(stored)
    assert check_engine(keys, OpenSearchKeys()) == "exact"


def test_a_server_by_its_address(servers: list[FakeServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSEARCH_USERNAME", "me")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    urls = ["https://one:9200", "https://two:9200"]
    with _open(opensearch_url=urls, opensearch_ca="ca.pem", opensearch_verify=False, opensearch_threads=32) as make:
        engine = make("tiny", 6, {"files": "x"})
        assert isinstance(engine, OpenSearchEngine) and engine.name == index_name("tiny", {"files": "x", "shards": 1})
        [server] = servers
        assert not server.closed
    options = {name: server.options[name] for name in ("credentials", "ca", "verify", "connections")}
    assert options == {"credentials": ("me", "secret"), "ca": "ca.pem", "verify": False, "connections": 32}
    assert server.urls == urls and server.closed and server.options["alive"]()


def test_a_server_is_left_after_an_error(servers: list[FakeServer]) -> None:
    with pytest.raises(RunError, match="broken"), _open():
        raise RunError("broken")
    assert servers[0].closed and servers[0].options["credentials"] is None


def test_the_plan_names_the_server(servers: list[FakeServer]) -> None:
    keys = OpenSearchKeys(opensearch_url=["http://here:9200"])
    assert check_engine(EvaluationKeys(engine="opensearch"), keys) == "OpenSearch 3.0.0 at http://here:9200"
    assert servers[0].closed


def test_a_private_node_lives_as_long_as_the_run(
    nodes: list[FakeNode], servers: list[FakeServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no server of the user's, whose password it does not get; its folder goes with it."""
    monkeypatch.setenv("OPENSEARCH_USERNAME", "me")
    with _open([tmp_path / "run"], opensearch_home="home", opensearch_heap="2g"):
        [node], [server] = nodes, servers
        assert node.done == ["made for home", "started"] and node.heap == "2g"
        assert node.folder == tmp_path / "run" / ".opensearch"
        assert server.urls == [node.url] and server.options["credentials"] is None and server.options["alive"]()
        node.pid = 0
        assert not server.options["alive"]()
    assert node.done[2:] == ["stopped", "removed"] and server.closed


@pytest.mark.parametrize("keys", [{"opensearch": {"keep_index": True}}, {"evaluation": {"skip_ingest": True}}])
def test_a_private_nodes_data_are_kept(nodes: list[FakeNode], tmp_path: Path, keys: dict) -> None:
    with _open([tmp_path], keys.get("evaluation"), opensearch_home="home", **keys.get("opensearch", {})):
        pass
    assert nodes[0].done[2:] == ["stopped"]


def test_two_runs_at_once_have_a_node_each(nodes: list[FakeNode], tmp_path: Path) -> None:
    with locked(tmp_path / "shared" / ".opensearch"):
        with _open([tmp_path / "shared", tmp_path / "own"], opensearch_home="home"):
            assert nodes[0].folder == tmp_path / "own" / ".opensearch"
        with pytest.raises(FolderInUse), _open([tmp_path / "shared", tmp_path / "shared"], opensearch_home="home"):
            pass
    assert len(nodes) == 1, "no node where another one runs"


@pytest.mark.parametrize(
    ("error", "is_new", "done"),
    [
        (UserError("wrong"), True, ["stopped", "removed"]),
        (UserError("wrong"), False, ["stopped"]),
        (RunError("broken"), True, ["stopped"]),
    ],
)
def test_a_failed_runs_node_keeps_what_was_loaded(
    nodes: list[FakeNode], tmp_path: Path, error: Exception, is_new: bool, done: list[str]
) -> None:
    """Only a mistake before anything was loaded takes the folder along."""
    with pytest.raises(type(error)), _open([tmp_path], opensearch_home="home"):
        nodes[0].is_new = is_new
        raise error
    assert nodes[0].done[2:] == done


def test_a_node_that_died_is_told(nodes: list[FakeNode], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no answer\nThe private OpenSearch node has ended. Out of memory."):
        with _open([tmp_path], opensearch_home="home"):
            nodes[0].pid = 0
            raise RunError("no answer")


def test_a_private_node_serves_one_machine(
    nodes: list[FakeNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "0")
    with pytest.raises(UserError, match="opensearch_home: a private node serves one machine"):
        with _open([tmp_path], opensearch_home="home"):
            pass
    assert nodes == []


def test_options_of_an_index() -> None:
    evaluation = EvaluationKeys(engine="opensearch", skip_ingest=True, use_two_phase=True)
    server = engine_options(evaluation, OpenSearchKeys(index_shards=3, index_replicas=2, opensearch_threads=7), 10)
    assert (server.shards, server.replicas, server.threads, server.skip_ingest, server.two_phase) == (
        3,
        2,
        7,
        True,
        True,
    )
    assert server.heap_remedy == "give its nodes more (-Xmx)"
    private = engine_options(evaluation, OpenSearchKeys(opensearch_home="home"), 8 * 2**20)
    assert private.heap_remedy == "give opensearch_heap=577m or more"  # 256 + 4 · 16 + 8 Mi · 32 MiB, and one


class Tokenizer:
    """Knows two ids."""

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
        return [f"t{i}" if i < 2 else None for i in ids]


def test_ids_without_a_token() -> None:
    encoder: Any = SimpleNamespace(tokenizer=Tokenizer(), vocabulary_size=4)
    assert tokens_of(encoder) == ["t0", "t1", None, None]


def test_indexes_of_version_0_1_keep_their_names() -> None:
    """What decides a vector is named as before: a complete index on a server is found again."""
    encoder: Any = SimpleNamespace(
        activation_type="l1_relu",
        max_seq_length=256,
        prune_ratio=None,
        encoding_dtype=torch.bfloat16,
        product_dtype=torch.float32,
        prompts=Prompts(),
    )
    options = {"tokenizer_name": "tok", "model_overrides": {"hidden_dropout_prob": 0.0}}
    facts = Chosen("model", options, "cpu", "bfloat16").vector_facts(encoder, "f" * 16)
    assert index_name("tiny", {**facts, "corpus": "c" * 16, "shards": 1}) == "tiny-7895cad166ac3c2c"


def test_without_a_server_an_evaluation_leaves_nothing(
    tiny_model: Path, beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a folder for results that there will be none of."""
    monkeypatch.setattr("retrieval.opensearch.client.FIRST_CONTACT_S", 0.1)
    words = [f"model_name_or_path={tiny_model}", f"beir_datasets={beir_folder}", f"output_dir={tmp_path / 'out'}"]
    with pytest.raises(UserError, match="opensearch_url: .*nothing answers"):
        run_evaluation(load_settings([*words, "engine=opensearch", "opensearch_url=http://127.0.0.1:1"]))
    assert list(tmp_path.iterdir()) == []
