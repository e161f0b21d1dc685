"""Content hashes: the place does not matter; name, size and content do."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from retrieval import fingerprint as module
from retrieval.fingerprint import fingerprint


def test_depends_on_content_and_name_only(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "x.txt").write_text("one")
    assert fingerprint([tmp_path / "a"]) == fingerprint([tmp_path / "b"])
    assert len(fingerprint([tmp_path / "a" / "sub" / "x.txt"])) == 64
    before = fingerprint([tmp_path / "a"])
    (tmp_path / "a" / "sub" / "x.txt").write_text("two")
    changed = fingerprint([tmp_path / "a"])
    (tmp_path / "a" / "sub" / "x.txt").rename(tmp_path / "a" / "sub" / "y.txt")
    assert len({before, changed, fingerprint([tmp_path / "a"])}) == 3


def test_by_hand(tmp_path: Path) -> None:
    """Length of the name, name, size, content: hashes of results that were recorded stay what they are."""
    (tmp_path / "ab").write_bytes(b"xyz")
    assert fingerprint([tmp_path / "ab"]) == sha256(b"2:ab:3:xyz").hexdigest()


def test_large_files_count_as_a_whole(tmp_path: Path) -> None:
    """300 MiB of nothing: one byte in its midst makes another hash."""
    path = tmp_path / "x"
    with open(path, "wb") as file:
        file.truncate(300 * 2**20)
    before = fingerprint([path])
    with open(path, "r+b") as file:
        file.seek(150 * 2**20 + 12_345)
        file.write(b"!")
    assert fingerprint([path]) != before


def test_what_was_hashed_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept by size, inode and both times; not of what was written a moment ago, whose times may not change again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "KEPT_FROM", 3)
    path = tmp_path / "x"
    path.write_text("one")
    seen: list[int] = []
    digest = module._digest
    monkeypatch.setattr(module, "_digest", lambda files: seen.append(1) or digest(files))
    first, again = fingerprint([path]), fingerprint([path])
    assert first == again and len(seen) == 2 and not (tmp_path / "cache").exists(), "written a moment ago"
    monkeypatch.setattr(module, "RECENT_S", -60.0)
    assert [fingerprint([path]), fingerprint([path])] == [first, first] and len(seen) == 3
    module._known.clear()
    assert fingerprint([path]) == first and len(seen) == 3, "kept on the disk"
    times = path.stat()
    path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint([path]) != first, "the time of the content was put back; that of the change cannot be"


def test_what_changes_while_it_is_hashed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT_S", -60.0)
    monkeypatch.setattr(module, "_known", {})
    path = tmp_path / "x"
    path.write_text("one")
    digest = module._digest

    def meanwhile(files: list[tuple[str, Path]]) -> str:
        found = digest(files)
        path.write_text("another")
        return found

    monkeypatch.setattr(module, "_digest", meanwhile)
    fingerprint([path])
    assert module._known == {}
    monkeypatch.setattr(module, "_digest", digest)
    fingerprint([path])
    assert len(module._known) == 1
