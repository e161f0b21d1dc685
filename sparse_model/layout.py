"""Where a model lies (a folder, the hub's cache), its tokenizer, and its JSON files. torch is not needed for it."""

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from sparse_model.errors import UserError
from sparse_model.manifest import check_manifest
from sparse_model.pins import code_of, repository_and_revision

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")


def resolve(name_or_path: str, key: str = "model_name_or_path", with_code: bool = False) -> Path:
    """The local folder of a model or tokenizer: itself, or a hub repository fetched into the cache.

    Args:
        name_or_path: a folder, a hub id, or id@revision; without a revision that of `pins.PINS`, else the newest.
        key: what messages begin with; with_code: fetch Python files too.

    Raises:
        UserError: if there is no such folder and the hub does not answer with one.
    """
    if not isinstance(name_or_path, str) or not name_or_path.strip():
        raise UserError(f"{key}: {name_or_path!r} is no folder and no hub id.")
    path = Path(name_or_path)
    if os.path.isdir(path):  # which bears names that none can be
        return path
    repository, revision = repository_and_revision(name_or_path)
    if os.path.exists(path) or is_path(repository):
        raise UserError(f"{key}: there is no folder {path}.")
    from huggingface_hub import snapshot_download

    try:
        # Weights as safetensors where the repository has them; a .bin is read with weights_only by transformers.
        kinds = ("*.json", "*.txt", "*.model", "*.safetensors")
        patterns = [*kinds, *(f"*/{kind}" for kind in kinds)]
        patterns += ["*.py"] if with_code else []
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
        if not any(folder.rglob("*.safetensors")):
            patterns.append("pytorch_model*.bin")
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
        return folder
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key}: {name_or_path} is neither a folder nor a hub repository that can be reached "
            f"({type(error).__name__}{f', at {revision}' if revision else ''}). Check the name, or fetch the model "
            "once where there is a network."
        ) from None


def is_path(name_or_path: str) -> bool:
    """Whether it can be no hub id."""
    return name_or_path.startswith(("/", ".", "~")) or name_or_path.count("/") > 1


def dtype_argument(dtype: Any) -> dict[str, Any]:
    """The dtype as from_pretrained takes it: transformers 4.56 renamed the argument."""
    version = tuple(map(int, metadata.version("transformers").split(".")[:2]))
    return {"dtype" if version >= (4, 56) else "torch_dtype": dtype}


def load_tokenizer(
    name_or_path: str, key: str = "tokenizer_name", trust_remote_code: bool = False, code_revision: str | None = None
) -> Any:
    """The fast tokenizer of a folder or hub id; of its own code see `pins.code_of`.

    Raises:
        UserError: beginning with `key`, if there is none.
    """
    folder = resolve(name_or_path, key, with_code=trust_remote_code)
    check_manifest(folder, only=lambda name: not name.endswith(".safetensors"))
    # transformers would make up an empty tokenizer where there are no files.
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise UserError(f"{key}: {name_or_path} holds no tokenizer (no tokenizer.json).")
    if (folder / "tokenizer_config.json").is_file():
        require_object(folder / "tokenizer_config.json")
    from transformers import AutoTokenizer  # slow to import; a config's other mistakes are told without it

    try:
        # Unless it is said, transformers asks on the terminal whether code may run.
        code = code_of(folder, trust_remote_code, code_revision)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=code.trusted, **code.revision)
    except Exception as error:  # whatever a tokenizer's files make transformers raise
        raise UserError(f"{key}: {name_or_path} holds no tokenizer that can be read: {error}") from None
    if not tokenizer.is_fast:
        raise UserError(f"{key}: {name_or_path} has no fast tokenizer (tokenizer.json).")
    longest = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, (int, float)) or not (longest >= 1 and longest % 1 == 0):
        path = folder / "tokenizer_config.json"
        raise UserError(f"{key}: {path}: model_max_length: {longest!r} is no number of tokens.")
    tokenizer.model_max_length = int(longest)
    return tokenizer


def require_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: if there is no such file, or it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def require_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        UserError: if there is no such file, or it holds none.
    """
    says = require_json(path)
    if not isinstance(says, dict):
        raise UserError(f"{path} cannot be used: a JSON object is needed, not {str(says)[:60]}.")
    return says


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, in a folder that is made if it is not there."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
