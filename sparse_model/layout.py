"""What a model's folder says: where it lies (a folder, the hub's cache), its modules, its tokenizer, its length.

No model is read here, and torch is not needed.
"""

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sparse_model.activations import ACTIVATIONS
from sparse_model.errors import UserError

# As stored, and under our own names: a checkpoint may say either.
_OUR_NAMES = {kind.stored_name: name for name, kind in ACTIVATIONS.items()} | {name: name for name in ACTIVATIONS}

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of itself; None where it says nothing (a plain masked LM says nothing at all)."""

    activation_type: str | None = None
    max_seq_length: Any = None  # not checked yet
    length_file: Path | None = None  # which says it
    inf_free: bool | None = None
    query_folder: Path | None = None  # holds the query table
    mlm_subfolder: str = ""


def resolve(name_or_path: str, key: str = "model_name_or_path", with_code: bool = False) -> Path:
    """The local folder of a model or tokenizer: itself, or a hub repository fetched into the cache.

    Args:
        key: what messages begin with; with_code: fetch Python files too.

    Raises:
        UserError: if there is no such folder and the hub does not answer with one.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if path.exists() or is_path(name_or_path):
        raise UserError(f"{key}: there is no folder {path}.")
    from huggingface_hub import snapshot_download

    try:
        # Weights as safetensors where the repository has them; a .bin is read with weights_only by transformers.
        kinds = ("*.json", "*.txt", "*.model", "*.safetensors")
        patterns = [*kinds, *(f"*/{kind}" for kind in kinds)]
        patterns += ["*.py"] if with_code else []
        folder = Path(snapshot_download(name_or_path, allow_patterns=patterns))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name_or_path, allow_patterns=[*patterns, "pytorch_model*.bin"]))
        return folder
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key}: {name_or_path} is neither a folder nor a hub repository that can be reached "
            f"({type(error).__name__}). Check the name, or fetch the model once where there is a network."
        ) from None


def is_path(name_or_path: str) -> bool:
    """Whether it can be no hub id."""
    return name_or_path.startswith(("/", ".", "~")) or name_or_path.count("/") > 1


def describe(folder: Path) -> Description:
    """Read modules.json and what it names; an empty Description where there is none.

    Raises:
        UserError: if the modules are not those of a sparse encoder (a dense model, sum pooling, …).
    """
    modules = read_modules(folder)
    if not modules:
        return Description()
    router = next((path for name, path in modules if name == "Router"), None)
    query_folder = None
    if router is not None:
        routes = require_json(router / "router_config.json")
        if "types" not in routes or not {"query", "document"} <= set(routes.get("structure", {})):
            raise UserError(f"{router / 'router_config.json'} has no routes query and document: not a sparse encoder.")
        of = {name: (_class_name(kind), router / name) for name, kind in routes["types"].items()}
        query = [of[name] for name in routes["structure"]["query"]]
        query_folder = next((path for name, path in query if name == "SparseStaticEmbedding"), None)
        modules = [of[name] for name in routes["structure"]["document"]]
    found = dict(modules)
    mlm, pooling = found.get("MLMTransformer") or found.get("Transformer"), found.get("SpladePooling")
    if mlm is None or pooling is None:
        raise UserError(f"{folder} is a sentence-transformers model of {list(found)}, not a sparse masked LM.")
    says = require_json(pooling / "config.json")
    activation = _OUR_NAMES.get(says.get("activation_function", "relu"))
    if activation is None or says.get("pooling_strategy", "max") != "max":
        raise UserError(f"{pooling / 'config.json'}: only max pooling with {sorted(_OUR_NAMES)} can be used.")
    length_file = mlm / "sentence_bert_config.json"
    length = require_json(length_file).get("max_seq_length") if length_file.is_file() else None
    return Description(
        activation, length, length_file, query_folder is not None, query_folder, str(mlm.relative_to(folder))
    )


def read_modules(folder: Path) -> list[tuple[str, Path]]:
    """(class, folder) of each module that a sentence-transformers model names in modules.json; [] without one."""
    if not (folder / "modules.json").is_file():
        return []
    return [(_class_name(m["type"]), folder / m["path"]) for m in require_json(folder / "modules.json")]


def dtype_argument(dtype: Any) -> dict[str, Any]:
    """The dtype as from_pretrained takes it: transformers 4.56 renamed the argument."""
    version = tuple(map(int, metadata.version("transformers").split(".")[:2]))
    return {"dtype" if version >= (4, 56) else "torch_dtype": dtype}


def load_tokenizer(name_or_path: str, key: str = "tokenizer_name", trust_remote_code: bool = False) -> Any:
    """The fast tokenizer of a folder or hub id.

    Raises:
        UserError: beginning with `key`, if there is none.
    """
    folder = resolve(name_or_path, key, with_code=trust_remote_code)
    # transformers would make up an empty tokenizer where there are no files.
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise UserError(f"{key}: {name_or_path} holds no tokenizer (no tokenizer.json).")
    from transformers import AutoTokenizer  # slow to import; a config's other mistakes are told without it

    try:
        # Unless it is said, transformers asks on the terminal whether code may run.
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # whatever a tokenizer's files make transformers raise
        raise UserError(f"{key}: {name_or_path} holds no tokenizer that can be read: {error}") from None
    if not tokenizer.is_fast:
        raise UserError(f"{key}: {name_or_path} has no fast tokenizer (tokenizer.json).")
    return tokenizer


def _class_name(dotted: str) -> str:
    return dotted.rsplit(".", 1)[-1]


def require_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: if there is no such file, or it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, in a folder that is made if it is not there."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
