"""A hub's cache on this disk with made-up repositories in it, as `snapshot_download` would have left them."""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

from sparse_model.pins import PINS
from tests.conftest import wordpiece_tokenizer
from tests.remote_code.configuration import RotaryConfig
from tests.remote_code.modeling import RotaryForMaskedLM, RotaryModel

CODE = "Alibaba-NLP/new-impl"
OTHER_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_SOURCES = Path(__file__).parent / "remote_code"


def add_repository(hub: Path, name: str, folder: Path, commit: str | None = None, kind: str = "models") -> Path:
    """The folder's files as those of a repository at this commit (None: at its pin, else any), its newest one.

    A snapshot's files are links to others that bear their hashes as names.
    """
    commit = commit or PINS.get(name, OTHER_COMMIT)
    place = hub / f"{kind}--{name.replace('/', '--')}"
    for part in ("refs", "blobs"):
        (place / part).mkdir(parents=True, exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    snapshot = Path(shutil.copytree(folder, place / "snapshots" / commit))
    for file in [file for file in snapshot.rglob("*") if file.is_file()]:
        blob = place / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        file.replace(blob)
        file.symlink_to(os.path.relpath(blob, file.parent))
    return snapshot


def add_code(hub: Path, commit: str | None = None, name: str = CODE) -> Path:
    """The repository that holds the code of `make_remote`'s models."""
    files = shutil.ignore_patterns("__*__*")
    copied = shutil.copytree(_SOURCES, hub / "sources", ignore=files)
    place = add_repository(hub, name, copied, commit)
    shutil.rmtree(copied)
    return place


def make_remote(
    folder: Path, masked_lm: bool = False, code: str = CODE, positions: int = 64
) -> RotaryModel | RotaryForMaskedLM:
    """A model whose class lies in the repository `code` ("": in its own folder), with random weights."""
    tokenizer = wordpiece_tokenizer(positions)
    torch.manual_seed(7)
    config = RotaryConfig(vocab_size=len(tokenizer), max_position_embeddings=positions)
    model = (RotaryForMaskedLM if masked_lm else RotaryModel)(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    says, kind = json.loads((folder / "config.json").read_text()), "AutoModelForMaskedLM" if masked_lm else "AutoModel"
    prefix = f"{code}--" if code else ""
    says["auto_map"] = {
        "AutoConfig": f"{prefix}configuration.RotaryConfig",
        kind: f"{prefix}modeling.{type(model).__name__}",
    }
    (folder / "config.json").write_text(json.dumps(says))
    if not code:
        for file in ("configuration.py", "modeling.py"):
            shutil.copy(_SOURCES / file, folder)
    return model.eval()


def use_hub(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process look for repositories there, and keep what code it runs beside them."""
    for name in ("huggingface_hub.constants.HF_HUB_CACHE", "transformers.utils.hub.TRANSFORMERS_CACHE"):
        monkeypatch.setattr(name, str(hub), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(hub / "modules"))
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(hub / "modules")
