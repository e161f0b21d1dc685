"""What the folder of a dense model says: where its transformer lies, and how hidden states become one vector."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparse_model.description import read_keys, read_modules, transformer_keys
from sparse_model.errors import UserError
from sparse_model.layout import require_object

POOLINGS = ("cls", "mean", "max")


@dataclass(frozen=True)
class DenseLayout:
    """Where a dense model's transformer lies, and how its hidden states become one vector."""

    folder: Path
    pooling: str
    described: bool  # by the model itself


def dense_layout(folder: Path, pooling: str | None) -> DenseLayout:
    """What modules.json of a sentence-transformers model says; without one, the folder itself and the first token.

    Args:
        pooling: counts instead of what the model says.

    Raises:
        UserError: for modules or a pooling that are not available here.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise UserError(f"pooling: {pooling!r} is none of {', '.join(POOLINGS)}.")
    named = read_modules(folder)
    if not named:
        return DenseLayout(folder, pooling or "cls", False)
    modules, kinds = dict(named), [kind for kind, _ in named]
    if "Transformer" not in kinds or kinds != [
        kind for kind in ("Transformer", "Pooling", "Normalize") if kind in kinds
    ]:
        raise UserError(
            f"{folder} is a sentence-transformers model of {', '.join(kinds)}; a dense teacher consists of "
            "Transformer, Pooling and Normalize."
        )
    if pooling is None and "Pooling" not in modules:
        raise UserError(f"{folder} says nothing of pooling; give pooling: one of {', '.join(POOLINGS)}.")
    if (says := modules["Transformer"] / "sentence_bert_config.json").is_file():
        read_keys(says, transformer_keys("feature-extraction", "last_hidden_state"))
    return DenseLayout(modules["Transformer"], pooling or _stored_pooling(modules["Pooling"]), True)


def check_prompts(folder: Path, prefixes: Mapping[str, str]) -> None:
    """Refuse a model whose texts begin with a prompt, unless a prefix is given in its place.

    Args:
        prefixes: role (query, document) → the prefix that is given.

    Raises:
        UserError: with the prompts, as they are to be given.
    """
    path = folder / "config_sentence_transformers.json"
    asked = _prompts(require_object(path)) if path.is_file() else {}
    missing = [f"{role}_prefix: {text!r}" for role, text in asked.items() if not prefixes[role]]
    if missing:
        raise UserError(f"{path}: prompts: it was trained with texts before its own; give {', '.join(missing)}.")


def _prompts(says: Mapping[str, Any]) -> dict[str, str]:
    """Role (query, document) → the text that was put before each, by any name of the role; roles without: left out.

    Args:
        says: what config_sentence_transformers.json holds.
    """
    named, default = says.get("prompts"), says.get("default_prompt_name")
    if not isinstance(named, dict):
        return {}
    names = {"query": ("query", default), "document": ("document", "passage", "corpus", default)}
    found = {role: next((named[name] for name in of if named.get(str(name))), "") for role, of in names.items()}
    return {role: text for role, text in found.items() if text}


def _stored_pooling(folder: Path) -> str:
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder / 'config.json'} is missing, which modules.json names; fetch the model again, or give pooling: "
            f"one of {', '.join(POOLINGS)}."
        )
    says = require_object(folder / "config.json")
    if says.get("include_prompt") is False:
        raise UserError(
            f"{folder / 'config.json'}: include_prompt: false is not supported: here a prefix's tokens are pooled with "
            f"the rest; give pooling: one of {', '.join(POOLINGS)}, to have them so."
        )
    # Newer versions write {"pooling_mode": "mean"}, older ones {"pooling_mode_mean_tokens": true, …}.
    flags = [key for key, value in says.items() if key.startswith("pooling_mode_") and value is True]
    found = says.get("pooling_mode") or [re.sub("^pooling_mode_|_tokens?$", "", key) for key in flags]
    found = [found] if isinstance(found, str) else found
    if len(found) != 1 or found[0] not in POOLINGS:
        raise UserError(f"{folder / 'config.json'} asks for {found}; give pooling: one of {', '.join(POOLINGS)}.")
    return found[0]
