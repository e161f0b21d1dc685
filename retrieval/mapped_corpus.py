"""A corpus: read and checked once, mapped by every process from then on.

One of 16 MiB or more is read by rank 0 into a folder of the user's cache, found again by its files' content:

    ~/.cache/sparse-retrieval-l0/corpora/<hash>/    XDG_CACHE_HOME in place of ~/.cache
        ids.arrow      ids, and their positions from the highest to the lowest
        texts.arrow    texts, ROWS at a time
        said.arrow     what else documents say, where that was asked for: what is searched shows it
        facts.json     which file it was made of, and what was counted on the way

The folder has its name once it is whole, and is made anew if a file of it was cut or removed since. When the next one
is made, those go that are of another content of the same file, of a process that was killed, or opened by nobody for
UNUSED_DAYS. A smaller corpus is read by every process into the same arrays in memory.
"""

import atexit
import json
import logging
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from retrieval import distributed
from retrieval.beir_files import Record, records, repeated
from retrieval.files import has_ended, read_json, require_disk, write_json
from retrieval.fingerprint import KEPT_FROM, cache_folder, corpus_hash, hash_of
from retrieval.strings import AT_ONCE, Ids, Texts
from sparse_model.disk_errors import disk_problem
from sparse_model.errors import UserError
from sparse_model.texts import whole_characters

logger = logging.getLogger(__name__)

FORMAT = 4
"""Of the folders: another one whenever the same file is read otherwise."""
ROWS = 8192
IDS, TEXTS, SAID = "ids.arrow", "texts.arrow", "said.arrow"
UNUSED_DAYS = 90
# A byte of JSON makes hardly more than one here; of a packed one, up to six.
BYTES_A_BYTE, BYTES_A_PACKED_BYTE = 1.2, 7

Mend = Callable[[str], str]
_IDS = pa.schema({"id": pa.large_string(), "order": pa.int32()})
_TEXTS = pa.schema({"text": pa.large_string(), "title_words": pa.int32(), "passage_of": pa.large_string()})
_JSON = json.JSONEncoder(ensure_ascii=False, default=str)
_SAID = pa.schema({"title": pa.int32()} | dict.fromkeys(("before", "after", "more"), pa.large_string()))
"""Characters of the title, what was stripped off the text's ends, and the rest as JSON."""


@dataclass(frozen=True)
class Source:
    """What a corpus is read from."""

    path: Path
    """a file, or the folder that holds them; messages name it"""
    files: Sequence[Path]
    rows: Callable[[], Iterable[tuple[int, Any]]]
    """numbered rows, as `beir_files.records` takes them"""
    digest: Callable[[], str]
    """a hash of all that is read"""
    mend: Mend | None = None
    """a named function that every document's text goes through; another name is another folder"""
    keeps_all: bool = False
    """whether `MappedCorpus.fields` is asked for, of texts as they are (without `mend`)"""

    @property
    def facts(self) -> dict[str, Any]:
        """What tells it from other sources, but for its content."""
        return {"file": str(self.path.resolve()), "mend": self.mend and self.mend.__name__, "all": self.keeps_all}


