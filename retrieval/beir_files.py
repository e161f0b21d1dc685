"""The files of a BEIR folder, read as BEIR's own loader reads them and checked line by line, also as .gz."""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from retrieval import distributed
from retrieval.metrics import Qrels
from sparse_model.errors import UserError
from sparse_model.texts import whole_characters

GRADE_LIMIT = 1000
"""Of a grade, either way: what computes the metrics takes memory and time by the highest, and fails without a word
beyond that."""

# Characters of a line: a compressed file of megabytes may hold one of any length.
LONGEST = 2**28


class Record(NamedTuple):
    """A line of corpus.jsonl or queries.jsonl."""

    name: str
    title: str
    text: str
    passage_of: str = ""
    """The document that it is a part of, as `mining.documents` notes it in its metadata; "": it is a whole one."""
    heading: str = ""
    """What it stands below in its document, by its metadata."""
    more: dict[str, Any] = {}
    """What else the line says."""
    line: int = 0
    is_changed: bool = False
    """Whether half of a surrogate pair was replaced."""

    @property
    def document(self) -> str:
        """(title + " " + text) stripped."""
        return f"{self.title} {self.text}".strip()


def packed_or_not(path: Path) -> Path | None:
    """The file, or the one of the same name and .gz; None: neither is there."""
    return next((file for file in (path, path.with_name(f"{path.name}.gz")) if file.is_file()), None)


def read_records(path: Path, kind: str, notes: list[str]) -> Iterator[Record]:
    """The records of a jsonl file, each id once; `notes` gets a sentence on texts that had to be changed.

    Raises:
        UserError: with file, line and remedy.
    """
    return checked_records(path, json_lines(path), kind, notes)


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(number of the line, what it says) of each line that is not blank."""
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: not valid JSON ({error}); correct or remove the line.") from None


def checked_records(path: Path, rows: Iterable[tuple[int, Any]], kind: str, notes: list[str]) -> Iterator[Record]:
    """The records of numbered rows, whatever file they come from (see `read_records`)."""
    names: set[str] = set()
    halved = 0
    for record in records(path, rows):
        if record.name in names:
            raise repeated(path, record, kind)
        names.add(record.name)
        halved += record.is_changed
        yield record
    notes += halves(path, halved)


def records(path: Path, rows: Iterable[tuple[int, Any]]) -> Iterator[Record]:
    """The records of numbered rows, one after another; that ids are distinct is the caller's to see."""
    for number, row in rows:
        if mistake := _record_mistake(row):
            raise UserError(f'{path}:{number}: {mistake}; expected {{"_id": "...", "text": "..."}}.')
        title, text = row.get("title") or "", row["text"]
        metadata = row.get("metadata")
        noted = metadata if isinstance(metadata, dict) else {}
        passage_of, heading = (whole_characters(str(noted.get(key) or "")) for key in ("passage_of", "heading"))
        more = {key: value for key, value in row.items() if key not in ("_id", "title", "text")}
        whole = whole_characters(title), whole_characters(text)
        yield Record(str(row["_id"]), *whole, passage_of, heading, more, number, whole != (title, text))


def halves(path: Path, texts: int) -> list[str]:
    """The note on texts in which half of a surrogate pair was replaced."""
    return [f"{path}: {texts} texts hold half of a surrogate pair; it is read as U+FFFD."] if texts else []


def repeated(path: Path, record: Record, kind: str) -> UserError:
    """What is raised for a record whose id is also that of an earlier one."""
    return UserError(
        f"{path}:{record.line}: {kind} id {record.name!r} is also that of an earlier line; keep one of the two."
    )


def _record_mistake(record: Any) -> str | None:
    if not isinstance(record, dict):
        return "not a JSON object"
    name = record.get("_id")
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        return "_id is missing or empty" if name in (None, "") else "_id is not a string"
    if mistake := id_mistake(str(name)):
        return f"_id {mistake}"
    if not isinstance(record.get("text"), str):
        return "text is not a string" if "text" in record else "text is missing"
    if not isinstance(record.get("title"), str | None):
        return "title is not a string"
    return None


_UNUSABLE = {
    "\t\r\n": "holds a tab or a line break, so that no file of rankings can name it",
    "\0": "holds a NUL character",
    "\ud800-\udfff": "holds half of a surrogate pair, which is no UTF-8",
}
_IN_AN_ID = re.compile(f"[{''.join(_UNUSABLE)}]")


def id_mistake(name: str) -> str | None:
    """What is wrong with an id that is not empty."""
    if _IN_AN_ID.search(name) is None:
        return None
    return next(why for characters, why in _UNUSABLE.items() if re.search(f"[{characters}]", name))


def read_judgements(path: Path, queries: Any, qrels: Qrels) -> list[str]:
    """Adds the judgements of a tsv file to qrels, fields quoted as Python's csv quotes them; notes on what is odd.

    Args:
        queries: the known query ids. A first line without a grade is a header, unless it names one of them.

    Raises:
        UserError: with file, line and remedy.
    """
    judged = repeated = 0
    is_first = True
    for number, fields in _rows(path):
        where = f"{path}:{number}"
        if len(fields) != 3:
            raise UserError(f"{where}: {len(fields)} columns between tabs, not 3 (query-id, corpus-id, score).")
        query, document, grade = fields
        is_header = is_first and not _is_number(grade) and query not in queries
        is_first = False
        if is_header:
            continue
        _check_ids(where, query, document)
        judged += 1
        repeated += document in qrels.get(query, {})
        qrels.setdefault(query, {})[document] = _grade(where, grade)
    if not judged:
        raise UserError(f"{path}: no judgement in it; expected lines of query-id, corpus-id, score.")
    return [f"{path}: {repeated} judgements repeat an earlier one; the last counts."] if repeated else []


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(number of the line where it begins, fields) of each row that is not blank."""
    reader = csv.reader(text_lines(path), delimiter="\t")
    start = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{start}: {error}; {_QUOTING}") from None


_QUOTING = 'a field that begins with " ends with one, and has each " within doubled (as Python\'s csv writes it).'


def _check_ids(where: str, query: str, document: str) -> None:
    for column, name in (("query-id", query), ("corpus-id", document)):
        if not name:
            raise UserError(f"{where}: {column} is empty; correct or remove the line.")
        if mistake := id_mistake(name):
            raise UserError(f"{where}: {column} {mistake}; correct the line ({_QUOTING[:-1]}).")


def _grade(where: str, text: str) -> int:
    try:
        grade = int(text)
    except ValueError:
        raise UserError(f"{where}: grade {text[:40]!r} is not an integer; correct the line.") from None
    if abs(grade) > GRADE_LIMIT:
        raise UserError(
            f"{where}: grade {text[:40]} is beyond ±{GRADE_LIMIT}; grades are small integers, such as 0 … 3."
        )
    return grade


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file that may be compressed, with their ends."""
    number = 0
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else open(path, encoding="utf-8-sig") as file
        ):
            lines = iter(lambda: file.readline(LONGEST), "")
            for line in tqdm(lines, path.name, unit="line", delay=3, disable=not distributed.is_main()):
                if len(line) == LONGEST:
                    raise UserError(
                        f"{path}:{number + 1}: longer than {LONGEST:,} characters; correct or remove the line."
                    )
                yield line
                number += 1
    except UnicodeDecodeError as error:  # within a block of lines
        number += error.object[: error.start].count(b"\n")
        raise UserError(f"{path}:{number + 1}: not UTF-8 ({error.reason}); convert the file to UTF-8.") from error
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}:{number + 1}: cannot be read ({error}); fetch the file again.") from error
