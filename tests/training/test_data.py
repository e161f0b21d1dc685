"""Rows to examples: slicing, filters, order, and what is refused."""

import json
from pathlib import Path

import datasets
import pytest

from sparse_model import UserError
from tests.conftest import write_jsonl
from training.data import EpochSampler, Examples
from training.files import row_files, training_files


def _kd(n: int, **more) -> dict:
    return {"query": "q", "docs": [f"d{i}" for i in range(n)], "scores": [float(n - i) for i in range(n)], **more}


def test_kd_examples_span_the_ranks(tmp_path: Path) -> None:
    """n = 7, G = 2: 3 examples; example i takes documents i and i + 3; document 6 is dropped."""
    examples = Examples(write_jsonl(tmp_path / "a.jsonl", [_kd(7)]), "kd", documents_per_query=2, score_scale=10.0)
    assert [e.documents for e in (examples[i] for i in range(3))] == [["d0", "d3"], ["d1", "d4"], ["d2", "d5"]]
    assert examples[1].scores == [60.0, 30.0]
    assert (len(examples), examples.dropped_documents) == (3, 1)


def test_posnegs_are_cut_in_order(tmp_path: Path) -> None:
    """5 negatives, G = 2: 2 examples of 2 negatives, one is dropped and counted; a row with one negative gives none."""
    rows = [{"query": "q", "pos": "p", "negs": list("abcde")}, {"query": "r", "pos": "s", "negs": ["x"]}]
    examples = Examples(write_jsonl(tmp_path / "a.jsonl", rows), "posnegs", documents_per_query=2)
    assert [examples[i].documents for i in range(len(examples))] == [["p", "a", "b"], ["p", "c", "d"]]
    assert (examples.dropped_documents, examples.dropped_rows) == (1, 1)


@pytest.mark.parametrize("row", [{"query": "q", "pos": "p"}, {"query": "q", "pos": "p", "negs": []}])
def test_negatives_may_be_absent_with_in_batch_negatives(tmp_path: Path, row: dict) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [row])
    examples = Examples(path, "posnegs", documents_per_query=2, without_negatives=True)
    assert examples[0].documents == ["p"]
    with pytest.raises(UserError, match="use_in_batch_negatives"):
        Examples(path, "posnegs", documents_per_query=2)


def test_first_rank_filters_rows(tmp_path: Path) -> None:
    rows = [_kd(2, first_rank=rank) for rank in (0, -1, 3, 50)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    examples = Examples(path, "kd", documents_per_query=2, first_rank_thresh=3)
    assert (len(examples), examples.dropped_rows) == (2, 2)


def test_published_rows_without_judged_documents_are_kept(tmp_path: Path) -> None:
    """As the published trainer keeps them; of our own it is said how many are dropped, and by which key."""
    rows = datasets.Dataset.from_list([_kd(2, first_rank=rank) for rank in (0, -1, 3, 50)])
    rows.save_to_disk(str(tmp_path))
    make = lambda: Examples(tmp_path, "kd", documents_per_query=2, first_rank_thresh=3)  # noqa: E731
    assert any(line.startswith("2 rows dropped by first_rank") for line in make().row_sentences())
    (tmp_path / "summary.json").write_text('{"published": true}')
    assert (len(make()), make().filtered_rows) == (3, 1)


def test_swaps_are_the_same_in_every_reading(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [_kd(8)])
    make = lambda: Examples(path, "kd", documents_per_query=2, swap_times=3, seed=5)  # noqa: E731
    first = [make()[i].documents for i in range(4)]
    assert first == [make()[i].documents for i in range(4)]
    assert sorted(sum(first, [])) == [f"d{i}" for i in range(8)]
    assert first != [["d0", "d4"], ["d1", "d5"], ["d2", "d6"], ["d3", "d7"]]


@pytest.mark.parametrize("kind", ["disk", "parquet", "jsonl"])
def test_every_format_gives_the_same_examples(tmp_path: Path, kind: str) -> None:
    rows = [_kd(4, q_id=str(i)) for i in range(3)]
    table, path = datasets.Dataset.from_list(rows), tmp_path / f"rows.{kind}"
    if kind == "disk":
        table.save_to_disk(str(path))
    elif kind == "parquet":
        table.to_parquet(str(path))
    else:
        write_jsonl(path, rows)
    examples = Examples(path, "kd", documents_per_query=2)
    assert len(examples) == 6 and examples[5].documents == ["d1", "d3"]


def test_order_depends_on_seed_and_epoch_only() -> None:
    sampler = EpochSampler([12], 4, 1, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(12)) and first == list(sampler)
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(12)) and list(sampler) != first


def test_an_epoch_is_whole_optimizer_steps() -> None:
    """11 examples in batches of 2 are 5 batches; 2 of them a step: 2 steps, 8 examples, 3 left out this epoch."""
    order = list(EpochSampler([11], 2, 2, seed=0))
    assert len(order) == len(set(order)) == 8
    assert len(EpochSampler([3], 4, 1, seed=0)) == 0


