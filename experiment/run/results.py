"""Results of an evaluation: the folder they are filed in, and the inputs that they belong to."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from experiment.run.folder import read_yaml
from experiment.run.models import (
    LOADED_ANYWAY,
    VECTOR_KEYS,
    asked_model,
    files_beside,
    model_files,
)
from experiment.settings.effects import Changes
from experiment.settings.keys import GROUP_OF, keys_that_change
from experiment.settings.old_keys import IN_EFFECT
from experiment.settings.settings import Settings
from retrieval.beir_data import data_files, local_folder
from retrieval.dataset_names import parse_name, scored_split
from retrieval.files import read_json
from retrieval.fingerprint import fingerprint, hash_of
from retrieval.metrics import DEFAULT_METRICS, figure_name
from sparse_model.errors import UserError

# Beside the model: what changes a ranking; where it differs from its default it names the results' folder.
RESULT_KEYS = [key for key in keys_that_change(Changes.VECTORS | Changes.RESULT) if GROUP_OF.get(key) != "model"]
OF_BM25 = "bm25_language"


def _result_keys(settings: Settings) -> list[str]:
    """RESULT_KEYS; BM25's own change no model's results."""
    return [key for key in RESULT_KEYS if settings.evaluation.baseline or key != OF_BM25]


def evaluation_folder(settings: Settings) -> Path:
    """output_dir/evaluation, or a folder in it for other than default settings."""
    folder = settings.output_dir / "evaluation"
    name = settings.evaluation.evaluation_name
    if name is None:
        differing = settings.other_than_default(_result_keys(settings))
        other = dict(asked_model(settings).overriding)
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
    counting = settings.counting(_result_keys(settings))
    if settings.evaluation.baseline:
        return {"model": settings.evaluation.baseline, "config hash": hash_of(counting)}
    path, given = asked_model(settings).path, settings.given_values(VECTOR_KEYS)
    written = settings.old_names.as_written(given) | settings.old_names.in_effect
    return {"model": path, "config hash": _hash(path, counting, given, written)}


def recorded_inputs(settings: Settings, folder: Path) -> dict[str, Any]:
    """As `result_inputs`; those of the results in `folder` if they are of these settings in other words.

    What a run's checkpoint says of itself counts, whatever became of its config: its results are found by the keys that
    it was trained with, too.
    """
    inputs = result_inputs(settings)
    recorded = read_json(folder / "summary.json").get("config hash")
    if recorded is None or settings.evaluation.baseline or not asked_model(settings).is_own:
        return inputs
    given, typed = settings.given_values(VECTOR_KEYS), settings.on_command_line(VECTOR_KEYS)
    trained = read_json(settings.output_dir / "run.json").get("given")
    words: Iterable[Words] = []
    if isinstance(trained, dict):
        words = [_as_trained(given, typed, trained)]
    elif settings.config_path == (config := settings.output_dir / "config.yaml"):  # a run of version 0.1
        words = _perhaps_written(given, typed, read_yaml(config))
    counting = settings.counting(_result_keys(settings))
    hashes = (_hash(inputs["model"], counting, given, written) for given, written in words)
    return inputs | {"config hash": recorded} if recorded in hashes else inputs


# (the given keys of the model, the same under the names that they were written with)
Words = tuple[Mapping[str, Any], Mapping[str, Any]]
_NAMES = [*VECTOR_KEYS, *IN_EFFECT]


def _as_trained(given: Mapping[str, Any], typed: Mapping[str, Any], trained: Mapping[str, Any]) -> Words:
    """The given keys, those that the checkpoint tells as the training was given them; typed: on the command line."""
    told = {*_NAMES} - {*LOADED_ANYWAY, *typed}
    words = {key: value for key, value in given.items() if key not in told}
    words |= {key: value for key, value in trained.items() if key in told}
    return words, words


def _perhaps_written(given: Mapping[str, Any], typed: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Words]:
    """Every choice among a recorded config's keys: it does not say which of them were given."""
    unsure = [key for key in _NAMES if key in config and key not in typed]
    for choice in (choice for n in range(len(unsure) + 1) for choice in combinations(unsure, n)):
        yield given, {**typed, **{key: config[key] for key in choice}}


def _hash(path: str, counting: Mapping[str, Any], given: Mapping[str, Any], written: Mapping[str, Any]) -> str:
    """Of what counts in a result, the model's files and those that its keys name, and these keys as written."""
    files = fingerprint([*model_files(path), *files_beside(given)])
    return hash_of({**counting, "model keys": written, "files": files})


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
