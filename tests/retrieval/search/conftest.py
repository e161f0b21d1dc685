"""Documents, and the command line in a folder of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval.search.__main__ import main
from tests.conftest import SENTENCES, write_jsonl

TEXTS = [" ".join((SENTENCES[i % 6] + " " + SENTENCES[i // 6 % 6]).split()[i % 5 : 7 + i % 11]) for i in range(30)]


def documents(*numbers: int) -> list[dict[str, Any]]:
    return [{"_id": f"d{i}", "title": f"Title {i}" if i % 2 else "", "text": TEXTS[i]} for i in numbers]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", documents(*range(20)))


@pytest.fixture
def search(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, with output/ in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(tiny_model), *map(str, words), "--use-cpu"])
