"""Files of queries without judgements: .jsonl, .tsv, .txt."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.beir_files import checked_records, json_lines
from retrieval.corpus import renamed
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

ENDINGS = (".jsonl", ".tsv", ".txt")


def check_query_file(path: Path) -> None:
    """Raise a UserError if there is no such file, or it is of another kind."""
    if not path.is_file() or path.suffix not in ENDINGS:
        raise UserError(f"{path}: {'none of ' + ', '.join(ENDINGS) if path.is_file() else 'no such file'}.")


def read_queries(path: Path) -> tuple[list[str], list[str]]:
    """(ids, texts) of .jsonl lines {"_id", "text"}, of .tsv lines id, tab, text, or of .txt lines, numbered from 1.

    Raises:
        UserError: with file, line and remedy.
    """
    check_query_file(path)
    notes: list[str] = []
    rows = ((n, renamed(row)) for n, row in json_lines(path)) if path.suffix == ".jsonl" else _text_rows(path)
    records = list(checked_records(path, rows, "query", notes))
    for note in notes:
        logger.warning("%s", note)
    if not records:
        raise UserError(f"{path}: holds no query.")
    return [record.name for record in records], [record.text.strip() for record in records]


def _text_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                name, tab, text = line.partition("\t") if path.suffix == ".tsv" else (str(number), "\t", line)
                if line.strip():
                    yield number, {"_id": name, "text": text} if tab else {"_id": name.strip()}
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); convert the file to UTF-8.") from None
