"""The data set on disk: any number of processes, interruptions, what lies there already."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import torch.distributed as dist

import mining.dataset
from mining.card import About
from mining.dataset import write_rows
from mining.rows import Recipe
from mining.scored_pairs import Teacher
from sparse_model import UserError
from tests.mining.synthetic import make_texts, reader
from tests.processes import fork
from training.data import Examples

QUERIES, DOCUMENTS, CANDIDATES = 130, 60, 12
RECIPE = Recipe((Teacher("a", 2.0, "sparse x/a"), Teacher("b")), batch_size=7)
ABOUT = About("made-up", "train", "x/miner", CANDIDATES, {"corpus": "c0ffee"}, positives_added=4)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 21 queries: 7 of them."""
    monkeypatch.setattr(mining.dataset, "QUERIES_PER_PART", 20)


def write(folder: Path, read: Any = None, **more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"recipe": RECIPE, "about": ABOUT, "key": "k"} | more
    return write_rows(
        read or reader(DOCUMENTS, CANDIDATES),
        make_texts(QUERIES, DOCUMENTS),
        output_dir=folder,
        work_dir=folder / "stages",
        **arguments,
    )


def hashes(folder: Path, named: Path | None = None) -> dict[str, str]:
    """Of every file in the folder itself; the card names the folder that it was written to."""
    return {
        path.name: hashlib.sha256(path.read_bytes().replace(str(named or folder).encode(), b"")).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def test_rows_are_loaded_and_trained_on(tmp_path: Path) -> None:
    summary = write(tmp_path / "out")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert isinstance(rows, datasets.Dataset) and len(rows) == QUERIES == summary["counts"]["queries"]
    assert rows["q_id"] == [f"q{i}" for i in range(QUERIES)]
    examples = Examples(tmp_path / "out", "kd", documents_per_query=3)
    with_positive = [row for row in rows if row["first_rank"] >= 0]
    assert len(examples.row_numbers) == len(with_positive) < QUERIES
    assert examples[0].documents == rows[0]["docs"][:: CANDIDATES // 3]
    assert all(row["scores"] == sorted(row["scores"], reverse=True) for row in rows)
    assert all(row["labels"].index(True) == row["first_rank"] for row in with_positive)


def test_batches_do_not_end_where_parts_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, scopes and card in parts of 21, of 7 and of all queries."""
    write(tmp_path / "a")
    for name, size in (("b", 1), ("c", 1000)):
        monkeypatch.setattr(mining.dataset, "QUERIES_PER_PART", size)
        write(tmp_path / name)
        assert hashes(tmp_path / name) == hashes(tmp_path / "a")


def _in_two_processes(rank: int, out: str) -> None:
    torch.set_num_threads(1)
    mining.dataset.QUERIES_PER_PART = 20
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=2)
    summary = write(Path(out, "two"))
    Path(out, f"{rank}.json").write_text(json.dumps(summary))
    dist.barrier()  # see tests/retrieval/test_evaluate.py


@pytest.mark.distributed
def test_two_processes_equal_one(tmp_path: Path) -> None:
    fork(_in_two_processes, str(tmp_path))
    summary = write(tmp_path / "one")
    assert hashes(tmp_path / "two") == hashes(tmp_path / "one")
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == json.loads(json.dumps(summary))


class _Stopped(Exception):
    pass


def _stops_at(query: int):
    def read(start: int, stop: int):
        if start <= query < stop:
            raise _Stopped
        return reader(DOCUMENTS, CANDIDATES)(start, stop)

    return read


def _counting(asked: list[range]):
    def read(start: int, stop: int):
        asked.append(range(start, stop))
        return reader(DOCUMENTS, CANDIDATES)(start, stop)

    return read


def test_a_stopped_run_computes_only_what_is_missing(tmp_path: Path) -> None:
    """Stopped in part 4 (queries 84 to 104); then part 1 is lost, part 2 cut short and part 0 from other inputs."""
    write(tmp_path / "whole")
    with pytest.raises(_Stopped):
        write(tmp_path / "out", _stops_at(100))
    parts = tmp_path / "out" / "stages" / "rows"
    assert sorted(p.name for p in parts.glob("*.arrow")) == [f"part-{i:05d}.arrow" for i in range(4)]
    (parts / "part-00001.arrow").unlink()
    cut = parts / "part-00002.arrow"
    cut.write_bytes(cut.read_bytes()[:-100])
    record = parts / "part-00000.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"key": "other"}))
    asked: list[range] = []
    write(tmp_path / "out", _counting(asked))
    assert [part.start // 21 for part in asked[:-1]] == [0, 1, 2, 4, 5, 6]
    assert asked[-1] == range(QUERIES)  # for the number of documents
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert not parts.exists()


def test_a_finished_data_set_stays_as_it_is(tmp_path: Path) -> None:
    summary = write(tmp_path)
    (tmp_path / "idf.json").write_text("{}")
    before = hashes(tmp_path)
    asked: list[range] = []
    assert write(tmp_path, _counting(asked)) == json.loads(json.dumps(summary))
    assert asked == [] and hashes(tmp_path) == before


@pytest.mark.parametrize("other", [{"key": "k2"}, {"recipe": replace(RECIPE, scope="query")}])
def test_a_data_set_of_other_inputs_is_moved_aside(tmp_path: Path, other: dict[str, Any]) -> None:
    folder = tmp_path / "out"
    write(folder)
    (folder / "idf.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    (folder / "stages" / "scores.bin").write_text("work")
    before = hashes(folder)
    write(folder, **other)
    (aside,) = tmp_path.glob("out.2*")
    assert hashes(aside, folder) == {name: value for name, value in before.items() if name != "notes.txt"}
    assert not (folder / "idf.json").exists() and len(datasets.load_from_disk(str(aside))) == QUERIES
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "stages" / "scores.bin").read_text() == "work"
    assert len(datasets.load_from_disk(str(folder))) == QUERIES


def test_a_run_killed_while_it_moved_files_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    whole = hashes(folder) if write(folder) else {}
    monkeypatch.setattr(Path, "replace", _fails_at(Path.replace, "data-00000-of-00001.arrow"))
    with pytest.raises(_Stopped):
        write(folder, key="k2")
    assert not (folder / "state.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(mining.dataset, "QUERIES_PER_PART", 20)
    write(folder, key="k2")
    (aside,) = tmp_path.glob("out.2*")
    assert hashes(aside, folder) == whole and len(datasets.load_from_disk(str(folder))) == QUERIES


def _fails_at(replace_file: Any, name: str) -> Any:
    def replacing(path: Path, target: Path) -> Any:
        if Path(target).name == name:
            raise _Stopped
        return replace_file(path, target)

    return replacing


def test_shards_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mining.dataset, "SHARD_BYTES", 20_000)
    write(tmp_path)
    shards = sorted(tmp_path.glob("*.arrow"))
    assert len(shards) > 2 and all(path.stat().st_size < 30_000 for path in shards)
    assert datasets.load_from_disk(str(tmp_path))["q_id"] == [f"q{i}" for i in range(QUERIES)]


def test_too_small_a_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="free where it lies, writing the rows needs"):
        write(tmp_path / "out", about=replace(ABOUT, num_candidates=10**12))
    assert not list(tmp_path.rglob("*.arrow"))


def test_card_and_summary(tmp_path: Path) -> None:
    summary = write(tmp_path)
    rows = datasets.load_from_disk(str(tmp_path))
    counts = summary["counts"]
    assert counts["pairs"] == sum(len(row["docs"]) for row in rows)
    assert counts["documents"] == len({name for row in rows for name in row["d_ids"]})
    assert counts["short_queries"] == sum(len(row["docs"]) < CANDIDATES for row in rows)
    assert counts["scopes"] == 19 and counts["positives_added"] == 4  # 130 queries in batches of 7
    in_front = sum(row["first_rank"] == 0 for row in rows)
    assert summary["ensemble"]["top_is_positive"] == pytest.approx(in_front / QUERIES)
    by_a = [max(range(len(row["docs"])), key=row["teacher_scores"]["a"].__getitem__) for row in rows if row["docs"]]
    labels = [row["labels"] for row in rows if row["docs"]]
    tied = sum(label[best] for best, label in zip(by_a, labels, strict=True)) / QUERIES
    assert summary["teachers"][0]["top_is_positive"] == pytest.approx(tied, abs=0.03)  # ties: the miner's order
    card = (tmp_path / "README.md").read_text()
    for words in (f"train_file={tmp_path}", "x/miner", "c0ffee", "sparse x/a", "batch of 7", "(scores.png)"):
        assert words in card
    for name in ("scores.png", "first_ranks.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_queries_without_any_candidate(tmp_path: Path) -> None:
    """Pictures and card of nothing."""
    summary = write(tmp_path, reader(DOCUMENTS, 0))
    assert summary["counts"]["pairs"] == 0 and summary["ensemble"]["mean_first_rank"] is None
    assert len(datasets.load_from_disk(str(tmp_path))) == QUERIES