def test_each_batch_comes_from_one_file() -> None:
    """Files of 13 and 7 examples, batches of 3 over 2 processes: 2 + 1 batches of 6, each from one file."""
    sampler = EpochSampler([13, 7], 6, 1, seed=0)
    order = list(sampler)
    assert len(order) == len(sampler) == 18 and len(set(order)) == 18
    assert sorted(len({i < 13 for i in order[start : start + 6]}) for start in (0, 6, 12)) == [1, 1, 1]
    assert len(EpochSampler([13, 7], 6, 2, seed=0)) == 12


@pytest.mark.parametrize(
    ("rows", "data_type", "message"),
    [
        ([{"query": "q", "pos": "p"}], "kd", "set data_type: posnegs"),
        ([_kd(2)], "posnegs", "set data_type: kd"),
        ([{"query": "q", "docs": ["a", "b"], "scores": [1.0]}], "kd", "row 0: 2 docs but 1 scores"),
        ([_kd(2), {"query": "q", "docs": ["a", "b"], "scores": [1.0, None]}], "kd", "row 1: a score is nan"),
        ([{"query": "q", "docs": [1, 2], "scores": [1.0, 2.0]}], "kd", "texts are needed"),
        ([{"query": "7", "docs": ["8841822", "0"], "scores": [2.0, 1.0]}], "kd", "data_preparation.py source="),
        ([{"query": "q", "docs": ["msmarco-1", "D1555982"], "scores": [2.0, 1.0]}], "kd", "holds ids .'msmarco-1'"),
        ([{"query": "q", "pos": "12", "negs": ["13", "14"]}], "posnegs", "column pos holds ids"),
        ([{"query": None, "docs": ["a"], "scores": [1.0]}, _kd(2)], "kd", "row 0: query is missing"),
        ([_kd(1)], "kd", "none of its 1 rows gives an example"),
        ([{"query": "q", "pos": "p", "neg": ["n"]}], "posnegs", "column neg is none that is read; rename it to negs"),
        *(
            ([{"query": "q", "pos": "p", name: ["n"]}], "posnegs", f"column {name} is none .* rename it to negs")
            for name in ("hard_negatives", "negative_1", "Negs", "hardNegs", "negative_passages", "neg-docs")
        ),
        *(
            ([row | {name: 1}], kind, f"column {name} is none .* rename it to first_rank")
            for row, kind in ((_kd(2), "kd"), ({"query": "q", "pos": "p", "negs": ["n", "m"]}, "posnegs"))
            for name in ("first-rank", "firstRank", "first_ranks")
        ),
        ([{"query": "q", "docs": ["a", "b"], "score": [2.0, 1.0]}], "kd", "column score is none .* to scores"),
        ([{"query": "q", "doc": ["a"], "scores": [1.0]}], "kd", "column doc is none .* rename it to docs"),
        ([_kd(2, firstrank=1)], "kd", "column firstrank is none .* rename it to first_rank, or take it out"),
        ([_kd(2), {"query": "q", "docs": ["a", None], "scores": [1.0, 0.0]}], "kd", "row 1: one of its docs is null"),
    ],
)
def test_unusable_rows_name_file_and_row(tmp_path: Path, rows: list[dict], data_type: str, message: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError, match=message) as caught:
        Examples(path, data_type, documents_per_query=2)
    assert str(path) in str(caught.value)


def test_other_columns_are_allowed(tmp_path: Path) -> None:
    rows = [{"query": "q", "pos": "p", "negs": ["n"], "neg": "m", "q_id": "1", "answers": ["a"]}]
    examples = Examples(write_jsonl(tmp_path / "rows.jsonl", rows), "posnegs", documents_per_query=1)
    assert examples[0].documents == ["p", "n"] and examples.has_negatives


def test_short_documents_are_not_ids(tmp_path: Path) -> None:
    rows = [{"query": "year", "docs": ["1984", "in 1984"], "scores": [1.0, 0.0]}, _kd(2)]
    assert len(Examples(write_jsonl(tmp_path / "rows.jsonl", rows), "kd", documents_per_query=2)) == 2


def test_only_the_rows_of_a_folder_count_as_data(tmp_path: Path) -> None:
    """Its card and what lies below it may change without another hash of the data."""
    datasets.Dataset.from_list([_kd(2)]).save_to_disk(str(tmp_path / "rows"))
    (tmp_path / "rows" / "stages").mkdir()
    (tmp_path / "rows" / "stages" / "part.arrow").touch()
    assert [path.name for path in row_files(tmp_path / "rows")] == ["data-00000-of-00001.arrow"]
    assert row_files(tmp_path / "a.jsonl") == [tmp_path / "a.jsonl"]


def test_unusable_files(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"query": "q", \n')
    (tmp_path / "rows.txt").write_text("q")
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("broken.jsonl", "rows.txt", "empty.jsonl"):
        with pytest.raises(UserError, match=name):
            Examples(tmp_path / name, "kd", documents_per_query=2)
    for arguments in ((str(tmp_path / "absent.jsonl"), None), (None, str(tmp_path / "absent"))):
        with pytest.raises(UserError, match="train_file"):
            training_files(*arguments)


def test_a_folder_of_files_is_read_in_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "notes.md"):
        (tmp_path / name).write_text(json.dumps(_kd(2)) + "\n")
    assert [path.name for path in training_files(None, str(tmp_path))] == ["a.jsonl", "b.jsonl"]
