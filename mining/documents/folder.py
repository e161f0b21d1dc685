"""A BEIR folder made of documents: corpus.jsonl of passages, what was left out, and a record that is written last.

A passage's id is its document's where that is one passage, else the document's, # and its number; metadata name the
document (`retrieval.beir_data` reads it) and the heading. A document whose title and text are those of an earlier one
is left out, unless the folder brings judgements, which name documents by their ids.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mining.documents.passages import passages
from mining.documents.read import ENDINGS, Document, NotRead, read_file
from retrieval.beir_files import packed_or_not
from retrieval.files import made_once, whole
from retrieval.fingerprint import fingerprint, text_key
from sparse_model.errors import UserError
from sparse_model.texts import whole_characters

logger = logging.getLogger(__name__)

RECORD = "documents.json"
NAMED = 5
"""So many of what is left out are named; all of them stand in dropped.jsonl."""


@dataclass(frozen=True)
class Cutting:
    """How documents become passages, and which columns of rows they are made of.

    Args:
        words, overlap: see `passages`. columns: see `read_file`.
    """

    words: int | None = 200
    overlap: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.words is not None and self.words < 10:
            raise UserError(f"passage_words: {self.words}; 10 or more, or null: documents are not cut.")
        if self.overlap < 0 or (self.words is not None and self.overlap > self.words / 2):
            raise UserError(f"passage_overlap: {self.overlap}; from 0 to half of passage_words.")


def make_beir(source: Path, out: Path, cutting: Cutting = Cutting(), show_progress: bool = True) -> dict[str, Any]:  # noqa: B008
    """Make the BEIR folder `out` of a folder of documents, a file of rows or another BEIR folder; its record.

    The same documents cut in the same way leave the same bytes; where they are there, nothing is done.

    Raises:
        UserError: there is nothing to read, a row cannot be read, or `out` holds something else.
    """
    files = document_files(source)
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UserError(f"{out} lies in {source}, where it would be read as documents; name another folder.")
    judged = _judgements(source)
    made_of = {"documents": fingerprint([*files, *judged]), **asdict(cutting), "version": 1}

    def make() -> dict[str, Any]:
        counts = _write(source, files, out, cutting, keep_same=bool(judged), show_progress=show_progress)
        for path in judged:
            (out / path.relative_to(source)).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, out / path.relative_to(source))
        return counts

    return made_once(out, RECORD, "corpus.jsonl", made_of, make)


def document_files(source: Path) -> list[Path]:
    """The files to read, sorted by their paths; of a BEIR folder its corpus alone.

    Raises:
        UserError: there are none.
    """
    if not source.exists():
        raise UserError(f"{source}: no such folder or file; name a folder of documents.")
    kinds = ", ".join(ENDINGS)
    if source.is_file():
        if source.suffix.lower() not in ENDINGS:
            raise UserError(f"{source}: documents are read of {kinds}; give a folder, or one of these.")
        return [source]
    if corpus := packed_or_not(source / "corpus.jsonl"):
        return [corpus]
    files = sorted(path for path in source.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(source)))
    readable = [path for path in files if path.suffix.lower() in ENDINGS]
    others = Counter(path.suffix or path.name for path in files if path not in set(readable))
    listed = ", ".join(f"{count} {ending}" for ending, count in others.most_common(NAMED))
    if not readable:
        there = f"only {listed}" if files else "nothing"
        raise UserError(f"{source}: there is {there} in it; documents are read of {kinds}.")
    if others:
        logger.warning("%s: %d files are of other kinds and not read: %s", source, sum(others.values()), listed)
    return readable


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _judgements(source: Path) -> list[Path]:
    """Queries and judgements that a BEIR folder brings; [] if it lacks one of them."""
    corpus, queries = (packed_or_not(source / f"{name}.jsonl") for name in ("corpus", "queries"))
    qrels = sorted((source / "qrels").glob("*.tsv*"))
    return [queries, *qrels] if corpus and queries and qrels else []


class _Dropped:
    """Gathers what is left out; counted, and told at the end."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = {}

    def add(self, kind: str, name: str, **more: str) -> None:
        """A document or file that is left out: why, in the words of the counts."""
        self.counts[kind] += 1
        self._file.write(json.dumps({"document": name, "why": kind, **more}, ensure_ascii=False) + "\n")
        if len(first := self.first.setdefault(kind, [])) < NAMED:
            first.append(f"{name}: {more['reason']}" if "reason" in more else name)

    def tell(self, source: Path) -> None:
        """A line of the log for each kind."""
        for kind, count in sorted(self.counts.items()):
            more = f" and {count - NAMED} more" if count > NAMED else ""
            logger.warning("%s: %d left out, %s: %s%s", source, count, kind, "; ".join(self.first[kind]), more)


