"""What can be seen to be wrong with a data preparation before a text is read or written."""

from collections.abc import Callable, Sequence
from pathlib import Path

from experiment.run.engines import check_engine
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys
from experiment.settings.mistakes import Mistake, as_mistakes, refuse
from mining.teachers import TeacherSpec, check_teacher
from retrieval.beir_data import data_files, locate
from retrieval.download import NAMES, is_beir_folder
from retrieval.files import require_disk
from sparse_model import UserError

# Either shows that a folder is a data preparation's own: its log, or its working files.
TRACES = ("preparation.log", "stages")


def preparation_mistakes(
    output_dir: Path, overwrite: bool, dataset: str, keys: EvaluationKeys, teachers: Sequence[TeacherSpec]
) -> list[Mistake]:
    """Every mistake in folder, data set and teachers, each with its key and remedy."""
    looks: list[Callable[[], object]] = [
        lambda: _check_output(output_dir, overwrite),
        lambda: _check_dataset(dataset, keys.beir_dir, str(keys.split)),
    ]
    looks += [lambda t=t, n=n: check_teacher(t, f"teachers: {n}") for n, t in enumerate(teachers, start=1)]  # type: ignore[misc]
    return _mistakes_of(looks)


def require_room_and_engine(
    output_dir: Path, needed: int, evaluation: EvaluationKeys, opensearch: OpenSearchKeys
) -> None:
    """What a dry run looks at beside: needed bytes on the disk, and the search engine.

    Raises:
        UserError: naming what is missing.
    """
    looks = [
        lambda: require_disk(output_dir, needed, "all of this"),
        lambda: check_engine(evaluation, opensearch),
    ]
    refuse(_mistakes_of(looks))


def _mistakes_of(looks: Sequence[Callable[[], object]]) -> list[Mistake]:
    found: list[Mistake] = []
    for look in looks:
        try:
            look()
        except UserError as error:
            found += as_mistakes(error)
    return found


def _check_output(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir: {folder} is a file; give a folder.")
    if overwrite or not folder.is_dir() or any((folder / name).exists() for name in TRACES):
        return
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(
            f"output_dir: {folder} is not empty and holds no data preparation; give another folder, or overwrite=true "
            "to move it aside."
        )


def _check_dataset(name: str, beir_dir: str, split: str) -> None:
    if name in NAMES and not is_beir_folder(Path(beir_dir, name)):
        return  # it is downloaded once all else is in order
    try:
        data_files(locate(name, beir_dir), split)
    except UserError as error:
        raise UserError(f"dataset: {error}") from None
