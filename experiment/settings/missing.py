"""What settings name and is not here; data with the command that makes them, where the config names one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiment.settings.keys import DataKeys, EvaluationKeys, ModelKeys
from experiment.settings.mistakes import Mistake, refuse
from sparse_model.errors import UserError
from sparse_model.layout import is_path
from training.files import training_files


def making(data: DataKeys, given: Mapping[str, str], *keys: str) -> str:
    """ "; make it: COMMAND" for what one of `keys` names; "" if the file that gives the key gives no command.

    A command says nothing of data that another file or the command line names.

    Args:
        given: key -> the place where it is given (see `Settings`).
    """
    places = {given[key] for key in keys if key in given}
    return f"; make it: {data.data_command}" if data.data_command and given["data_command"] in places else ""


def missing_for_training(
    model: ModelKeys,
    data: DataKeys,
    evaluation: EvaluationKeys,
    given: Mapping[str, str],
    is_plan: bool,
) -> list[Mistake]:
    """What a training reads and is not on this disk, nor could be on a hub; nothing is loaded.

    Args:
        is_plan: look for what the evaluation of the trained model reads, too.
    """
    return [
        *_missing_documents(data),
        *_missing_rows(data, given),
        *_missing_models(model),
        *_missing_data_sets("eval_beir_datasets", evaluation.eval_beir_datasets or [], evaluation, data, given),
        *_missing_data_sets(
            "beir_datasets", evaluation.beir_datasets if is_plan and not data.documents else [], evaluation, data, given
        ),
    ]


def _missing_documents(data: DataKeys) -> list[Mistake]:
    named = {"documents": ("folder or file", data.documents), "queries": ("file", data.queries)}
    return [
        Mistake(key, f"there is no {what} {name}; name one that is there.")
        for key, (what, name) in named.items()
        if name and not Path(name).expanduser().exists()
    ]


def _missing_rows(data: DataKeys, given: Mapping[str, str]) -> list[Mistake]:
    if data.documents or bool(data.train_file) == bool(data.train_file_dir):  # a mistake of another kind
        return []
    try:
        training_files(data.train_file, data.train_file_dir)
    except UserError as error:
        key, _, text = str(error).partition(": ")
        command = making(data, given, "train_file", "train_file_dir")
        return [Mistake(key, text.rstrip(".") + command if command else text)]
    return []


def _missing_models(model: ModelKeys) -> list[Mistake]:
    folders = [("model_name_or_path", model.model_name_or_path), ("tokenizer_name", model.tokenizer_name)]
    found = [
        Mistake(key, f"there is no folder {name}.")
        for key, name in folders
        if name and not Path(name).is_dir() and is_path(name)
    ]
    idf = model.idf_path
    if idf and idf != "corpus" and not Path(idf).exists() and (is_path(idf) or idf.endswith(".json")):
        found.append(Mistake("idf_path", f"there is no file {idf}. Give a JSON file, a hub id, or corpus."))
    return found


def _missing_data_sets(
    key: str, names: Sequence[str], evaluation: EvaluationKeys, data: DataKeys, given: Mapping[str, str]
) -> list[Mistake]:
    if not names:
        return []
    from retrieval.beir_data import why_unusable  # what downloads is slow to import

    reasons = {name: why_unusable(name, evaluation.beir_dir, evaluation.split) for name in names}
    missing = {name: why for name, why in reasons.items() if why}
    command = making(data, given, "beir_dir")
    if missing and command:
        return [Mistake(key, f"{', '.join(missing)} not in {evaluation.beir_dir}{command}")]
    return [Mistake(key, why) for why in missing.values()]


def require_data_sets(evaluation: EvaluationKeys, data: DataKeys, given: Mapping[str, str]) -> None:
    """Look for the data sets, and for the files that each needs, before anything is loaded or written.

    Raises:
        UserError: for all that are missing and cannot be downloaded.
    """
    refuse(_missing_data_sets("beir_datasets", evaluation.beir_datasets, evaluation, data, given))
