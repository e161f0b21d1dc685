"""Results of an evaluation: the folder they are filed in, and the inputs that they belong to."""

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from experiment.run.folder import read_yaml
from experiment.run.models import (
    LOADED_ANYWAY,
    VECTOR_KEYS,
    files_beside,
    model_files,
    model_path,
    overriding,
    scores_own_model,
)
from experiment.settings.effects import Changes
from experiment.settings.keys import GROUP_OF, effect, keys_that_change
from experiment.settings.settings import Settings
from retrieval.beir_data import data_files, local_folder
from retrieval.dataset_names import parse_name, scored_split
from retrieval.files import read_json
from retrieval.fingerprint import fingerprint, hash_of
from retrieval.metrics import DEFAULT_METRICS, figure_name
from sparse_model.errors import UserError

# Beside the model: what changes a ranking; where it differs from its default it names the results' folder.
RESULT_KEYS = [key for key in keys_that_change(Changes.VECTORS | Changes.RESULT) if GROUP_OF.get(key) != "model"]


def evaluation_folder(settings: Settings) -> Path:
    """output_dir/evaluation, or a folder in it for other than default settings."""
    folder = settings.output_dir / "evaluation"
    name = settings.evaluation.evaluation_name
    if name is None:
        differing = settings.other_than_default(RESULT_KEYS)
        other = overriding(settings)
        if not settings.trains:
            other.pop("model_name_or_path", None)  # it names the output folder already
        checkpoint = _own_checkpoint(settings.config_path, settings.output_dir, other)
        differing |= settings.old_names.as_written(other)
        name = "_".join([*checkpoint, *(f"{key}-{_short(value)}" for key, value in differing.items())])
    return folder / name if name else folder


def _own_checkpoint(config: Path | None, output_dir: Path, other: dict[str, Any]) -> list[str]:
    """The name of the run's checkpoint that is scored in place of its last one, taken out of `other`."""
    path = Path(str(other.get("model_name_or_path", "")))
    if config != output_dir / "config.yaml" or path.parent != output_dir:
        return []
    del other["model_name_or_path"]
    return [path.name]


def result_inputs(settings: Settings) -> dict[str, Any]:
    """What a result depends on beside the data: the model's name, and a hash over files and keys that change it."""
    if settings.evaluation.baseline:
        return {"model": settings.evaluation.baseline, "config hash": hash_of(_result_keys(settings))}
    given = settings.given_values(VECTOR_KEYS)
    written = settings.old_names.as_written(given) | {
        name: value for name, value in settings.old_names.values.items() if name == "use_l0"
    }
    return {"model": model_path(settings), "config hash": _hash(settings, given, written)}


def recorded_inputs(settings: Settings, folder: Path) -> dict[str, Any]:
    """As `result_inputs`; those of the results in `folder` if they are of these settings in other words."""
    inputs = result_inputs(settings)
    recorded = read_json(folder / "summary.json").get("config hash")
    if recorded is None or settings.evaluation.baseline or not scores_own_model(settings):
        return inputs
    return inputs | {"config hash": recorded} if recorded in _in_other_words(settings) else inputs


def _in_other_words(settings: Settings) -> Iterator[str]:
    """The hashes of the same results of a run, which are over the model's keys as they were written.

    What the checkpoint says of itself counts, whatever a config says that was edited since: the words of the training
    may stand for it. A run of version 0.1 does not say which these were: every choice among its keys may be it.
    """
    given, asked = settings.given_values(VECTOR_KEYS), settings.on_command_line(VECTOR_KEYS)
    trained = read_json(settings.output_dir / "run.json").get("given")
    if isinstance(trained, dict):
        told = {*VECTOR_KEYS, "use_l0"} - {*LOADED_ANYWAY, *asked}
        words = {key: value for key, value in given.items() if key not in told}
        words |= {key: value for key, value in trained.items() if key in told}
        yield _hash(settings, words, words)
    elif settings.config_path == settings.output_dir / "config.yaml":
        config = read_yaml(settings.config_path)
        unsure = [key for key in (*VECTOR_KEYS, "use_l0") if key in config and key not in asked]
        for choice in (choice for n in range(len(unsure) + 1) for choice in combinations(unsure, n)):
            yield _hash(settings, given, asked | {key: config[key] for key in choice})


def _hash(settings: Settings, given: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """Of the given keys of the model: its files, those that they name, and the keys as they are written."""
    files = fingerprint([*model_files(model_path(settings)), *files_beside(given)])
    return hash_of(_result_keys(settings) | {"model keys": written, "files": files})


def _result_keys(settings: Settings) -> dict[str, Any]:
    by_default = {key: settings.value(key) for key in RESULT_KEYS if effect(key).by_default}
    return by_default | settings.other_than_default(RESULT_KEYS)


def metrics_of(record: Mapping[str, Any]) -> list[str]:
    """The names of a result's metrics; version 0.1 had no other than today's default."""
    return record.get("metrics", list(map(figure_name, DEFAULT_METRICS)))


def data_hash(name: str, beir_dir: str, split: str | None) -> str | None:
    """A hash of a data set's files, as `load_beir` gives it; None where the data set is not on this disk."""
    folder = local_folder(parse_name(name)[0], beir_dir)
    try:
        return None if folder is None else fingerprint(data_files(folder, scored_split(name, split)))[:16]
    except UserError:
        return None


def _short(value: Any) -> str:
    """A value as part of a folder's name; of a path its last part and a hash of the whole."""
    text = str(value)
    if "/" in text:
        text = f"{Path(text).name}-{hash_of(text)[:6]}"
    return re.sub(r"[^\w.=-]+", "-", text).strip("-").lower() or "none"
