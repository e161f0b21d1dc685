"""Folders of other programs, and damaged ones: what they say is obeyed, or refused by file and key."""

import io
import json
import sys
from pathlib import Path

import pytest

import sparse_model
from sparse_model import UserError
from tests.conftest import make_model


def rewrite(path: Path, **changes: object) -> Path:
    """Change keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_nobody_is_asked_whether_code_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a class of its own, and "y" on standard input."""
    folder = make_model(tmp_path / "model")
    own = {"AutoConfig": "own.C", "AutoTokenizer": ["own.T", None], "AutoModelForMaskedLM": "own.M"}
    rewrite(folder / "config.json", model_type="own", auto_map=own)
    rewrite(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.T", "own.T"]}, tokenizer_class="T")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\nT = M = C\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(UserError, match="trust_remote_code"):
        sparse_model.load(folder)
    assert not (tmp_path / "ran").exists() and sys.stdin.tell() == 0
