"""The corpus of a BEIR folder: read and checked once, mapped by every process from then on.

A corpus file of 16 MiB or more is read by rank 0 into a folder of the user's cache, found again by the file's content:

    ~/.cache/sparse-retrieval-l0/corpora/<hash>/    XDG_CACHE_HOME in place of ~/.cache
        ids.arrow      ids, and their positions from the highest to the lowest
        texts.arrow    texts, ROWS at a time
        facts.json     which file it was made of, and what was counted on the way

The folder has its name once it is whole. When the next one is made, those go that are of another content of the same
file, of a process that was killed, or opened by nobody for UNUSED_DAYS. A smaller file is read by every process into
the same arrays in memory.
"""

import atexit
import logging
import os
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from retrieval import distributed
from retrieval.beir_files import Record, json_lines, records, repeated
from retrieval.files import has_ended, read_json, require_disk, write_json
from retrieval.fingerprint import KEPT_FROM, cache_folder, corpus_hash, file_hash, hash_of
from retrieval.strings import Ids, Texts
from sparse_model.disk_errors import disk_problem
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of the folders: another one whenever the same file is read otherwise."""
ROWS = 8192
FILES = ("ids.arrow", "texts.arrow")
UNUSED_DAYS = 90
# A byte of JSON makes hardly more than one here; of a packed one, up to six.
BYTES_A_BYTE, BYTES_A_PACKED_BYTE = 1.2, 7

Mend = Callable[[str], str]
_IDS = pa.schema({"id": pa.large_string(), "order": pa.int32()})
_TEXTS = pa.schema({"text": pa.large_string(), "title_words": pa.int32(), "passage_of": pa.large_string()})


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

    def says(self, position: int, query: str) -> bool:
        """Whether a document's title, text or both are the query, but for white space (of Quora it is the text, of
        SCIDOCS the title)."""
        words, wanted = self.texts[position].split(), query.split()
        title = self.title_words[position // ROWS][position % ROWS].as_py()
        return wanted in (words, words[:title], words[title:])


def map_corpus(path: Path, mend: Mend | None = None) -> MappedCorpus:
    """The corpus of a corpus.jsonl or corpus.jsonl.gz. To be called in every process.

    Args:
        mend: a named function that every text goes through; another name is another folder.

    Raises:
        UserError: with file, line and remedy; if there is no room for the folder.
    """
    if path.stat().st_size < KEPT_FROM:
        return _in_memory(path, mend)
    folder = distributed.on_main(lambda: _made(path, mend))
    # On another node, with a cache of its own, each process looks after itself.
    return _mapped(folder if folder.is_dir() else _made(path, mend))


def _in_memory(path: Path, mend: Mend | None) -> MappedCorpus:
    sinks = pa.BufferOutputStream(), pa.BufferOutputStream()
    counts = _write(path, mend, *sinks)
    return _opened([pa.BufferReader(sink.getvalue()) for sink in sinks], {"counts": counts})


def _mapped(folder: Path) -> MappedCorpus:
    return _opened([pa.memory_map(str(folder / name)) for name in FILES], read_json(folder / "facts.json"))


def _opened(files: list[Any], facts: dict[str, Any]) -> MappedCorpus:
    ids, texts = (pa.ipc.open_file(file).read_all() for file in files)
    names, order = (ids.column(name).chunk(0) for name in ("id", "order"))
    corpus, passage_of = facts.get("corpus"), {}
    if facts["counts"]["parts"]:
        wholes = texts.column("passage_of").to_pylist()
        passage_of = {name: whole for name, whole in zip(names.to_pylist(), wholes, strict=True) if whole}
    return MappedCorpus(
        Ids(names, order.to_numpy(), corpus),
        Texts(texts.column("text").chunks, ROWS, corpus),
        texts.column("title_words").chunks,
        passage_of,
        facts["counts"],
    )


def _made(path: Path, mend: Mend | None) -> Path:
    """The folder of this corpus, made now if it is not there."""
    digest, source = file_hash(path), {"file": str(path.resolve()), "mend": mend and mend.__name__}
    root = _root()
    folder = root / hash_of([FORMAT, digest, source["mend"]])
    if not folder.is_dir():
        _remove_stale(root, source)
        by_byte = BYTES_A_PACKED_BYTE if path.suffix == ".gz" else BYTES_A_BYTE
        require_disk(root, int(by_byte * path.stat().st_size), f"reading {path}", "XDG_CACHE_HOME")
        logger.info("%s: is read once, into %s", path, folder)
        _make(folder, path, mend, digest, source)
    with suppress(OSError):  # somebody else's
        os.utime(folder)
    return folder


def _make(folder: Path, path: Path, mend: Mend | None, digest: str, source: dict[str, Any]) -> None:
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        new.mkdir()
        with open(new / FILES[0], "wb") as ids, open(new / FILES[1], "wb") as texts:
            counts = _write(path, mend, ids, texts)
            for file in (ids, texts):
                file.flush()
                os.fsync(file.fileno())
        if file_hash(path) != digest:
            raise UserError(f"{path}: was changed while it was read; run the same command again.")
        write_json(new / "facts.json", {**source, "counts": counts})
        made = _mapped(new)
        write_json(new / "facts.json", {**source, "counts": counts, "corpus": corpus_hash(made.ids, made.texts)})
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


def _remove_stale(root: Path, source: dict[str, Any]) -> None:
    for folder in root.iterdir():
        made_by, facts = folder.name.rpartition(".")[2], read_json(folder / "facts.json")
        is_cut_short = folder.name.startswith(".") and made_by.isdecimal() and has_ended(int(made_by))
        is_older = not folder.name.startswith(".") and source.items() <= facts.items()
        if is_cut_short or is_older or folder.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
            shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, mend: Mend | None, ids_file: Any, texts_file: Any) -> dict[str, int]:
    """Read a corpus file into two Arrow files; what was counted, as `MappedCorpus.counts` has it."""
    counts = {"parts": 0, "halved": 0, "repeated": 0, "empty": 0, "mended": 0}
    names: list[pa.Array] = []
    hashes = array("q")
    with pa.ipc.new_file(texts_file, _TEXTS) as file:
        for batch in _batches(path):
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
    if not names:
        raise UserError(f"{path}: the corpus is empty; expected one JSON object per line with _id, title, text.")
    counts["repeated"] = len(hashes) - len(np.unique(np.frombuffer(hashes, np.int64)))
    ids = Ids(pa.concat_arrays(names))
    if (position := ids.repeated()) is not None:
        raise repeated(path, next(islice(records(path, json_lines(path)), position, None)), "document")
    with pa.ipc.new_file(ids_file, _IDS) as file:
        file.write_batch(pa.record_batch([ids.names, pa.array(ids.order)], schema=_IDS))
    return counts


def _batches(path: Path) -> Iterator[list[Record]]:
    stream = records(path, json_lines(path))
    while batch := list(islice(stream, ROWS)):
        yield batch
