"""What a training reads, by content; and whether something changed while it was read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiment.run.models import files_beside, model_files
from experiment.run.results import data_hash
from experiment.settings.keys import DataKeys
from experiment.settings.settings import Settings
from mining.documents.folder import document_files
from retrieval.fingerprint import fingerprint, hash_of
from sparse_model.errors import UserError
from training.files import row_files, training_files


def training_inputs(settings: Settings) -> dict[str, str | None]:
    """A hash of each input of a training beside its keys, as run.json records it.

    None: there is none on this disk; of what lies on the hub, the id is compared as a key.
    """
    model, keys, teachers = settings.model, settings.evaluation, settings.loss.kd_ensemble_teacher_kwargs
    chosen_by = keys.eval_beir_datasets if settings.value("load_best_model_at_end") else None
    files = {
        "data": training_data(settings.data),
        "model": _local([model.model_name_or_path]),
        "tokenizer": files_beside({"tokenizer_name": model.tokenizer_name}),
        "idf": files_beside({"idf_path": model.idf_path}),
        "teachers": _local([*teachers.model_ids, *(teachers.teacher_tokenizer_ids or [])] if teachers else []),
    }
    hashes = {f"{name} hash": fingerprint(found) if found else None for name, found in files.items()}
    scored = [data_hash(name, keys.beir_dir, keys.split) for name in chosen_by or []]
    return hashes | {"evaluation data hash": hash_of(scored) if scored else None}


def training_data(data: DataKeys) -> list[Path]:
    """The files of the training data; [] if they are not on this disk."""
    try:
        if data.documents:
            return document_files(Path(data.documents).expanduser())
        return [file for path in training_files(data.train_file, data.train_file_dir) for file in row_files(path)]
    except UserError:
        return []


def require_unchanged(what: str, before: Mapping[str, Any] | str | None, after: Mapping[str, Any] | str | None) -> None:
    """Raise a UserError if hashes from before and after something was read differ: nobody knows what was read."""
    if before == after:
        return
    names = [key for key, value in before.items() if after[key] != value] if isinstance(before, Mapping) else []  # type: ignore[index]
    which = f" ({', '.join(names)})" if names else ""
    raise UserError(f"{what}{which} changed while it was read; start again once nothing writes there.")


def _local(names: Iterable[str | None]) -> list[Path]:
    return [file for name in names if name and Path(name).is_dir() for file in model_files(name)]
