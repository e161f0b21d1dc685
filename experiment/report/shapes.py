"""What an evaluation made of a model's vectors before it searched them: cuts and the lexical share, for names."""

from collections.abc import Mapping
from typing import Any

Shape = dict[str, Any]
"""The keys that differ from their defaults; {} of vectors as the model gave them."""

DEFAULTS = {
    "max_active_dims": None,
    "prune_ratio": None,
    "cut_by": "weight",
    "lexical_share": None,
    "lexical_idf": None,
}
FREE = "start model, cut"
"""The family of the model that training started from, as it is and cut: what costs no training."""


def shape_of(config: Mapping[str, Any], name: str) -> Shape:
    """The shape that an evaluation's config and its folder's name agree on."""
    found = {key: config.get(key, default) for key, default in DEFAULTS.items()}
    return {key: value for key, value in found.items() if value != DEFAULTS[key] and _part(key, value) in name}


def without_shape(name: str, shape: Shape) -> str:
    """An evaluation's name but for its shape; "" if that is all that it says."""
    rest = f"_{name}_"
    for key, value in shape.items():
        rest = rest.replace(f"_{_part(key, value)}_", "_")
    return rest[1:-1]


def _part(key: str, value: Any) -> str:
    return f"{key}-{str(value).lower()}"


def label(shape: Shape) -> str:
    """What sets it apart on its curve: "k = 48", "ratio 0.2"; "uncut" if it is not cut."""
    words = {"max_active_dims": "k = {}", "prune_ratio": "ratio {:g}"}
    return ", ".join(text.format(shape[key]) for key, text in words.items() if key in shape) or "uncut"


def curve(shape: Shape) -> str:
    """What all vectors on its curve have in common: "cut", "share 0.25", "share 0.25 × IDF, cut by rarity"; or ""."""
    parts = []
    if shape.get("lexical_share"):
        parts.append(f"share {shape['lexical_share']}" + (" × IDF" if "lexical_idf" in shape else ""))
    if "cut_by" in shape:
        parts.append("cut by rarity")
    elif not parts and any(shape.values()):
        parts.append("cut")
    return ", ".join(parts)
