"""Rows of a user's file: a datasets.save_to_disk folder, .jsonl or .parquet, or of the hub; memory-mapped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.files import read_json
from retrieval.fingerprint import fingerprint
from retrieval.hub_data import hub_folder, hub_name, on_hub
from retrieval.row_lines import mistake_in, readable
from sparse_model.errors import UserError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

FILE_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def read_rows(path: Path) -> datasets.Dataset:
    """A memory-mapped data set of a save_to_disk folder, a .jsonl or a .parquet file, or of hub:owner/name.

    Raises:
        UserError: if it is none of these or cannot be read.
    """
    if on_hub(path):
        return _hub_rows(path)
    import datasets  # a second of CPU
    import pyarrow as pa

    try:
        if path.is_dir():
            rows = datasets.load_from_disk(str(path))
        elif path.suffix in FILE_READERS:
            # The cache goes by path and time; a file that was changed keeping its time must be read again.
            kind, name = FILE_READERS[path.suffix], f"rows-{fingerprint([path])[:16]}"
            cache = datasets.load_dataset_builder(kind, name, data_files=str(path)).cache_dir
            source = path if Path(cache).is_dir() else readable(path, Path(f"{cache}.copy"))
            rows = datasets.load_dataset(kind, name, data_files=str(source), split="train")
        else:
            raise UserError(f"{path}: a .jsonl or .parquet file or a datasets.save_to_disk folder is needed.")
    except StopIteration:
        raise UserError(f"{path}: holds no rows.") from None
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetGenerationError) as error:
        cause = error.__cause__ or error
        raise UserError(mistake_in(path) or f"{path}: cannot be read as rows: {cause}") from None
    if isinstance(rows, datasets.DatasetDict):
        raise UserError(f"{path}: holds several splits ({', '.join(rows)}); name the folder of one of them.")
    return rows


def _hub_rows(name: Path) -> datasets.Dataset:
    """The train split of a data set on the hub; where there is no network, of what the hub's cache holds.

    Of a repository with several configurations only the folder of the one that is named is fetched.

    Raises:
        UserError: if it cannot be reached and is not in the cache, or is no data set with a train split.
    """
    import datasets
    import pyarrow as pa

    config = hub_name(name).config
    folder = hub_folder(name, config)
    try:
        return rows_on_hub(folder, config)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(
            f"{name}: its train split cannot be read ({error.__cause__ or error}); a configuration is named as "
            "hub:owner/name/config."
        ) from None


def rows_on_hub(
    repository: str, config: str | None = None, revision: str | None = None, split: str | None = "train"
) -> datasets.Dataset:
    """A split of a data set on the hub; code that it brings is not run, nor asked for on the terminal."""
    import datasets

    datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False  # type: ignore[attr-defined]  # which versions before 4 read
    return datasets.load_dataset(repository, config, split=split, revision=revision)


def splits_on_hub(folder: str, config: str) -> datasets.DatasetDict:
    """All splits of a configuration of a repository that was fetched; see `rows_on_hub`."""
    return rows_on_hub(folder, config, split=None)  # type: ignore[return-value]


def is_whole_data_set(folder: Path) -> bool:
    """Whether a datasets.save_to_disk folder is there to its end: state.json is its last file and names the others."""
    files = [file["filename"] for file in read_json(folder / "state.json").get("_data_files", [])]
    return bool(files) and all((folder / name).is_file() for name in files)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    import pyarrow as pa

    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_list_of(test: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    """A test for lists whose elements pass a test."""

    def check(kind: pa.DataType) -> bool:
        import pyarrow as pa

        return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and test(kind.value_type)

    return check
