"""The files of a run folder as the report reads them: damaged ones are named, missing ones are empty."""

import json
import math
from pathlib import Path
from typing import Any

import yaml

from sparse_model.errors import UserError


def read_failure(path: Path) -> list[str]:
    """What a sweep recorded of a failed run: the step, then the last lines of its log."""
    if not path.is_file():
        return []
    record = read_object(path)
    lines = record.get("last lines")
    return [f"step: {record.get('step', 'not recorded')}", *(map(str, lines) if isinstance(lines, list) else ())]


def read_config(path: Path) -> dict[str, Any]:
    """The keys of a config.yaml by today's names; {} without one."""
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({error}); restore it or leave this run out") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: holds no 'key: value' lines; restore it or leave this run out")
    if config.pop("use_l0", False) and config.get("activation_type") in (None, "relu"):
        config["activation_type"] = "l1_relu"  # which version 0.1 called so
    return config


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The logged lines; one that a killed run left half written is skipped and noted."""
    if not path.is_file():
        return [], []
    lines, skipped = [], 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            line = None
        if isinstance(line, dict):
            lines.append(line)
        else:
            skipped += bool(text.strip())
    return lines, [f"metrics.jsonl: {skipped} unreadable line(s) skipped"] if skipped else []


def read_object(path: Path) -> dict[str, Any]:
    """A mapping from a JSON file.

    Raises:
        UserError: if it is damaged or holds something else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); remove it, or run its command again") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds no figures; remove it, or run its command again")
    return record


def finite(value: Any) -> bool:
    """Whether a value read from a file can be drawn or averaged."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
