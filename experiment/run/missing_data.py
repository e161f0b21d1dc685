"""Data that are missing are said with the command that makes them, where the config names one (data_command)."""

from collections.abc import Mapping

from experiment.settings.keys import DataKeys, EvaluationKeys
from retrieval.beir_data import local_folder
from retrieval.dataset_names import parse_name
from retrieval.download import NAMES
from sparse_model.errors import UserError
from training.data import training_files


def making(data: DataKeys, given: Mapping[str, str], *keys: str) -> str:
    """ "; make it: COMMAND" for what one of `keys` names; "" if the file that gives the key gives no command.

    A command says nothing of data that another file or the command line names.

    Args:
        given: key -> the place where it is given (see `Settings`).
    """
    places = {given[key] for key in keys if key in given}
    return f"; make it: {data.data_command}" if data.data_command and given["data_command"] in places else ""


def require_training_data(data: DataKeys, given: Mapping[str, str]) -> None:
    """Look for the training data before anything is loaded.

    Raises:
        UserError: if they are missing; says what makes them, if that is known.
    """
    try:
        training_files(data.train_file, data.train_file_dir)
    except UserError as error:
        if command := making(data, given, "train_file", "train_file_dir"):
            raise UserError(str(error).rstrip(".") + command) from None
        raise


def require_data_sets(evaluation: EvaluationKeys, data: DataKeys, given: Mapping[str, str]) -> None:
    """Look for the data sets before anything is loaded.

    Raises:
        UserError: if one is missing that cannot be downloaded, and it is known what makes it.
    """
    command = making(data, given, "beir_dir")
    missing = [name for name in evaluation.beir_datasets if not can_be_had(name, evaluation.beir_dir)]
    if command and missing:
        raise UserError(f"beir_datasets: {', '.join(missing)} not in {evaluation.beir_dir}{command}")


def can_be_had(name: str, beir_dir: str) -> bool:
    """Whether a data set is on this disk, or one that is downloaded when it is needed."""
    known, _ = parse_name(name)
    return known in NAMES or local_folder(known, beir_dir) is not None
