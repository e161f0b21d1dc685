"""Data sets of the hub and of ir_datasets become BEIR folders: from a hub's cache here, and a made ir_datasets."""

import json
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest

from experiment.run.results import data_hash
from retrieval.beir_data import load_beir, why_missing
from retrieval.dataset_names import dataset_name, folder_name, parse_name, scored_split
from sparse_model import UserError
from tests.hub import add_repository, use_hub

OLD, NEW = "a" * 40, "b" * 40


def _repository(folder: Path, judged: str, more: str = "") -> Path:
    """Laid out as MTEB's sets: configurations, the judgements in two splits."""
    corpus = [{"_id": "d1", "title": "Cats", "text": f"purr{more}"}, {"_id": "d2", "title": "", "text": '"dogs" é'}]
    queries = [{"_id": "q1", "text": "cat"}, {"_id": "q2", "text": "dog"}]
    tables = {
        ("corpus", "corpus"): corpus,
        ("queries", "queries"): queries,
        (judged, "test"): [{"query-id": "q1", "corpus-id": "d1", "score": 2.0}],
        (judged, "dev"): [{"query-id": "q2", "corpus-id": "d2", "score": 1.0}],
    }
    configs: dict[str, list] = {}
    for (config, split), rows in tables.items():
        (folder / config).mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows).to_parquet(folder / config / f"{split}-0.parquet")
        configs.setdefault(config, []).append({"split": split, "path": f"{config}/{split}-*"})
    listed = [{"config_name": name, "data_files": files} for name, files in configs.items()]
    (folder / "README.md").write_text(f"---\nconfigs: {json.dumps(listed)}\n---\n")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_hub(tmp_path / "hub", monkeypatch)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for commit in (OLD, NEW):
        made = _repository(tmp_path / commit, "default", f" {commit[0]}")
        add_repository(tmp_path / "hub", "me/set", made, commit, "datasets")
    add_repository(tmp_path / "hub", "me/graded", _repository(tmp_path / "graded", "qrels"), NEW, "datasets")
    add_repository(tmp_path / "hub", "me/rows", _repository(tmp_path / "rows", "other"), NEW, "datasets")
    return tmp_path / "data"


def test_names() -> None:
    assert parse_name("hub:me/set") == ("hub:me/set", None) and parse_name("hub:me/set@v1:dev") == (
        "hub:me/set@v1",
        "dev",
    )
    assert parse_name("irds:vaswani") == ("irds:vaswani", None) and dataset_name("irds:vaswani") == "irds-vaswani"
    assert dataset_name("hub:me/set@refs/pr/3:dev") == "hub-me-set@refs-pr-3" and folder_name("scifact") == "scifact"
    assert scored_split("irds:beir/scifact/train", "dev") == "test" and scored_split("hub:me/set", "dev") == "dev"
    assert why_missing("hub:set", ".") and why_missing("hub:me/set/x", ".") and why_missing("irds:", ".")
    assert why_missing("hub:me/set", ".") is None is why_missing("irds:vaswani", ".")


@pytest.mark.parametrize("name", ["hub:me/set", "hub:me/graded"])
def test_a_set_of_the_hub(hub: Path, name: str) -> None:
    data = load_beir(name, str(hub))
    assert data.name == dataset_name(name) and data.doc_ids == ["d1", "d2"] and data.texts[1] == '"dogs" é'
    assert (data.split, data.qrels) == ("test", {"q1": {"d1": 2}})
    assert load_beir(f"{name}:dev", str(hub)).qrels == {"q2": {"d2": 1}}
    assert data_hash(name, str(hub), None) == data.fingerprint


def test_the_newest_or_a_revision(hub: Path) -> None:
    assert load_beir("hub:me/set", str(hub)).texts[0] == "Cats purr b"
    assert load_beir(f"hub:me/set@{OLD}", str(hub)).texts[0] == "Cats purr a"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:me/none", "hf download --repo-type dataset me/none"),
        (f"hub:me/set@{'c' * 40}", "--revision c"),
        ("hub:me/rows", "no qrels or default in it"),
        ("irds:beir/scifact/test", "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set"),
    ],
)
def test_offline_says_what_to_do(hub: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_beir(name, str(hub))
    assert str(caught.value).startswith(f"{name}: ") and not any(hub.glob("*"))


Query = namedtuple("Query", "query_id text")
Judged = namedtuple("Judged", "query_id doc_id relevance iteration")


class Titled(namedtuple("Titled", "doc_id title text")):
    """As beir's documents."""


class Parts(namedtuple("Parts", "doc_id headline body")):
    """As documents of fields of their own, whose text ir_datasets puts together."""

    def default_text(self) -> str:
        return f"{self.headline} {self.body}"


@pytest.fixture
def irds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with what is called of ir_datasets."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    Query.default_text = lambda self: self.text  # type: ignore[attr-defined]
    yes = lambda: True  # noqa: E731
    made = SimpleNamespace(
        has_docs=yes,
        has_queries=yes,
        has_qrels=yes,
        docs_count=lambda: 2,
        docs_iter=lambda: iter([Titled("d1", "Cats", "purr"), Parts("d2", "Dogs", "bark")]),
        queries_iter=lambda: iter([Query("q1", "cat")]),
        qrels_iter=lambda: iter([Judged("q1", "d1", 2, "0"), Judged("q1", "d2", 0, "0")]),
    )
    bare = SimpleNamespace(**{**vars(made), "has_qrels": lambda: False})
    known = {"me/set/test": made, "me/set": bare}
    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=known.__getitem__))  # type: ignore[arg-type]


def test_a_set_of_ir_datasets(irds: None, tmp_path: Path) -> None:
    data = load_beir("irds:me/set/test", str(tmp_path), "dev")
    assert (data.name, data.split) == ("irds-me-set-test", "test")
    assert data.texts == ["Cats purr", "Dogs bark"] and data.queries == ["cat"]
    assert data.qrels == {"q1": {"d1": 2, "d2": 0}}


@pytest.mark.parametrize(("name", "message"), [("irds:none", "knows no such"), ("irds:me/set", "has not all of")])
def test_what_ir_datasets_has_not(irds: None, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: .*{message}"):
        load_beir(name, str(tmp_path))


def test_sources_that_do_not_answer(irds: None, tmp_path: Path) -> None:
    def unreachable() -> None:
        raise RuntimeError("All download sources failed", [])

    sys.modules["ir_datasets"].load("me/set/test").docs_iter = unreachable
    with pytest.raises(UserError, match=r"could not be fetched from irds:me/set/test \(All download sources failed\)"):
        load_beir("irds:me/set/test", str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_ir_datasets_is_optional(irds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(UserError, match="pip install 'ir_datasets>=0.5.6'"):
        load_beir("irds:me/set/test", str(tmp_path))
