"""The manifest of a checkpoint: its files with their sizes and hashes, written last.

    complete.json   {"format": 1, "whole": true, "files": {"config.json": {"bytes": 612, "sha256": "…"}, …},
                     "training_state": {"optimizer.pt": …}, "step": 4, "run": "…", "finished": …}

So that it is there says that all is there, and every loader of ours compares. A folder whose manifest lists no files
(another project's, one of version 0.1, a copy without it) is taken as it is.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparse_model.errors import UserError

MANIFEST, CARD = "complete.json", "README.md"
FORMAT = 1
IF_MEANT = f"Restore it; or, if the change is meant, delete {MANIFEST}: the folder is then taken as it is."
_THREADS = 4  # hashes are computed without Python's lock


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest says; {} where there is none.

    Raises:
        UserError: if it is damaged, or of a later version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        says = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(says, dict) or not all(map(_is_list_of_files, (says.get(k, {}) for k in _LISTS))):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path} is damaged. {IF_MEANT}") from None
    if says.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path} is of another version of this program (format {says['format']!r}): use that one.")
    return says


_LISTS = ("files", "training_state")


def _is_list_of_files(value: Any) -> bool:
    """Whether it maps names below the folder to sizes and hashes."""
    return isinstance(value, dict) and all(
        isinstance(fact, dict) and {"bytes", "sha256"} <= fact.keys() and not {"..", "/"} & {*Path(name).parts}
        for name, fact in value.items()
    )


def write_manifest(folder: Path, files: Iterable[Path], training_state: Iterable[Path] = (), **says: Any) -> None:
    """Say that these files of the folder are all there; says: what else is known of them."""
    lists = {"files": _facts(folder, files), "training_state": _facts(folder, training_state)}
    _write(folder, {"whole": True, **lists, **says})


def check_manifest(
    folder: Path,
    remedy: str = IF_MEANT,
    *,
    lists: Iterable[str] = ("files",),
    only: Callable[[str], bool] = lambda name: True,
    sha256: Callable[[Path], str] | None = None,
) -> None:
    """Compare a folder with its manifest, if it has one that lists files: sizes first, then the whole content.

    Of 500 MB in one file that took 0.55 s on two cores.

    Args:
        remedy: the sentence that a message ends with.
        lists: "files", which the model consists of, and "training_state".
        only: which of them, by their names below the folder.
        sha256: hashes a file; None: `sha256_of`.

    Raises:
        UserError: naming the first file that is missing or is not as it was written.
    """
    says = read_manifest(folder)
    if not says.get("whole", True):
        raise UserError(f"{folder} was not written to its end. {remedy}")
    listed = {name: fact for key in lists for name, fact in says.get(key, {}).items() if only(name)}
    for name, fact in listed.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing or damaged (there is no such file). {remedy}")
        if (size := (folder / name).stat().st_size) != fact["bytes"]:
            raise UserError(f"{folder / name} is missing or damaged ({size} bytes, not {fact['bytes']}). {remedy}")
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(sha256 or sha256_of, (folder / name for name in listed))
        for (name, fact), digest in zip(listed.items(), found, strict=True):
            if digest != fact["sha256"]:
                raise UserError(f"{folder / name} is missing or damaged (its content was changed). {remedy}")


@contextmanager
def replaced(folder: Path, **says: Any) -> Iterator[Path]:
    """Yields an empty folder to write a model to; its files then take their places in `folder`, and a manifest says so.

    A kill or a full disk leaves the old model, or a manifest that says that none is whole.
    """
    new = folder / ".saving"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        facts = _facts(new, files_below(new))
        _write(folder, {"whole": False})
        for name in facts:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).replace(folder / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _write(folder, {"whole": True, "files": facts, **says})


def files_below(folder: Path) -> list[Path]:
    """Every file but the manifest itself and the model card, which may be edited."""
    unlisted = {folder / MANIFEST, folder / CARD}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path not in unlisted)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _facts(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    files = list(files)
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = pool.map(sha256_of, files)
        return {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
            for path, digest in zip(files, hashes, strict=True)
        }


def _write(folder: Path, says: Mapping[str, Any]) -> None:
    """Atomically: a reader finds the old manifest or the new one."""
    temporary = folder / f".{MANIFEST}"
    temporary.write_text(json.dumps({"format": FORMAT, **says}, indent=1), encoding="utf-8")
    temporary.replace(folder / MANIFEST)
