"""Documents to encode, whatever they lie in: a BEIR folder, .jsonl, .parquet, a folder of texts. No judgements needed.

They are read and checked once, in a stream, and laid out in blocks in an Arrow file, which every process maps: memory
does not grow with the corpus.
"""

import functools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from retrieval import distributed
from retrieval.beir_files import Record, checked_records, json_lines, packed_or_not
from retrieval.files import whole
from retrieval.fingerprint import fingerprint, hash_of
from retrieval.strings import Strings
from sparse_model.errors import UserError
from sparse_model.tokens import BLOCK

logger = logging.getLogger(__name__)

TEXTS = (".txt", ".md")
COLUMNS = ("id", "title", "text", "more")
IDS, BODIES = ("_id", "id", "docid", "doc_id"), ("text", "contents", "content", "body")
"""What id and text may be called, the first one that is there."""


def corpus_files(source: Path) -> list[Path]:
    """The files of a corpus.

    Raises:
        UserError: if it is none, with what can be given.
    """
    if source.is_file() and _kind(source):
        return [source]
    if not source.is_dir():
        what = "no such file or folder" if not source.exists() else "no .jsonl, .jsonl.gz or .parquet file"
        raise UserError(f"{source}: {what}; give one of those, a BEIR folder, or a folder of {' and '.join(TEXTS)}.")
    if corpus := packed_or_not(source / "corpus.jsonl"):
        return [corpus]
    texts = sorted(path for path in source.rglob("*") if path.suffix.lower() in TEXTS and path.is_file())
    if not texts:
        raise UserError(f"{source}: holds no corpus.jsonl and no {' or '.join(TEXTS)}; name another folder.")
    return texts


def read_corpus(source: Path, notes: list[str]) -> Iterator[Record]:
    """The documents, in the order of their files; of a folder of texts the paths are the ids.

    Raises:
        UserError: with file, line and remedy.
    """
    files = corpus_files(source)
    kind = _kind(files[0])
    rows: Iterable[tuple[int, Any]]
    if not kind:
        rows = ((n, {"_id": path.relative_to(source).as_posix(), "text": _text(path)}) for n, path in enumerate(files))
        return checked_records(source, rows, "document", notes)
    rows = json_lines(files[0]) if kind == "jsonl" else parquet_rows(files[0])
    return checked_records(files[0], ((n, renamed(row)) for n, row in rows), "document", notes)


class Corpus:
    """A corpus as it lies in the Arrow file.

    Attributes:
        doc_ids, texts: of all documents; texts are (title + " " + text), stripped, as of BEIR's data sets.
        digest: 16 hex digits over the content of its files.
    """

    def __init__(self, file: Path, digest: str) -> None:
        import pyarrow as pa

        self._rows = pa.ipc.open_file(pa.memory_map(str(file)))
        self.digest = digest
        blocks = self._rows.num_record_batches
        last = self._rows.get_batch(blocks - 1).num_rows if blocks else 0
        self._len = max(blocks - 1, 0) * BLOCK + last
        self._block = functools.lru_cache(4)(lambda number: self._rows.get_batch(number).to_pydict())
        self.doc_ids: Sequence[str] = _Column(self._len, lambda i: self._row(i)[0])
        self.texts: Sequence[str] = _Column(self._len, lambda i: " ".join(self._row(i)[1:3]).strip())

    def __len__(self) -> int:
        return self._len

    def fields(self, position: int) -> dict[str, Any]:
        """All that is known of a document beside its id: title, text, and whatever else stood there."""
        _, title, text, more = self._row(position)
        return {"title": title, "text": text, **json.loads(more)}

    def _row(self, position: int) -> list[str]:
        block = self._block(position // BLOCK)
        return [block[name][position % BLOCK] for name in COLUMNS]


class _Column(Strings):
    """One value of each document, read when it is asked for."""

    def __init__(self, length: int, value: Callable[[int], str]) -> None:
        self._len, self._value = length, value

    def __len__(self) -> int:
        return self._len

    def take(self, positions: Any) -> list[str]:
        """See `Strings.take`."""
        return [self._value(int(position)) for position in positions]


def open_corpus(source: Path, folder: Path) -> Corpus:
    """The corpus, laid out in `folder` unless it is there already. To be called in every process.

    Raises:
        UserError: see `read_corpus`; if it has no documents.
    """
    digest = distributed.on_main(lambda: fingerprint(corpus_files(source)))
    file = folder / f"corpus-{hash_of([str(source.resolve()), digest])}.arrow"
    distributed.on_main(lambda: _lay_out(source, file))
    return Corpus(file, digest[:16])


def _lay_out(source: Path, file: Path) -> None:
    if file.is_file():
        return
    import pyarrow as pa

    notes: list[str] = []
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    documents = read_corpus(source, notes)
    with whole(file) as temporary, pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        count = 0
        while rows := list(islice(documents, BLOCK)):
            more = [json.dumps(row.more, ensure_ascii=True, default=str) for row in rows]
            columns = [[row.name for row in rows], [row.title for row in rows], [row.text for row in rows], more]
            writer.write_batch(pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=schema))
            count += len(rows)
        if not count:
            raise UserError(f"{source}: holds no document.")
    for note in notes:
        logger.warning("%s", note)


def _kind(path: Path) -> str | None:
    """How a file of rows is read; None: it is none."""
    name = path.name.lower()
    return "jsonl" if name.endswith((".jsonl", ".jsonl.gz")) else "parquet" if name.endswith(".parquet") else None


def renamed(row: Any) -> Any:
    """The row with its id and its text named as in BEIR's files, whichever of IDS and BODIES they are called."""
    if not isinstance(row, dict):
        return row
    for wanted, names in (("_id", IDS), ("text", BODIES)):
        if found := next((name for name in names if name in row), None):
            row[wanted] = row.pop(found)
    return row


def parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, row) of each row of a parquet file.

    Raises:
        UserError: it cannot be read, with the last row that could.
    """
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(BLOCK):
            for row in batch.to_pylist():
                yield (number := number + 1), row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read after row {number}: {error}; write the file anew.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); convert the file to UTF-8, or leave it out.") from None
