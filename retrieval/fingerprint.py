"""Hashes of files and of values, to tell whether an input changed since a result was computed."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

WHOLE_LIMIT = 256 * 2**20
SAMPLE_BYTES = 2**20
SAMPLES = 64


def fingerprint(paths: Iterable[str | os.PathLike[str]]) -> str:
    """SHA-256 (64 hex digits) over the name, size and content of each file, in the given order.

    A folder stands for all files below it, sorted, named relative to it; where a file lies does not matter.
    Files above 256 MiB are hashed by their size plus 64 evenly spaced samples of 1 MiB, both ends included:
    a change elsewhere in such a file that keeps its size goes unnoticed.
    """
    digest = hashlib.sha256()
    for name, path in _files(paths):
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
