"""Mistakes that python -m retrieval.opensearch.serve tells before any server is asked."""

from pathlib import Path

import pytest

from retrieval.opensearch import client
from retrieval.opensearch.serve import main


def test_mistakes_of_numbers_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("cold rain")
    words = ["model", str(tmp_path), "--url", "http://127.0.0.1:1"]
    assert main([*words, "--hits", "0", "--shards", "0", "--replicas", "-1", "--threads", "0"]) == 2
    said = capsys.readouterr().err
    for line in ("--hits 0: 1 or more", "--shards 0: 1 or more", "--replicas -1: 0 or more", "--threads 0: 1 or more"):
        assert line in said
    assert main([*words, "--ca", str(tmp_path / "gone")]) == 2
    assert "gone: no such file" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told_in_the_commands_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No word of an evaluation's keys."""
    monkeypatch.setattr(client, "FIRST_CONTACT_S", 0.1)
    (tmp_path / "a.txt").write_text("cold rain")
    for url, expected in (
        ("http://127.0.0.1:9", "--url: http://127.0.0.1:9: nothing answers"),
        ("127.0.0.1:9", "--url: not an address; write http://host:9200"),
    ):
        assert main(["model", str(tmp_path), "--url", url]) == 2
        said = capsys.readouterr().err
        assert expected in said and "opensearch_" not in said
