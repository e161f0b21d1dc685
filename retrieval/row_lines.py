"""Files of rows, looked at before a library in C++ reads them: it names no line, and some files end the process."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.files import whole
from sparse_model.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

# Lists and objects within one another; rows need 2, and pyarrow overflows its stack somewhere above 10,000.
DEPTH = 100

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
# One escape after another, so that a backslash that is itself escaped begins none: a whole pair, a half, any other.
_ESCAPES = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.", re.DOTALL)


def readable(path: Path, copies: Path) -> Path:
    """The file, or a copy in the folder `copies` in which U+FFFD stands for each half of a surrogate pair.

    Raises:
        UserError: with line or row: what is not UTF-8, and lines that are nested too deep; columns of one name.
    """
    if path.suffix == ".parquet":
        _check_parquet(path)
        return path
    changed = sum(line != before for before, line in _lines(path))
    if not changed:
        return path
    logger.warning("%s: %d rows hold half of a surrogate pair; it is read as U+FFFD", path, changed)
    copy = copies / path.name
    with whole(copy) as temporary, open(temporary, "wb") as file:
        file.writelines(line for _, line in _lines(path))
    return copy


def mistake_in(path: Path) -> str:
    """The first line of a .jsonl file that is no row, and why; "" if there is none or the file is of another kind."""
    if path.suffix != ".jsonl":
        return ""
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line, object_pairs_hook=_once), dict):
                    return f"{path}:{number}: not a JSON object; correct or remove the line."
            except ValueError as error:
                return f"{path}:{number}: not valid JSON ({error}); correct or remove the line."
    return ""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _lines(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Each line as it is, and as it can be read."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number}: not UTF-8 ({error.reason}); convert the file to UTF-8.") from None
            # pyarrow ends the process at a line such as null; a .json file may be one list of rows over many lines.
            begins = line.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if begins != b"{" and begins and (path.suffix == ".jsonl" or number == 1 and begins != b"["):
                raise UserError(f"{path}:{number}: not a JSON object; correct or remove the line.")
            if line.count(b"[") + line.count(b"{") > DEPTH and _depth(line) > DEPTH:
                raise UserError(f"{path}:{number}: lists or objects are nested deeper than {DEPTH}; remove the line.")
            has_halves = b"\\ud" in line or b"\\uD" in line
            yield line, _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], line) if has_halves else line


def _depth(line: bytes) -> int:
    depth = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRING.sub(b"", line)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def require_distinct(path: Path, columns: Iterable[str]) -> None:
    """UserError if two columns of a file have one name: a row holds one of them alone. Without a name none is read."""
    if twice := [name for name, n in Counter(columns).items() if name and n > 1]:
        raise UserError(f"{path}: more than one column is named {', '.join(twice)}; rename all but one.")


def parquet_batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """A parquet file in batches of so many rows.

    Raises:
        UserError: columns of one name.
    """
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    require_distinct(path, file.schema_arrow.names)
    yield from file.iter_batches(rows)


def _check_parquet(path: Path) -> None:
    start = 0
    for batch in parquet_batches(path, 4096):
        if not _is_valid(batch):
            row = next(i for i in range(len(batch)) if not _is_valid(batch.slice(i, 1)))
            raise UserError(f"{path}: row {start + row}: a text is not UTF-8; write the file anew.")
        start += len(batch)


def _is_valid(batch: Any) -> bool:
    try:
        batch.validate(full=True)
    except ValueError:  # pyarrow's own is one
        return False
    return True
