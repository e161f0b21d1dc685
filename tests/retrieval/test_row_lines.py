"""Files of rows that a library in C++ would not name the line of, or not survive; halves of surrogate pairs."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from retrieval import row_lines
from retrieval.corpus import open_corpus
from retrieval.row_files import read_rows
from sparse_model.errors import UserError
from sparse_model.texts import whole_characters

ROW = b'{"query": "rain", "pos": "wet"}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"query": "caf\xe9", "pos": "x"}', "not UTF-8"),
        (b'{"query": "\xed\xa0\xbd", "pos": "x"}', "not UTF-8"),
        (b'{"query": "x", "pos": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested deeper than 100"),
        (b"{" * 200_000, "nested deeper than 100"),
        (b'{"query": "x", "pos":', "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b'{"query": "x", "query": "y", "pos": "z"}', "a key stands twice"),
    ],
)
def test_the_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW * 3 + line + b"\n" + ROW)
    with pytest.raises(UserError, match=f"rows.jsonl:4: .*{said}"):
        read_rows(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize("first", [b"null\n", b"\xef\xbb\xbfnull\n", b"true\n"])
def test_a_first_line_that_would_end_the_process(tmp_path: Path, first: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(first + ROW)
    with pytest.raises(UserError, match=f"{name}:1: not a JSON object"):
        read_rows(tmp_path / name)


def test_brackets_in_texts_are_no_nesting(tmp_path: Path) -> None:
    path, text = tmp_path / "rows.jsonl", '[{"' * 200 + "\\"
    path.write_text(json.dumps({"query": text, "pos": "x"}) + "\n")
    assert read_rows(path)[0]["query"] == text


def test_halves_of_surrogate_pairs_are_replaced_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW + rb'{"query": "\ud83d\uDE00 \uDE00", "pos": "\\ud83d"}' + b"\n" + ROW)
    for _ in range(2):
        rows = read_rows(path)
        assert len(rows) == 3 and rows[1] == {"query": "\U0001f600 \ufffd", "pos": "\\ud83d"}
    assert caplog.text.count("rows.jsonl: 1 rows hold half of a surrogate pair") == 2
    assert path.read_bytes().startswith(ROW) and b"ufffd" not in path.read_bytes(), "the user's file stays"


_characters = st.sampled_from(["\ud83d", "\ude00", "\U0001f600", "\\", "u", "d83d", '"', "é", "\n", "a"])


@given(st.lists(_characters).map("".join))
@settings(max_examples=100, deadline=None)
def test_every_escape_is_read_as_by_json(text: str) -> None:
    line = json.dumps(text).encode()
    repaired = row_lines._ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], line)
    assert json.loads(repaired) == whole_characters(json.loads(line))


def test_a_parquet_file_that_is_no_utf_8(tmp_path: Path) -> None:
    texts = pa.Array.from_buffers(pa.string(), 3, pa.array([b"ok", b"\xe9", b"ok"]).buffers())
    parquet.write_table(pa.table({"query": texts}), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="rows.parquet: row 1: a text is not UTF-8"):
        read_rows(tmp_path / "rows.parquet")


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """Training rows and documents; pyarrow's rows hold the last of them."""
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "id", "text"])
    parquet.write_table(table, tmp_path / "rows.parquet")
    for read in (read_rows, open_corpus):
        with pytest.raises(UserError, match="rows.parquet: more than one column is named text; rename all but one"):
            read(tmp_path / "rows.parquet")


def test_fields_of_one_name_within_a_column(tmp_path: Path) -> None:
    """Which pyarrow writes, and makes no row of."""
    said = pa.StructArray.from_arrays([pa.array(["a"])] * 2, names=["by", "by"])
    parquet.write_table(pa.table({"id": ["1"], "text": ["a"], "said": said}), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="rows.parquet: cannot be read after row 0: .*duplicate field names"):
        open_corpus(tmp_path / "rows.parquet")
