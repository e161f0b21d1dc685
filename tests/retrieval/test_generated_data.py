"""BEIR folders with anything in one place: they are scored, or refused with the file."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from retrieval.beir_data import load_beir
from retrieval.bm25 import score_bm25
from sparse_model.errors import UserError
from tests.generated import changed, damaged, examples

pytestmark = pytest.mark.generated
NAMES = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]
CELLS = [
    "",
    "q0",
    "d1",
    "q\x00",
    "0",
    "-1",
    "1",
    "1.0",
    "10000000000",
    "nan",
    "x",
    '"',
    '"d1"',
    " ",
    "score",
    "\ufeffq0",
]


def _row_changed(data: some.DataObject, lines: list[str]) -> list[str]:
    number = data.draw(some.integers(0, len(lines) - 1), "line")
    row: Any = changed(data, json.loads(lines[number]))
    copies = data.draw(some.integers(1, 2), "copies")
    return [*lines[:number], *[json.dumps(row)] * copies, *lines[number + 1 :]]


def _judged(data: some.DataObject, lines: list[str]) -> list[str]:
    number = data.draw(some.integers(0, len(lines) - 1), "line")
    cells = data.draw(some.lists(some.sampled_from(CELLS), min_size=0, max_size=4), "cells")
    return [*lines[:number], "\t".join(cells), *lines[number + data.draw(some.integers(0, 1), "instead") :]]


@examples(60)
@given(data=some.data())
def test_it_is_scored_or_refused(tmp_path: Path, beir_folder: Path, data: some.DataObject) -> None:
    folder = tmp_path / "data"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(beir_folder, folder)
    name = data.draw(some.sampled_from(NAMES), "file")
    if data.draw(some.integers(0, 2), "as bytes where 0") == 0:
        (folder / name).write_bytes(damaged(data, (folder / name).read_bytes()))
    else:
        lines = (folder / name).read_text().splitlines()
        lines = _judged(data, lines) if name == NAMES[2] else _row_changed(data, lines)
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    try:
        found = load_beir(str(folder), "")
        scores = score_bm25(found, 10, ["nDCG@10", "R@10"])
    except UserError as error:
        assert str(error)
    else:
        assert found.qrels and set(found.qrels) <= set(found.query_ids)
        assert all(0 <= scores.figures[name] <= 1 for name in ("ndcg@10", "recall@10"))