@dataclass(frozen=True)
class MappedCorpus:
    """Ids and texts in the order of the file, and what was counted when it was read."""

    ids: Ids
    texts: Texts
    """(title + " " + text) stripped, for every line of the corpus, empty ones too."""
    title_words: list[pa.Array]
    """How many of each text's words are its title's, in arrays of ROWS."""
    passage_of: dict[str, str]
    """See `BeirData.passage_of`."""
    counts: dict[str, int]
    """By name: parts (lines that are one of a document), halved (with half a surrogate pair), repeated (texts), empty,
    mended (by `mend`)."""
    said: Callable[[int], list[tuple[str, int, str, str, str]]]
    """Text and what _SAID has of AT_ONCE documents, by their number."""

    def __len__(self) -> int:
        return len(self.ids)

    def fields(self, position: int) -> dict[str, Any]:
        """All that a document says beside its id: title, text, and whatever else stood there."""
        text, title, before, after, more = self.said(position // AT_ONCE)[position % AT_ONCE]
        whole = f"{before}{text}{after}"
        return {"title": whole[:title], "text": whole[title + 1 :], **json.loads(more)}

    def says(self, position: int, query: str) -> bool:
        """Whether a document's title, text or both are the query, but for white space (of Quora it is the text, of
        SCIDOCS the title)."""
        words, wanted = self.texts[position].split(), query.split()
        title = self.title_words[position // ROWS][position % ROWS].as_py()
        return wanted in (words, words[:title], words[title:])


def map_corpus(source: Source) -> MappedCorpus:
    """The corpus of a source. To be called in every process.

    Raises:
        UserError: with file, line and remedy; if there is no room for the folder.
    """
    if _size(source) < KEPT_FROM:
        return _in_memory(source)
    folder = distributed.on_main(lambda: _made(source))
    # On another node, with a cache of its own, each process looks after itself.
    return _mapped(folder if folder.is_dir() else _made(source))


def _size(source: Source) -> int:
    return sum(file.stat().st_size for file in source.files)


def _names(source: Source) -> list[str]:
    return [IDS, TEXTS, *([SAID] if source.keeps_all else [])]


def _in_memory(source: Source) -> MappedCorpus:
    sinks = {name: pa.BufferOutputStream() for name in _names(source)}
    counts = _write(source, sinks)
    return _opened({name: pa.BufferReader(sink.getvalue()) for name, sink in sinks.items()}, {"counts": counts})


def _mapped(folder: Path) -> MappedCorpus:
    files = {path.name: pa.memory_map(str(path)) for path in folder.glob("*.arrow")}
    return _opened(files, read_json(folder / "facts.json"))


def _opened(files: dict[str, Any], facts: dict[str, Any]) -> MappedCorpus:
    tables = {name: pa.ipc.open_file(file).read_all() for name, file in files.items()}
    ids, texts = tables[IDS], tables[TEXTS]
    names, order = (ids.column(name).chunk(0) for name in ("id", "order"))
    corpus, passage_of = facts.get("corpus"), {}
    columns = [texts.column("text"), *(tables[SAID].columns if SAID in tables else [])]

    @lru_cache(1)
    def said(number: int) -> list[Any]:
        rows = (column.slice(number * AT_ONCE, AT_ONCE).to_pylist() for column in columns)
        return list(zip(*rows, strict=True))

    if facts["counts"]["parts"]:
        wholes = texts.column("passage_of").to_pylist()
        passage_of = {name: whole for name, whole in zip(names.to_pylist(), wholes, strict=True) if whole}
    return MappedCorpus(
        Ids(names, order.to_numpy(), corpus),
        Texts(texts.column("text").chunks, ROWS, corpus),
        texts.column("title_words").chunks,
        passage_of,
        facts["counts"],
        said,
    )


def _made(source: Source) -> Path:
    """The folder of this corpus, made now if it is not there."""
    digest, path, root = source.digest(), source.path, _root()
    folder = root / hash_of([FORMAT, digest, source.facts["mend"], source.keeps_all])
    if not _is_whole(folder, source):
        shutil.rmtree(folder, ignore_errors=True)
        _remove_stale(root, source.facts)
        by_byte = BYTES_A_PACKED_BYTE if path.suffix in (".gz", ".parquet") else BYTES_A_BYTE
        require_disk(root, int(by_byte * _size(source)), f"reading {path}", "XDG_CACHE_HOME")
        logger.info("%s: is read once, into %s", path, folder)
        _make(folder, source, digest)
    with suppress(OSError):  # somebody else's
        os.utime(folder)
    return folder


def _is_whole(folder: Path, source: Source) -> bool:
    """Whether it is there, and nobody cut or removed a file of it since."""
    try:
        _mapped(folder)
    except (OSError, KeyError, pa.ArrowException):
        return False
    return all((folder / name).is_file() for name in _names(source))


def _make(folder: Path, source: Source, digest: str) -> None:
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        new.mkdir()
        with ExitStack() as opened:
            files = {name: opened.enter_context(open(new / name, "wb")) for name in _names(source)}
            facts = {**source.facts, "counts": _write(source, files)}
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        if source.digest() != digest:
            raise UserError(f"{source.path}: was changed while it was read; run the same command again.")
        write_json(new / "facts.json", facts)
        if not source.keeps_all:  # of which no result is filed by it
            made = _mapped(new)
            write_json(new / "facts.json", {**facts, "corpus": corpus_hash(made.ids, made.texts)})
        new.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # another process was quicker
            raise disk_problem(error, folder) or error from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _root() -> Path:
    """The folder that holds those of all corpora; a temporary one where the user's cache cannot be written."""
    try:
        root = cache_folder("corpora")
        root.mkdir(parents=True, exist_ok=True)
        if os.access(root, os.W_OK):
            return root
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        pass
    temporary = Path(tempfile.mkdtemp(prefix="corpora-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    logger.info("the cache (XDG_CACHE_HOME) cannot be written: %s takes its place until this command ends", temporary)
    return temporary


def _remove_stale(root: Path, made_of: dict[str, Any]) -> None:
    for folder in root.iterdir():
        made_by, facts = folder.name.rpartition(".")[2], read_json(folder / "facts.json")
        is_cut_short = folder.name.startswith(".") and made_by.isdecimal() and has_ended(int(made_by))
        is_older = not folder.name.startswith(".") and made_of.items() <= facts.items()
        if is_cut_short or is_older or folder.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
            shutil.rmtree(folder, ignore_errors=True)


def _write(source: Source, files: dict[str, Any]) -> dict[str, int]:
    """Read a corpus into Arrow files, by `_names`; what was counted, as `MappedCorpus.counts` has it."""
    mend = source.mend
    counts = {"parts": 0, "halved": 0, "repeated": 0, "empty": 0, "mended": 0}
    names: list[pa.Array] = []
    hashes = array("q")
    with ExitStack() as opened:
        file = opened.enter_context(pa.ipc.new_file(files[TEXTS], _TEXTS))
        said = opened.enter_context(pa.ipc.new_file(files[SAID], _SAID)) if source.keeps_all else None
        for batch in _batches(source):
            texts = [record.document for record in batch]
            if mend is not None:
                mended = [mend(text) for text in texts]
                counts["mended"] += sum(a != b for a, b in zip(mended, texts, strict=True))
                texts = mended
            hashes.extend(map(hash, texts))
            counts["halved"] += sum(record.is_changed for record in batch)
            counts["empty"] += texts.count("")
            names.append(pa.array([record.name for record in batch], pa.large_string()))
            title_words = [len(record.title.split()) if record.title else 0 for record in batch]
            wholes = [record.passage_of or None for record in batch]
            counts["parts"] += len(wholes) - wholes.count(None)
            file.write_batch(pa.record_batch([texts, title_words, wholes], schema=_TEXTS))
            if said:
                rows = [_said(record, text) for record, text in zip(batch, texts, strict=True)]
                said.write_batch(pa.record_batch([list(column) for column in zip(*rows, strict=True)], schema=_SAID))
    if not names:
        raise UserError(f"{source.path}: the corpus is empty; expected documents with _id, title, text.")
    counts["repeated"] = len(hashes) - len(np.unique(np.frombuffer(hashes, np.int64)))
    ids = Ids(pa.concat_arrays(names))
    if (position := ids.repeated()) is not None:
        raise repeated(source.path, next(islice(_records(source), position, None)), "document")
    with pa.ipc.new_file(files[IDS], _IDS) as file:
        file.write_batch(pa.record_batch([ids.names, pa.array(ids.order)], schema=_IDS))
    return counts


def _said(record: Record, text: str) -> tuple[int, str, str, str]:
    """What _SAID has of a document beside its text."""
    whole = f"{record.title} {record.text}"
    before = whole[: len(whole) - len(whole.lstrip())]
    return len(record.title), before, whole[len(before) + len(text) :], whole_characters(_JSON.encode(record.more))


def _records(source: Source) -> Iterator[Record]:
    return records(source.path, source.rows())


def _batches(source: Source) -> Iterator[list[Record]]:
    stream = _records(source)
    while batch := list(islice(stream, ROWS)):
        yield batch
