"""Folders that an evaluation takes in place of a config (a run, one of its checkpoints, a model), and where it writes.

A run of ours holds config.yaml and run.json. Its results are filed inside it; those of another model in
output/<the model's name>.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from experiment.settings.files import read_with_bases
from experiment.settings.keys import GROUPS
from sparse_model.errors import UserError

# Keys of the Trainer's that an evaluation goes by.
TRAINER_KEYS = ("per_device_eval_batch_size", "bf16_full_eval", "fp16_full_eval", "use_cpu", "seed")
TRAINING_DATA = ("train_file", "train_file_dir", "documents")


def run_of(folder: Path) -> Path | None:
    """The run that a folder is, or is a checkpoint of; None if it is neither."""
    place = folder.parent if re.fullmatch(r"checkpoint-\d+", folder.name) else folder
    return place if all((place / name).is_file() for name in ("config.yaml", "run.json")) else None


def asked_folder(config_path: Path | None, overrides: Mapping[str, Any]) -> Path | None:
    """The folder that an evaluation's words name in place of a config; None if they name none."""
    if config_path is not None:
        return config_path if config_path.is_dir() else None
    model = overrides.get("model_name_or_path")
    is_run = isinstance(model, str) and "output_dir" not in overrides and run_of(Path(model)) is not None
    return Path(str(model)) if is_run else None


def as_config(folder: Path, overrides: Mapping[str, Any]) -> tuple[Path | None, dict[str, Any], dict[str, Any]]:
    """(the config file, its keys, the command line's keys) that evaluate what lies in a folder.

    Raises:
        UserError: if that is neither a run nor a model.
    """
    overrides = dict(overrides)
    if Path(str(overrides.get("model_name_or_path"))) == folder:
        del overrides["model_name_or_path"]
    run = run_of(folder)
    if run is None:
        if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
            raise UserError(f"{folder}: neither a run's folder (config.yaml, run.json) nor a model's (config.json).")
        return None, {}, {"model_name_or_path": str(folder), **overrides}
    keys = written_keys(run)
    if "output_dir" in overrides:  # a checkpoint like any other, with results elsewhere
        keys = {key: value for key, value in keys.items() if key not in TRAINING_DATA}
    else:
        keys["output_dir"] = str(run)
    if "output_dir" in overrides or folder != run:
        overrides = {"model_name_or_path": str(folder), **overrides}
    return run / "config.yaml", keys, overrides


def written_keys(run: Path) -> dict[str, Any]:
    """The keys that a run was started with, as they were written.

    Version 0.1 recorded all keys with their values and not which of them were written: then those that differ from
    their default, of the groups that an evaluation goes by.
    """
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if isinstance(record, dict) and isinstance(record.get("given"), dict):
        return dict(record["given"])
    [(_, recorded)] = read_with_bases(run / "config.yaml")
    keys = {key: recorded[key] for key in (*TRAINER_KEYS, *TRAINING_DATA) if recorded.get(key) is not None}
    for name in ("model", "evaluation", "opensearch"):
        for key, field in GROUPS[name].model_fields.items():
            if key in recorded and recorded[key] != field.default:
                keys[key] = recorded[key]
    return keys


def name_of(model: str) -> str:
    """The last part of a folder's path or of a hub id."""
    return Path(model).resolve().name if Path(model).exists() else Path(model).name


def results_of(model: str) -> Path:
    """output/<the model's name>, or a folder beside it if that one holds something else."""
    folder = Path("output", name_of(model))
    return folder if _may_hold(folder, model) else folder.with_name(f"{folder.name}-{_hash(_identity(model))}")


def _may_hold(folder: Path, model: str) -> bool:
    """Whether a folder holds neither a training nor results of another model."""
    if (folder / "run.json").is_file():
        return False
    configs = [*folder.glob("evaluation/config.yaml"), *folder.glob("evaluation/*/config.yaml")]
    return {_scored(path) for path in configs} <= {None, _identity(model)}


def _scored(config: Path) -> str | None:
    """What an evaluation scored; None for a baseline."""
    try:
        model = yaml.safe_load(config.read_text(encoding="utf-8")).get("model_name_or_path")
    except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError):
        return "unknown"
    return None if model is None else _identity(str(model))


def _identity(model: str) -> str:
    """A folder's absolute path, or a hub id."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:6]
