"""evaluate_beir.py with engine=opensearch: a private node, a server by its address, two processes, and what stays."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.opensearch.node import Node
from tests.processes import TORCHRUN, call, run

pytestmark = [pytest.mark.opensearch, pytest.mark.xdist_group("opensearch")]
SAME = ("ndcg@10", "recall@100", "mrr@10", "map", "flops", "q_length", "d_length", "queries", "documents")


@pytest.fixture
def words(tiny_model: Path, beir_folder: Path, tmp_path: Path) -> list[str]:
    words = [f"model_name_or_path={tiny_model}", f"beir_datasets={beir_folder}", f"output_dir={tmp_path / 'run'}"]
    return ["evaluate_beir.py", *words, "evaluation_name=x", "idf_path=corpus"]


def figures(tmp_path: Path, name: str = "x") -> dict:
    return json.loads((tmp_path / "run" / "evaluation" / name / "tiny.json").read_text())


def exact(words: list[str], tmp_path: Path) -> dict:
    done = call(*words, "evaluation_name=exact", "round_weights=true")
    assert done.returncode == 0, done.stderr
    return figures(tmp_path, "exact")


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory for the commands alone, that a node's user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="commands-"))
    folder.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def left_behind(temporary: Path, tmp_path: Path) -> list[Path]:
    """Folders of private nodes."""
    return [*temporary.glob("opensearch-*"), *tmp_path.rglob(".opensearch")]


@pytest.mark.distributed
def test_a_private_node_for_two_processes(home: Path, words: list[str], tmp_path: Path, temporary: Path) -> None:
    private = [f"opensearch_home={home}", "engine=opensearch", "opensearch_heap=512m"]
    plan = call(*words, *private, "dry_run=true")
    assert plan.returncode == 0 and "a private OpenSearch" in plan.stdout, plan.stderr
    done = run(*words, *private, launcher=TORCHRUN)
    assert done.returncode == 0, done.stderr
    expected, found = exact(words, tmp_path), figures(tmp_path)
    assert {key: found[key] for key in SAME} == {key: expected[key] for key in SAME}
    assert left_behind(temporary, tmp_path) == []
    again = call(*words, *private)
    assert again.returncode == 0 and "up to date" in again.stderr and "starting" not in again.stderr


def test_a_server_by_its_address(node: Node, words: list[str], tmp_path: Path) -> None:
    """Index only, then a search of it, then a run that removes it; a password in the address stays unseen."""
    address = node.url.replace("//", "//me:pa55word@")
    server = ["engine=opensearch", f"opensearch_url={address}"]
    done = call(*words, *server, "do_search=false")
    assert done.returncode == 0 and not (tmp_path / "run" / "evaluation" / "x" / "tiny.json").exists(), done.stderr
    searched = call(*words, *server, "skip_ingest=true", "keep_index=false")
    assert searched.returncode == 0, searched.stderr
    expected, found = exact(words, tmp_path), figures(tmp_path)
    assert {key: found[key] for key in SAME} == {key: expected[key] for key in SAME} and found["index_reused"]
    written = [path.read_text(errors="replace") for path in (tmp_path / "run").rglob("*") if path.is_file()]
    for text in (*written, done.stdout, done.stderr, searched.stdout, searched.stderr):
        assert "pa55word" not in text
    gone = call(*words, *server, "skip_ingest=true", "overwrite=true")
    assert gone.returncode == 2 and "holds no complete index" in gone.stderr and "Traceback" not in gone.stderr


def test_what_cannot_be_used_ends_with_exit_code_2(words: list[str], tmp_path: Path) -> None:
    """No node is needed for these."""
    for message, *given in (
        ("holds no bin/opensearch", f"opensearch_home={tmp_path}"),
        ("http://127.0.0.1:9: nothing answers", "opensearch_url=http://me:pa55word@127.0.0.1:9", "dry_run=true"),
    ):
        done = call(*words, "engine=opensearch", *given)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and "pa55word" not in done.stderr
