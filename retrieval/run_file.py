"""Run files: rankings in TREC format, gzip-compressed."""

import gzip
import os
import zlib
from pathlib import Path

from retrieval.files import whole
from retrieval.metrics import Rankings
from sparse_model.errors import UserError


def write_run(path: str | os.PathLike[str], rankings: Rankings, tag: str = "sparse") -> None:
    """Write lines "qid Q0 docid rank score tag", ranks from 1; the same run always gives the same bytes.

    The file appears under its name only when it is whole. Scores are written so that they read back exactly.
    Where an id holds a space, tabs separate the fields, and only `read_run` can read the file.
    """
    ids = (name for qid, hits in rankings.items() for name in (qid, *(doc for doc, _ in hits)))
    separator = "\t" if any(" " in name for name in ids) else " "
    with (
        whole(Path(path)) as partial,
        open(partial, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file,
    ):
        for qid, hits in rankings.items():
            for position, (doc, score) in enumerate(hits, start=1):
                fields = (qid, "Q0", doc, str(position), repr(float(score)), tag)
                file.write((separator.join(fields) + "\n").encode())


def read_run(path: str | os.PathLike[str]) -> Rankings:
    """The run of a file by `write_run`; queries without hits are not in the file.

    Raises:
        UserError: with the line, for a file that is damaged.
    """
    rankings: Rankings = {}
    number = 1
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                qid, _, doc, _, score, _ = line.rstrip("\n").split("\t" if "\t" in line else " ")
                rankings.setdefault(qid, []).append((doc, float(score)))
                number += 1
        if not os.path.getsize(path):  # which gzip takes for an archive of nothing
            raise EOFError("it is empty")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path}:{number}: is damaged ({error})") from None
    return rankings
