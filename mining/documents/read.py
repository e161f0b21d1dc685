"""Documents of files: .txt, .md and .html are one each, rows of .jsonl, .csv, .tsv and .parquet one each.

A file that should be one document and cannot be read is left out and told (`NotRead`): the others are still worth
having. Rows that cannot be read end the command: nobody wants to lose the end of a table.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mining.documents.markup import Section, sections_of_html, sections_of_markdown
from retrieval.beir_files import id_mistake, json_lines
from retrieval.corpus import parquet_rows
from retrieval.row_lines import require_distinct
from sparse_model.errors import UserError

MOST_BYTES = 50 * 2**20
"""Of a file that is one document: five times the longest novel."""
TITLE_WORDS = 20
COLUMNS: Mapping[str, tuple[str, ...]] = {"id": ("_id", "id"), "title": ("title",), "text": ("text",)}
"""What a column is for, and the names that it has unless others are given."""


class NotRead(Exception):
    """A file that is left out, with the reason."""


@dataclass(frozen=True)
class Document:
    """A document under the name by which it is found again: a path within the folder, or a row's id."""

    name: str
    title: str
    sections: list[Section]

    @property
    def text(self) -> str:
        """Headings and texts of all sections, a line each."""
        return "\n".join(part for section in self.sections for part in section if part)


def read_file(path: Path, name: str, columns: Mapping[str, str]) -> Iterator[Document]:
    """The documents of a file whose ending is in `ENDINGS`.

    Args:
        name: the file's, relative to its folder.
        columns: what a column is for ("id", "title", "text") -> its name, where it is not as in `COLUMNS`.

    Raises:
        NotRead: it is one document and cannot be read. UserError: it holds rows and one cannot be read.
    """
    ending = path.suffix.lower()
    if ending in ROWS:
        yield from _documents_of_rows(path, name, ROWS[ending](path), columns)
    else:
        if mistake := id_mistake(name):
            raise NotRead(f"its name {mistake}; rename it")
        yield Document(name, *TEXTS[ending](_text(path)))


def _text(path: Path) -> str:
    if (size := path.stat().st_size) > MOST_BYTES:
        raise NotRead(f"{size / 2**20:.0f} MiB are too many for one document; split it, or give rows (.jsonl)")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in content[:4096]:
            raise NotRead("binary, or UTF-16; save it as UTF-8 text") from None
        line = content[: error.start].count(b"\n") + 1
        raise NotRead(f"line {line} is not UTF-8 ({error.reason}); convert it to UTF-8") from None
    if "\0" in text:
        raise NotRead("binary: it holds NUL characters; give its text")
    return text


def _plain(text: str) -> tuple[str, list[Section]]:
    """A short first line above a blank one is the title."""
    first, _, rest = text.strip().partition("\n")
    below, _, body = rest.partition("\n")
    if first and body.strip() and not below.strip() and len(first.split()) <= TITLE_WORDS:
        return first.strip(), [Section("", body.strip())]
    return "", [Section("", text.strip())]


def _documents_of_rows(
    path: Path, name: str, rows: Iterator[tuple[str, dict[str, Any]]], columns: Mapping[str, str]
) -> Iterator[Document]:
    found: dict[str, str] | None = None
    for number, (where, row) in enumerate(rows, start=1):
        found = found or _found_columns(path, row, columns)
        title, text = (_value(where, row, found.get(use)) for use in ("title", "text"))
        own = str(row.get(found["id"]) or "") if "id" in found else ""
        document = own or f"{name}:{number}"
        if mistake := id_mistake(document):
            raise UserError(f"{where}: its id {mistake}; correct the row.")
        yield Document(document, title.strip(), [Section("", text.strip())])


def _found_columns(path: Path, row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    """What a column is for -> its name, of the columns that the first row has."""
    known = {use: [columns[use]] if use in columns else usual for use, usual in COLUMNS.items()}
    found = {use: next((n for n in names if n in row), "") for use, names in known.items()}
    absent = [columns[use] for use in columns if not found[use]] or ([] if found["text"] else ["text"])
    if absent:
        raise UserError(
            f"{path}: no column {' nor '.join(absent)}; there are {', '.join(map(str, row))}. Name them "
            "(document_columns, --columns): text=…, and title=… and id=… where there are such."
        )
    return {use: name for use, name in found.items() if name}


def _value(where: str, row: Mapping[str, Any], column: str | None) -> str:
    value = row.get(column) if column else ""
    if not isinstance(value, str | None):
        raise UserError(
            f"{where}: {column} is no text ({type(value).__name__}); correct the row, or name another column."
        )
    return value or ""


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, row in json_lines(path):
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: not a JSON object; correct or remove the line.")
        yield f"{path}:{number}", row


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    before = csv.field_size_limit(MOST_BYTES)  # of this process, and not ours to keep
    number = 1
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            require_distinct(path, reader.fieldnames or ())
            for row in reader:
                number = reader.line_num
                if None in row or None in row.values():
                    raise UserError(f"{path}:{number}: other fields than the first line names; correct the row.")
                yield f"{path}:{number}", row
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 after line {number} ({error.reason}); convert the file to UTF-8.") from None
    except csv.Error as error:
        raise UserError(f"{path}: after line {number}: {error}; correct the row.") from None
    finally:
        csv.field_size_limit(before)


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"{path}: row {number}", row) for number, row in parquet_rows(path))


TEXTS: Mapping[str, Callable[[str], tuple[str, list[Section]]]] = {
    ".txt": _plain,
    ".text": _plain,
    ".md": sections_of_markdown,
    ".markdown": sections_of_markdown,
    ".html": sections_of_html,
    ".htm": sections_of_html,
}
ROWS: Mapping[str, Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]] = {
    ".jsonl": _json_rows,
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".parquet": _parquet_rows,
}
ENDINGS = (*TEXTS, *ROWS)
