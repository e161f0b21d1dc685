"""Others' rows of ids and scores, in the columns of the published sets and near them."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from mining.card import About
from mining.dataset import write_rows
from mining.published_rows import Published
from mining.rows import Recipe
from retrieval.beir_data import BeirData, load_beir
from sparse_model import UserError
from tests.conftest import SENTENCES, write_jsonl

ROWS = [
    {"query": "q1", "docs": ["d4", "d1", "d0"], "scores": [0.5, 0.75, 0.25]},
    {"query": "q0", "docs": ["d3", "d5"], "scores": [1.0, 0.0]},
]


@pytest.fixture
def data(beir_folder: Path) -> BeirData:
    return load_beir(str(beir_folder), "")


def _stored(folder: Path, kind: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"rows.{kind}"
    table = datasets.Dataset.from_list(rows)
    if kind == "jsonl":
        write_jsonl(path, rows)
    elif kind == "parquet":
        table.to_parquet(str(path))
    elif kind == "disk":
        table.save_to_disk(str(path))
    else:  # a clone of a hub repository
        (path / "data").mkdir(parents=True)
        table.select([0]).to_parquet(str(path / "data" / "train-00000-of-00002.parquet"))
        table.select([1]).to_parquet(str(path / "data" / "train-00001-of-00002.parquet"))
    return str(path)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "disk", "clone"])
def test_every_format_gives_the_same_candidates(tmp_path: Path, data: BeirData, kind: str) -> None:
    """Judged are d1 for q1 and d0 for q0."""
    published = Published(_stored(tmp_path, kind, ROWS), data)
    first, second = published.read(0, 2)
    assert published.query_ids == ["q1", "q0"]
    assert published.queries == ["insulin binds protein", "weather in new york"]
    assert (first.query, first.documents.tolist(), first.labels.tolist()) == (0, [4, 1, 0], [False, True, False])
    assert (second.query, second.documents.tolist(), second.labels.any()) == (1, [3, 5], False)
    assert first.scores.dtype == np.float32 and second.scores.tolist() == [[1.0, 0.0]]
    assert [teacher.name for teacher in published.teachers] == ["scores"]
    assert [pairs.query for pairs in published.read(1, 2)] == [1]


def test_rows_on_the_hub_at_a_revision(data: BeirData, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stored(name: str, revision: str | None) -> datasets.Dataset:
        asked.append((name, revision))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr("mining.published_rows.rows_on_hub", stored)
    assert [len(Published(name, data).queries) for name in ("some-org/rows", "some-org/rows@v1")] == [2, 2]
    assert asked == [("some-org/rows", None), ("some-org/rows", "v1")]


def test_rows_of_texts_come_out(tmp_path: Path, data: BeirData) -> None:
    published = Published(_stored(tmp_path, "jsonl", ROWS), data)
    write_rows(
        published.read,
        published,
        Recipe(published.teachers, normalization="none"),
        About("tiny", "test", "rows.jsonl", 3),
        tmp_path / "out",
        tmp_path / "out" / "stages",
        published.fingerprint(),
    )
    row, other = datasets.load_from_disk(str(tmp_path / "out"))
    assert (row["query"], row["q_id"]) == ("insulin binds protein", "q1")
    assert row["docs"] == [SENTENCES[1], SENTENCES[4], SENTENCES[0]] and row["scores"] == [0.75, 0.5, 0.25]
    assert (row["d_ids"], row["first_rank"], other["first_rank"]) == (["d1", "d4", "d0"], 0, -1)


@pytest.mark.parametrize(
    ("row", "teachers"),
    [
        ({"query_id": 7, "doc_ids": [0, 1], "gte": [1.0, 2.0], "bge": [0.5, 3.0]}, ["gte", "bge"]),
        ({"qid": 7, "docs": [0, 1], "scores": {"gte": [1.0, 2.0], "bge": [0.5, 3.0]}}, ["scores.gte", "scores.bge"]),
    ],
)
def test_other_columns_and_integer_ids(tmp_path: Path, data: BeirData, row: dict, teachers: list[str]) -> None:
    texts = {"doc_ids": ["0", "1"], "texts": ["a", "b"], "query_ids": ["7"], "queries": ["q"], "qrels": {"7": {"1": 1}}}
    published = Published(_stored(tmp_path, "parquet", [row]), BeirData(**vars(data) | texts))
    (pairs,) = published.read(0, 1)
    assert sorted(teacher.name for teacher in published.teachers) == sorted(teachers)
    scores = dict(zip((teacher.name for teacher in published.teachers), pairs.scores.tolist(), strict=True))
    assert scores == {teachers[0]: [1.0, 2.0], teachers[1]: [0.5, 3.0]}
    assert (pairs.documents.tolist(), pairs.labels.tolist()) == ([0, 1], [False, True])


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, data: BeirData) -> None:
    rows = [
        {"query": "q9", "docs": ["d0", "x1"], "scores": [1.0, 2.0]},
        {"query": "q1", "docs": ["x2", "x1"], "scores": [1.0]},
        {"query": "q1", "docs": ["d1", "d2"], "scores": [1.0, None]},
    ]
    source = _stored(tmp_path, "jsonl", rows)
    with pytest.raises(UserError) as caught:
        Published(source, data)
    message = str(caught.value)
    for words in (
        source,
        "1 queries are not among the judged ones of tiny, split test ('q9')",
        "2 documents are not in the corpus of tiny ('x1', 'x2')",
        "row 1: not as many scores as docs",
        "row 2: a score is not a finite number",
    ):
        assert words in message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "q1", "texts": ["d0"], "scores": [1.0]}], "no column docs or doc_ids"),
        ([{"query": "q1", "docs": ["d0"]}], "no column of scores"),
    ],
)
def test_missing_columns(tmp_path: Path, data: BeirData, rows: list[dict], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Published(_stored(tmp_path, "jsonl", rows), data)


def test_nothing_there(tmp_path: Path, data: BeirData, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no data set"):
        Published(str(tmp_path / "empty"), data)
    monkeypatch.setattr(datasets, "load_dataset", _unreachable)
    with pytest.raises(UserError, match="somebody/rows: cannot be read .*needs the network"):
        Published("somebody/rows", data)


def _unreachable(*_: Any, **__: Any) -> None:
    raise ConnectionError("offline")
