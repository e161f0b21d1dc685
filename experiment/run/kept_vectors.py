"""Where an evaluation keeps the documents' vectors, so that another one of the same model encodes nothing again.

    evaluation/.vectors/<data set>-<hash>/    block by block (retrieval.vectors); the hash is over all that decides them

They stay until they are removed by hand. Unless keep_vectors says otherwise, those of a corpus of more than
KEPT_DOCUMENTS documents are not kept, nor those that would fill the disk.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

from retrieval.distributed import on_main
from retrieval.files import existing_parent, require_disk
from retrieval.fingerprint import hash_of

logger = logging.getLogger(__name__)

KEPT_DOCUMENTS = 1_000_000
DOCUMENT_BYTES = 1500  # 6 for each of some 200 to 250 tokens


def kept_vectors(
    place: Path, data_set: str, documents: int, contents: dict[str, Any], keep: bool | None
) -> Path | None:
    """The folder for the vectors of a data set, None if they are not to be kept; the same in every process.

    Args:
        place: the evaluation's folder.
        contents: all that decides the vectors.
        keep: the key keep_vectors.

    Raises:
        UserError: if they are to be kept and the disk is too full.
    """
    return on_main(lambda: _folder(place / ".vectors" / f"{data_set}-{hash_of(contents)}", data_set, documents, keep))


def _folder(folder: Path, data_set: str, documents: int, keep: bool | None) -> Path | None:
    if keep is False:
        return None
    needed = documents * DOCUMENT_BYTES
    if folder.is_dir():
        logger.info("%s: the vectors in %s are used", data_set, folder)
        return folder
    if keep:
        require_disk(folder, needed, f"keep_vectors for {data_set}")
    elif why := _why_not(folder, documents, needed):
        logger.info("%s: vectors are not kept for other evaluations: %s", data_set, why)
        return None
    logger.info("%s: vectors are kept in %s for other evaluations (keep_vectors=false: not)", data_set, folder)
    return folder


def _why_not(folder: Path, documents: int, needed: int) -> str:
    size = f"about {needed / 1e9:.1f} GB"
    if documents > KEPT_DOCUMENTS:
        return f"they take {size} (keep_vectors=true keeps them)"
    free = shutil.disk_usage(existing_parent(folder)).free
    return f"they take {size}, and {free / 1e9:.1f} GB of disk are free" if free < 2 * needed else ""
