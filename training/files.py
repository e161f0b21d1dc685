"""Which files hold training rows."""

import difflib
from pathlib import Path

from retrieval.hub_data import hub_name, on_hub
from retrieval.row_files import FILE_READERS, read_rows
from sparse_model.errors import UserError


def training_files(train_file: str | None, train_file_dir: str | None) -> list[Path]:
    """The files or data set folders to train on, sorted; a data set on the hub by its name (hub:owner/name).

    Raises:
        UserError: if there is nothing at the path, or the name is none.
    """
    if train_file is not None and on_hub(train_file):
        try:
            hub_name(train_file)
        except UserError as error:
            raise UserError(f"train_file: {error}") from None
        return [Path(train_file)]
    if train_file is not None:
        if not Path(train_file).exists():
            raise UserError(f"train_file: there is no {train_file}.{_near(Path(train_file))}")
        return [Path(train_file)]
    folder = Path(str(train_file_dir))
    if (folder / "state.json").is_file():
        raise UserError(f"train_file_dir: {folder} is one data set; give it as train_file.")
    found = [p for p in sorted(folder.glob("*")) if p.suffix in FILE_READERS or (p / "state.json").is_file()]
    if not found:
        raise UserError(f"train_file_dir: {folder} holds no .jsonl, .parquet or datasets.save_to_disk folder.")
    return found


def _near(path: Path) -> str:
    """ " Did you mean …?" for what lies beside it under nearly the same name."""
    others = [p.name for p in path.parent.glob("*") if p.suffix in FILE_READERS or (p / "state.json").is_file()]
    near = difflib.get_close_matches(path.name, others, n=1)
    return f" Did you mean {path.with_name(near[0])}?" if near else ""


def row_files(path: Path) -> list[Path]:
    """The files that hold the rows of one of `training_files`: what else lies in a data set's folder is left out.

    Raises:
        UserError: if a data set on the hub can be had neither there nor from the hub's cache.
    """
    if on_hub(path):
        return [Path(file["filename"]) for file in read_rows(path).cache_files]
    return sorted(path.glob("*.arrow")) if path.is_dir() else [path]
