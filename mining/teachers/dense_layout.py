"""What the folder of a dense model says: where its transformer lies, and how hidden states become one vector."""

import re
from dataclasses import dataclass
from pathlib import Path

from sparse_model.errors import UserError
from sparse_model.layout import read_modules, require_json

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
    modules = dict(read_modules(folder))
    if not modules:
        return DenseLayout(folder, pooling or "cls", False)
    others = set(modules) - {"Transformer", "Pooling", "Normalize"}
    if others or "Transformer" not in modules:
        raise UserError(
            f"{folder} is a sentence-transformers model of {', '.join(modules)}; a dense teacher consists of "
            "Transformer, Pooling and Normalize."
        )
    if pooling is None and "Pooling" not in modules:
        raise UserError(f"{folder} says nothing of pooling; give pooling: one of {', '.join(POOLINGS)}.")
    return DenseLayout(modules["Transformer"], pooling or _stored_pooling(modules["Pooling"]), True)


def _stored_pooling(folder: Path) -> str:
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder / 'config.json'} is missing, which modules.json names; fetch the model again, or give pooling: "
            f"one of {', '.join(POOLINGS)}."
        )
    says = require_json(folder / "config.json")
    # Newer versions write {"pooling_mode": "mean"}, older ones {"pooling_mode_mean_tokens": true, …}.
    flags = [key for key, value in says.items() if key.startswith("pooling_mode_") and value is True]
    found = says.get("pooling_mode") or [re.sub("^pooling_mode_|_tokens?$", "", key) for key in flags]
    found = [found] if isinstance(found, str) else found
    if len(found) != 1 or found[0] not in POOLINGS:
        raise UserError(f"{folder / 'config.json'} asks for {found}; give pooling: one of {', '.join(POOLINGS)}.")
    return found[0]