EMPTY, SAME, UNREAD = "empty", "the same as an earlier one", "not read"


def _write(
    source: Path, files: list[Path], out: Path, cutting: Cutting, keep_same: bool, show_progress: bool
) -> dict[str, Any]:
    """Write corpus.jsonl and dropped.jsonl; the counts."""
    counts: Counter[str] = Counter()
    with whole(out / "corpus.jsonl") as corpus_path, whole(out / "dropped.jsonl") as dropped_path:
        with open(corpus_path, "w", encoding="utf-8") as corpus, open(dropped_path, "w", encoding="utf-8") as left_out:
            dropped = _Dropped(left_out)
            seen: dict[bytes, str] = {}
            ids: set[str] = set()
            for document in _read(source, files, cutting, dropped, show_progress):
                if not keep_same and _is_left_out(document, seen, dropped):
                    continue
                parts = passages(document, cutting.words, cutting.overlap)
                counts["documents"] += 1
                counts["cut"] += len(parts) > 1
                for number, part in enumerate(parts, start=1):
                    name = document.name if len(parts) == 1 else f"{document.name}#{number}"
                    if name in ids:
                        raise UserError(f"{source}: the id {name!r} stands twice; give each document one of its own.")
                    ids.add(name)
                    counts["passages"] += 1
                    counts["longest"] = max(counts["longest"], number)
                    corpus.write(_line(name, document, part, len(parts) > 1))
        dropped.tell(source)
        found = {**{name: counts[name] for name in ("documents", "cut", "passages", "longest")}, **dropped.counts}
        if not counts["documents"]:
            left = ", ".join(f"{count} {kind}: {dropped.first[kind][0]}" for kind, count in dropped.counts.items())
            raise UserError(f"{source}: no document is left ({left or 'no rows'}); give documents with text, as UTF-8.")
    return found


def _read(
    source: Path, files: list[Path], cutting: Cutting, dropped: _Dropped, show_progress: bool
) -> Iterator[Document]:
    folder = source if source.is_dir() else source.parent
    # Of one file alone, its rows have a bar of their own.
    for path in tqdm(files, "documents", unit="file", delay=1, disable=not show_progress or len(files) == 1):
        name = path.relative_to(folder).as_posix()
        try:
            yield from read_file(path, name, cutting.columns)
        except NotRead as error:
            dropped.add(UNREAD, whole_characters(name), reason=str(error))
        except OSError as error:
            dropped.add(UNREAD, whole_characters(name), reason=f"{error.strerror}; mend it, or take it out")


def _is_left_out(document: Document, seen: dict[bytes, str], dropped: _Dropped) -> bool:
    """Whether a document is empty, or that of another name; counted."""
    text = f"{document.title} {document.text}"
    if not text.split():
        dropped.add(EMPTY, document.name)
        return True
    first = seen.setdefault(text_key(text), document.name)
    if first != document.name:
        dropped.add(SAME, document.name, same=first)
    return first != document.name


def _line(name: str, document: Document, part: Any, is_cut: bool) -> str:
    metadata = {"passage_of": document.name} if is_cut else {}
    metadata |= {"heading": part.heading} if part.heading else {}
    record = {"_id": name, "title": document.title, "text": part.text, "metadata": metadata}
    return json.dumps({key: _whole(value) for key, value in record.items()}, ensure_ascii=False) + "\n"


def _whole(value: Any) -> Any:
    return {k: whole_characters(v) for k, v in value.items()} if isinstance(value, dict) else whole_characters(value)


def described(record: Mapping[str, Any]) -> str:
    """A made folder's counts, for people: "12 documents, 3 of them cut: 20 passages; left out: 2 empty"."""
    text = f"{record['documents']} documents, {record['cut']} of them cut: {record['passages']} passages"
    left = [f"{record[kind]} {kind}" for kind in (EMPTY, SAME, UNREAD) if record.get(kind)]
    return text + (f"; left out: {', '.join(left)}" if left else "")
