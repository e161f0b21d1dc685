"""Results of an evaluation: the folder they are filed in, and the inputs that they belong to."""

import re
from pathlib import Path
from typing import Any

from experiment.run.models import VECTOR_KEYS, model_files, model_path, overriding
from experiment.settings.effects import Changes
from experiment.settings.keys import GROUP_OF, effect, keys_that_change
from experiment.settings.settings import Settings
from retrieval.beir_data import data_files, local_folder
from retrieval.dataset_names import parse_name, scored_split
from retrieval.fingerprint import fingerprint, hash_of
from sparse_model.errors import UserError

# Beside the model: what changes a ranking; where it differs from its default it names the results' folder.
RESULT_KEYS = [key for key in keys_that_change(Changes.VECTORS | Changes.RESULT) if GROUP_OF.get(key) != "model"]


def evaluation_folder(settings: Settings) -> Path:
    """output_dir/evaluation, or a folder in it for other than default settings."""
    folder = settings.output_dir / "evaluation"
    name = settings.evaluation.evaluation_name
    if name is None:
        differing = _other_than_default(settings)
        other = overriding(settings)
        if not settings.trains:
            other.pop("model_name_or_path", None)  # it names the output folder already
        differing |= settings.old_names.as_written(other)
        name = "_".join(f"{key}-{_short(value)}" for key, value in differing.items())
    return folder / name if name else folder


def result_inputs(settings: Settings) -> dict[str, Any]:
    """What a result depends on beside the data: the model's name, and a hash over files and keys that change it."""
    keys = {key: settings.value(key) for key in RESULT_KEYS if effect(key).by_default} | _other_than_default(settings)
    if settings.evaluation.baseline:
        return {"model": settings.evaluation.baseline, "config hash": hash_of(keys)}
    path = model_path(settings)
    given = {key: settings.value(key) for key in VECTOR_KEYS if key in settings.given}
    written = settings.old_names.as_written(given) | {
        name: value for name, value in settings.old_names.values.items() if name == "use_l0"
    }
    local = [Path(p) for p in (settings.model.idf_path, settings.model.tokenizer_name) if p and Path(p).exists()]
    keys |= {"model keys": written, "files": fingerprint([*model_files(path), *local])}
    return {"model": path, "config hash": hash_of(keys)}


def data_hash(name: str, beir_dir: str, split: str | None) -> str | None:
    """A hash of a data set's files, as `load_beir` gives it; None where the data set is not on this disk."""
    folder = local_folder(parse_name(name)[0], beir_dir)
    try:
        return None if folder is None else fingerprint(data_files(folder, scored_split(name, split)))[:16]
    except UserError:
        return None


def _other_than_default(settings: Settings) -> dict[str, Any]:
    return {key: settings.value(key) for key in RESULT_KEYS if settings.value(key) != settings.default(key)}


def _short(value: Any) -> str:
    """A value as part of a folder's name; of a path its last part and a hash of the whole."""
    text = str(value)
    if "/" in text:
        text = f"{Path(text).name}-{hash_of(text)[:6]}"
    return re.sub(r"[^\w.=-]+", "-", text).strip("-").lower() or "none"
