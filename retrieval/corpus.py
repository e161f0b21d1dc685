"""Documents to encode, whatever they lie in: a BEIR folder, .jsonl, .parquet, a folder of texts. No judgements needed.

They are read and checked once, in a stream, and mapped from then on (`retrieval.mapped_corpus`): memory does not grow
with the corpus.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retrieval import distributed
from retrieval.beir_files import halves, id_mistake, json_lines, packed_or_not
from retrieval.fingerprint import fingerprint, hash_of
from retrieval.mapped_corpus import MappedCorpus, Source, map_corpus
from retrieval.row_lines import parquet_batches
from sparse_model.errors import UserError
from sparse_model.tokens import BLOCK

logger = logging.getLogger(__name__)

TEXTS = (".txt", ".md")
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
    for name in _ids(source, texts):
        if mistake := id_mistake(name):
            raise UserError(f"{source / name}: its name {mistake}; rename it.")
    return texts


def corpus_digest(source: Path) -> str:
    """A hash of all that is read of a corpus: its files' content and, where each is a text, their ids."""
    files = corpus_files(source)
    digest = fingerprint(files)
    return digest if _kind(files[0]) else hash_of([digest, _ids(source, files)])


def open_corpus(source: Path) -> tuple[MappedCorpus, str]:
    """(the corpus with all that documents say, 16 digits of its `corpus_digest`). For every process.

    Raises:
        UserError: with file, line and remedy; if it has no documents, or is changed meanwhile.
    """
    files = corpus_files(source)
    path = files[0] if _kind(files[0]) else source
    content = lambda: corpus_digest(source)  # noqa: E731
    try:
        digest = distributed.on_main(content)
        corpus = map_corpus(Source(path, files, lambda: _rows(source, files), content, keeps_all=True))
        is_changed = content() != digest
    except FileNotFoundError:
        is_changed = True
    if is_changed:
        raise UserError(f"{path}: was changed while it was read; run the same command again.")
    for note in halves(path, corpus.counts["halved"]) if distributed.is_main() else []:
        logger.warning("%s", note)
    return corpus, digest[:16]


def _rows(source: Path, files: Sequence[Path]) -> Iterator[tuple[int, Any]]:
    """Numbered rows of the documents, in the order of their files."""
    kind = _kind(files[0])
    if not kind:
        named = zip(_ids(source, files), files, strict=True)
        return ((n, {"_id": name, "text": _text(path)}) for n, (name, path) in enumerate(named))
    rows = json_lines(files[0]) if kind == "jsonl" else parquet_rows(files[0])
    return ((n, renamed(row)) for n, row in rows)


def _ids(source: Path, texts: Sequence[Path]) -> list[str]:
    """Of a folder's texts: their paths within it."""
    return [path.relative_to(source).as_posix() for path in texts]


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
        UserError: it cannot be read, with the last row that could; columns of one name.
    """
    import pyarrow as pa

    number = 0
    try:
        for batch in parquet_batches(path, BLOCK):
            for row in batch.to_pylist():
                yield (number := number + 1), row
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read after row {number}: {error}; write the file anew.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); convert the file to UTF-8, or leave it out.") from None
