"""Training data that are missing, and the configs that data_preparation.py makes them by.

Those are the configs of the folder data/ beside a run's config, and config/data_preparation.yaml.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from experiment.run.done import preparation_status
from experiment.settings.settings import load_settings
from experiment.sweep.runs import OF_A_PREPARATION, PREPARATION, PlannedRun
from retrieval.hub_data import on_hub
from retrieval.row_files import is_whole_data_set
from sparse_model.errors import UserError


def preparations(run: PlannedRun) -> dict[Path, Path]:
    """What data_preparation.py is to be run with before this run: configs, and the missing data that each makes.

    The configs are those of the folder data/ beside the run's config, and config/data_preparation.yaml.
    """
    data = run.settings.data
    wanted, folder = (os.path.realpath(path) if path else None for path in (data.train_file, data.train_file_dir))
    missing = {}
    for config in _preparing(run):
        made = _made_by(config)
        is_wanted = made and (os.path.realpath(made) == wanted or os.path.realpath(made.parent) == folder)
        if made and is_wanted and not made.is_file() and not preparation_status(made, inputs=None).is_done:
            missing[config] = Path(os.path.relpath(made))
    return missing


def _preparing(run: PlannedRun) -> list[Path]:
    """The configs that may be said to prepare a run's data."""
    found = [*sorted((run.config.parent / "data").glob("*.yaml")), PREPARATION]
    return [path for path in found if run.trains and path.name != "base.yaml" and path.is_file()]


def _made_by(config: Path) -> Path | None:
    """The data set's folder, absolute, if the config prepares one."""
    settings = load_settings([str(config)])
    if settings.given.keys().isdisjoint(("output_dir", *OF_A_PREPARATION)):
        return None
    return Path(settings.prepared_data).expanduser().absolute()


def check_preparations(runs: Sequence[PlannedRun]) -> None:
    """Look at the configs that prepare data before anything is run.

    Raises:
        UserError: with the mistakes of all of them, and for two that would write to one folder.
    """
    mistakes: list[str] = []
    taken: dict[str, Path] = {}
    for config in dict.fromkeys(config for run in runs for config in _preparing(run)):
        try:
            made = _made_by(config)
        except UserError as error:
            mistakes += str(error).splitlines()
            continue
        if made and (other := taken.setdefault(os.path.realpath(made), config)) != config:
            mistakes.append(f"{config} and {other} would both write to {os.path.relpath(made)}")
    if mistakes:
        raise UserError("\n".join(dict.fromkeys(mistakes)))


def has_training_data(path: str | Path) -> bool:
    """Whether a file or a whole data set folder is there, or on the hub."""
    return on_hub(path) or Path(path).is_file() or is_whole_data_set(Path(path))
