"""Content hashes: the place does not matter; name, size and content do."""

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


def test_large_files_are_sampled_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_LIMIT", 1000)
    monkeypatch.setattr(module, "SAMPLE_BYTES", 10)
    seen = set()
    for changed in (None, 0, 99_999):
        content = bytearray(100_000)
        if changed is not None:
            content[changed] = 1
        (tmp_path / "x").write_bytes(content)
        seen.add(fingerprint([tmp_path / "x"]))
    (tmp_path / "x").write_bytes(bytes(100_001))
    assert len(seen | {fingerprint([tmp_path / "x"])}) == 4
