"""Hashes of files and of values, to tell whether an input changed since a result was computed."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# From here on a hash is kept on the disk, beside the one of this process.
KEPT_FROM = 16 * 2**20
FORMAT = 1  # of kept hashes: another one whenever the digest is made otherwise
WHOLE_LIMIT = 256 * 2**20
SAMPLE_BYTES = 2**20
SAMPLES = 64


def fingerprint(paths: Iterable[str | os.PathLike[str]]) -> str:
    """SHA-256 (64 hex digits) over the name, size and content of each file, in the given order.

    A folder stands for all files below it, sorted, named relative to it; where a file lies does not matter.
    Files above 256 MiB are hashed by their size plus 64 evenly spaced samples of 1 MiB, both ends included:
    a change elsewhere in such a file that keeps its size goes unnoticed.

    What was hashed once is not read again while size, inode and both times of every file are the same.
    """
    files = list(_files(paths))
    states = [(name, str(path.resolve()), *_state(path)) for name, path in files]
    key = hash_of(states)
    if key not in _known:
        is_large = sum(path.stat().st_size for _, path in files) >= KEPT_FROM
        kept = _kept(key) if is_large else None
        _known[key] = kept or _digest(files)
        if is_large and kept is None:
            _keep(key, _known[key])
    return _known[key]


_known: dict[str, str] = {}


def _state(path: Path) -> tuple[int, ...]:
    """What changes when a file is written."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def _cache_file(key: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "sparse-retrieval-l0", f"hashes-{FORMAT}", key)


def _kept(key: str) -> str | None:
    try:
        text = _cache_file(key).read_text()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return None
    return text if len(text) == 64 else None


def _keep(key: str, digest: str) -> None:
    with suppress(OSError, RuntimeError):  # no home, or one that cannot be written: it is hashed again next time
        path = _cache_file(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{key}.{os.getpid()}")
        temporary.write_text(digest)
        temporary.replace(path)


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, path in files:
        size = path.stat().st_size
        digest.update(f"{len(name.encode())}:{name}:{size}:".encode())
        with open(path, "rb") as file:
            if size <= WHOLE_LIMIT:
                _update_whole(digest, file)
            else:
                for i in range(SAMPLES):
                    file.seek((size - SAMPLE_BYTES) * i // (SAMPLES - 1))
                    digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[str, Path]]:
    for path in map(Path, paths):
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                yield file.relative_to(path).as_posix(), file
        else:
            yield path.name, path


def _update_whole(digest: Any, file: Any) -> None:
    while chunk := file.read(SAMPLE_BYTES):
        digest.update(chunk)


def hash_of(value: Any) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def corpus_hash(doc_ids: Sequence[str], texts: Sequence[str]) -> str:
    """16 hex digits over a corpus's ids and texts; the same for every split."""
    digest = hashlib.sha256()
    for part in (doc_ids, texts):
        for text in part:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()[:16]
