"""Rows of other projects' names and shapes, read as they are; the line that the error message proposes."""

import json
import re
from pathlib import Path

import datasets
import pytest
import yaml

from experiment.settings.settings import load_settings
from sparse_model import UserError
from tests.conftest import write_jsonl
from training.data import Examples

TRIPLETS = [
    {"anchor": f"q{i}", "positive": f"p{i}", "negative_1": f"a{i}", "negative_2": f"b{i}" if i else None}
    for i in range(3)
]
FLAG = [
    {"query": "q", "pos": ["p", "o"], "neg": ["a", "b"], "pos_scores": [9, 8], "neg_scores": [1.5, 1], "prompt": "x"},
    {"query": "r", "pos": ["s"], "neg": ["c", "d"], "pos_scores": [7], "neg_scores": [2, 1], "prompt": "x"},
]


def _examples(path: Path, data_type: str, group: int = 1, **columns: list[str]) -> list[tuple]:
    found = Examples(path, data_type, documents_per_query=group, named=columns)
    return [
        (found[i].query, found[i].documents, *([found[i].scores] if found[i].scores else [])) for i in range(len(found))
    ]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("kind", ["disk", "parquet", "jsonl"])
def test_texts_become_a_list(tmp_path: Path, kind: str) -> None:
    """G = 1: an example of each negative; the one that is null is left out. The user's folder stays as it is."""
    path = tmp_path / f"rows.{kind}"
    if kind == "disk":
        datasets.Dataset.from_list(TRIPLETS).save_to_disk(str(path))
    elif kind == "parquet":
        datasets.Dataset.from_list(TRIPLETS).to_parquet(str(path))
    else:
        write_jsonl(path, TRIPLETS)
    before = sorted(tmp_path.glob("rows.*/*"))
    named = {"query": ["anchor"], "pos": ["positive"], "negs": ["negative_1", "negative_2"]}
    expected = [("q0", ["p0", "a0"]), *((f"q{i}", [f"p{i}", f"{n}{i}"]) for i in (1, 2) for n in "ab")]
    assert _examples(path, "posnegs", **named) == expected == _examples(path, "posnegs", **named)
    assert sorted(tmp_path.glob("rows.*/*")) == before


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path, named = tmp_path / "rows.jsonl", {"query": ["anchor"], "pos": ["positive"], "negs": ["negative_1"]}
    found = [_examples(write_jsonl(path, rows), "posnegs", **named)[0][0] for rows in (TRIPLETS, TRIPLETS[1:])]
    assert found == ["q0", "q1"]
    assert _examples(path, "posnegs", **(named | {"negs": ["negative_2"]}))[0] == ("q1", ["p1", "b1"])


def test_each_positive_is_a_row(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", FLAG)
    expected = [("q", ["p", "a", "b"]), ("q", ["o", "a", "b"]), ("r", ["s", "c", "d"])]
    assert _examples(path, "posnegs", 2, negs=["neg"]) == expected


def test_lists_are_joined_with_their_scores(tmp_path: Path) -> None:
    """4 documents and 3, G = 2: two examples of the first row (0 and 2, 1 and 3), one of the second (0 and 1)."""
    path = write_jsonl(tmp_path / "rows.jsonl", FLAG)
    named = {"docs": ["pos", "neg"], "scores": ["pos_scores", "neg_scores"]}
    first = [("q", ["p", "a"], [9.0, 1.5]), ("q", ["o", "b"], [8.0, 1.0])]
    assert _examples(path, "kd", 2, **named) == [*first, ("r", ["s", "c"], [7.0, 2.0])]


@pytest.mark.parametrize(
    ("row", "data_type", "line"),
    [
        (TRIPLETS[1], "posnegs", "columns: {query: anchor, pos: positive, negs: [negative_1, negative_2]}"),
        ({"anchor": "q", "positive": "p"}, "posnegs", "columns: {query: anchor, pos: positive}"),
        (
            {"query": "q", "positive": "p", "negative": "n"},
            "posnegs",
            "columns: {query: query, pos: positive, negs: neg",
        ),
        ({"sentence1": "q", "sentence2": "p"}, "posnegs", "columns: {query: sentence1, pos: sentence2}"),
        (FLAG[0], "posnegs", "columns: {query: query, pos: pos, negs: neg}"),
        (FLAG[0], "kd", "columns: {query: query, docs: [pos, neg], scores: [pos_scores, neg_scores]}"),
        ({"query": "q", "pos": ["p"], "negs": ["n"]}, "posnegs", "columns: {query: query, pos: pos, negs: negs}"),
        ({"query": "q", "pos": "p", "negs": "n"}, "posnegs", "columns: {query: query, pos: pos, negs: negs}"),
        (
            TRIPLETS[1],
            "kd",
            "data_type: posnegs and columns: {query: anchor, pos: positive, negs: [negative_1, negative_2]}",
        ),
    ],
)
def test_the_line_to_paste_is_proposed_and_works(tmp_path: Path, row: dict, data_type: str, line: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        Examples(path, data_type, documents_per_query=1)
    pasted = yaml.safe_load(str(caught.value)[str(caught.value).index("columns: {") :])["columns"]
    words = [f"train_file={path}", "data_type=kd" if "docs" in pasted else "data_type=posnegs", "model_name_or_path=m"]
    keys = load_settings([*words, f"columns={json.dumps(pasted)}"]).data
    found = Examples(path, str(keys.data_type), documents_per_query=1, named=keys.columns, without_negatives=True)
    assert found[0].query == "q" or found[0].query == "q1"


def test_nothing_is_proposed_for_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Examples(write_jsonl(tmp_path / "a.jsonl", [{"x": "q", "y": "p"}]), "posnegs", documents_per_query=1)
    assert "columns: {" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "named", "message"),
    [
        (
            {"q": "a", "p": "b"},
            {"query": ["Q"], "pos": ["p"], "negs": ["n"]},
            "no column Q; there is no column n .found q",
        ),
        (
            {"q": ["a"], "p": 1},
            {"query": ["q"], "pos": ["p"]},
            "q holds list.* query needs a text; p holds int64, and pos",
        ),
        ({"q": None, "p": "b", "x": "a"}, {"query": ["q"], "pos": ["p"]}, r"row 0: query \(q\) is missing"),
        ({"query": "a", "p": []}, {"pos": ["p"]}, r"row 0: pos \(p\) is missing"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, row: dict, named: dict, message: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    with pytest.raises(UserError, match=message):
        Examples(path, "posnegs", documents_per_query=1, named=named, without_negatives=True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train_file=a", "data_type=kd", "columns={pos: p}"],
            "columns: pos is none of kd rows; they have query, docs",
        ),
        (["train_file=a", "data_type=posnegs", "columns={query: [a, b]}"], "columns: query: 2 columns; give one"),
        (["train_file=a", "data_type=posnegs", "columns={negs: []}"], "columns: negs: 0 columns; give one"),
        (["documents=a", "columns={query: b}"], "columns: is about rows"),
        (["train_file=a", "data_type=posnegs", "columns={positive: b}"], "columns"),
    ],
)
def test_what_settings_refuse(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_settings(["model_name_or_path=m", *words], for_training=True)
