"""Hashes of files and of values, to tell whether an input changed since a result was computed."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from retrieval.files import write_atomically
from sparse_model.manifest import sha256_of

# From here on a hash is kept on the disk, beside the one of this process.
KEPT_FROM = 16 * 2**20
FORMAT = 2  # of kept hashes: another one whenever the digest is made otherwise
CHUNK = 2**20
# A file that was written so short a time ago may be written again without another time (disks count in up to 2 s).
RECENT_S = 3.0


def fingerprint(paths: Iterable[str | os.PathLike[str]]) -> str:
    """SHA-256 (64 hex digits) over the name, size and whole content of each file, in the given order.

    A folder stands for all files below it, sorted, named relative to it; where a file lies does not matter.

    What was hashed once is not read again while size, inode and both times of every file are the same, and none of
    them was written in the last seconds.
    """
    return _once("", list(_files(paths)), _digest)


def file_hash(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's content alone, kept as a fingerprint is."""
    return _once("content", [(path.name, path)], lambda files: sha256_of(path))


def _once(kind: str, files: Sequence[tuple[str, Path]], digest_of: Callable[[Iterable[tuple[str, Path]]], str]) -> str:
    states = _states(files)
    key = hash_of([kind, states])
    if found := _known.get(key) or _kept(key):
        return found
    digest = digest_of(files)
    if _states(files) == states and _are_settled(files):
        _known[key] = digest
        if sum(path.stat().st_size for _, path in files) >= KEPT_FROM:
            _keep(key, digest)
    return digest


_known: dict[str, str] = {}


def _states(files: Iterable[tuple[str, Path]]) -> list[tuple[str | int, ...]]:
    """What changes when a file is written."""
    found = ((name, path, path.stat()) for name, path in files)
    return [
        (name, str(path.resolve()), of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino, of.st_dev)
        for name, path, of in found
    ]


def _are_settled(files: Iterable[tuple[str, Path]]) -> bool:
    return all(path.stat().st_ctime < time.time() - RECENT_S for _, path in files)


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept for this user.

    Raises:
        RuntimeError: there is no home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sparse-retrieval-l0", name)


def _cache_file(key: str) -> Path:
    return cache_folder(f"hashes-{FORMAT}") / key


def _kept(key: str) -> str | None:
    try:
        text = _cache_file(key).read_text()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return None
    return text if len(text) == 64 else None


def _keep(key: str, digest: str) -> None:
    with suppress(OSError, RuntimeError):  # no home, or one that cannot be written: it is hashed again next time
        write_atomically(_cache_file(key), digest)


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(b"%d:%s:%d:" % (len(os.fsencode(name)), os.fsencode(name), path.stat().st_size))
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[str, Path]]:
    for path in map(Path, paths):
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                yield file.relative_to(path).as_posix(), file
        else:
            yield path.name, path


def hash_of(value: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def text_key(text: str) -> bytes:
    """12 bytes that texts share which differ only in case and white space."""
    folded = " ".join(text.lower().split())
    return hashlib.blake2b(folded.encode(errors="replace"), digest_size=12).digest()


def corpus_hash(doc_ids: Sequence[str], texts: Sequence[str]) -> str:
    """16 hex digits over a corpus's ids and texts; the same for every split. Of a mapped corpus it is known."""
    known = getattr(doc_ids, "corpus_hash", None)
    if known and known == getattr(texts, "corpus_hash", None):
        return known
    digest = hashlib.sha256()
    for part in (doc_ids, texts):
        for text in part:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()[:16]
