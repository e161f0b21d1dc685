"""Rows of data sets on the hub: by name, configuration and revision, from a hub's cache on this disk."""

import json
from pathlib import Path

import datasets
import pytest

from experiment.run.inputs import training_data, training_inputs
from experiment.settings.settings import load_settings
from experiment.sweep.data import has_training_data
from retrieval.hub_data import HubName, hub_name
from retrieval.row_files import read_rows
from sparse_model import UserError
from tests.hub import add_repository, use_hub
from training.data import Examples
from training.files import training_files

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """me/rows at two commits; me/several with the configurations one and two, of which two was never fetched."""
    use_hub(tmp_path / "hub", monkeypatch)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for commit in (OLD, NEW):
        rows = [{"anchor": f"q {commit[0]}{i}", "positive": f"p{i}"} for i in range(2)]
        source = tmp_path / commit
        source.mkdir()
        (source / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        add_repository(tmp_path / "hub", "me/rows", source, commit, "datasets")
    several = tmp_path / "several"
    (several / "one").mkdir(parents=True)
    datasets.Dataset.from_list([{"query": "q", "pos": "p"}]).to_parquet(several / "one" / "train-0.parquet")
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/train-*"}]} for name in ("one", "two")
    ]
    (several / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    add_repository(tmp_path / "hub", "me/several", several, NEW, "datasets")
    return tmp_path / "hub"


def test_the_parts_of_a_name() -> None:
    assert hub_name("hub:me/a-b.c") == HubName("me/a-b.c", None, None)
    assert hub_name("hub:me/rows/one@v1.0") == HubName("me/rows", "one", "v1.0")
    assert hub_name("hub:me/rows@refs/pr/3") == HubName("me/rows", None, "refs/pr/3")
    for name in ("hub:rows", "hub:me/a/b/c", "hub:me/rows@", "hub:/rows", "hub:me/rows@a b"):
        with pytest.raises(UserError, match="give hub:owner/name"):
            hub_name(name)
    with pytest.raises(UserError, match="^train_file: hub:rows: give"):
        training_files("hub:rows", None)


def test_the_newest_or_a_revision(hub: Path) -> None:
    assert [read_rows(Path(name))["anchor"][0] for name in ("hub:me/rows", f"hub:me/rows@{OLD}")] == ["q b0", "q a0"]
    assert read_rows(Path("hub:me/several/one"))["query"][:] == ["q"]


def test_rows_are_trained_on(hub: Path) -> None:
    (path,) = training_files("hub:me/rows", None)
    named = {"query": ["anchor"], "pos": ["positive"]}
    found = Examples(path, "posnegs", documents_per_query=1, named=named, without_negatives=True)
    assert (found[1].query, found[1].documents) == ("q b1", ["p1"])
    assert has_training_data("hub:me/rows") and not has_training_data("me/rows")
    with pytest.raises(UserError, match=r"^hub:me/rows: .*columns: \{query: anchor, pos: positive\}"):
        Examples(path, "posnegs", documents_per_query=1)


def test_rows_count_by_their_content(hub: Path) -> None:
    """The newest are those of its commit; what was never fetched has no hash, and is compared by its name."""
    load = lambda name: load_settings([f"train_file={name}", "data_type=posnegs", "model_name_or_path=m/x"])  # noqa: E731
    names = ("hub:me/rows", f"hub:me/rows@{NEW}", f"hub:me/rows@{OLD}", "hub:me/none")
    newest, new, old, none = (training_inputs(load(name))["data hash"] for name in names)
    assert newest == new != old and none is None and old is not None
    assert training_data(load("hub:me/none").data) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:me/none", "hf download --repo-type dataset me/none$"),
        (f"hub:me/rows@{'c' * 40}", f"hf download --repo-type dataset me/rows --revision {'c' * 40}$"),
        ("hub:me/several", "train split cannot be read .*hub:owner/name/config"),
        ("hub:me/several/two", "train split cannot be read"),
    ],
)
def test_offline_says_what_to_fetch(hub: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s)^{name}: .*{message}"):
        read_rows(Path(name))
