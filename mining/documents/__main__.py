"""A BEIR folder of one's own documents: a folder of .txt, .md, .html, rows of .jsonl, .csv or .parquet.

    python -m mining.documents ~/handbook data/handbook
    python -m mining.documents pages.csv data/pages --columns text=body,title=name,id=key
    python -m mining.documents data/beir/medquad data/medquad-150 --words 150 --overlap 30

Long documents are cut into passages at headings or sentences. corpus.jsonl, documents.json (counts) and dropped.jsonl
(what was left out, and why) are left; queries and judgements of a BEIR folder are taken along.
"""

import argparse
import logging
import sys
from pathlib import Path

from sparse_model.commands import exit_code
from sparse_model.disk_errors import disk_told, usable_folder
from sparse_model.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mining.documents",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("documents", help="a folder, a file of rows, or a BEIR folder")
    parser.add_argument("out", help="the BEIR folder to make")
    parser.add_argument("--words", type=int, default=200, help="of a passage; 0: documents are not cut (200)")
    parser.add_argument("--overlap", type=int, default=0, help="words that stand in two passages (0)")
    parser.add_argument("--columns", default="", help="of rows: text=NAME,title=NAME,id=NAME")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return exit_code(lambda: _make(arguments))


def _make(arguments: argparse.Namespace) -> None:
    from mining.documents.folder import Cutting, described, make_beir

    out = Path(arguments.out).expanduser()
    cutting = Cutting(arguments.words or None, arguments.overlap, _columns(arguments.columns))
    with disk_told(usable_folder(out, "out")):
        record = make_beir(Path(arguments.documents).expanduser(), out, cutting)
    print(f"{arguments.out}: {described(record)}")


def _columns(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if wrong := [use for use, _, name in pairs if use.strip() not in ("id", "title", "text") or not name.strip()]:
        raise UserError(f"--columns: {wrong[0]}: text=NAME, title=NAME and id=NAME can be named.")
    return {use.strip(): name.strip() for use, _, name in pairs}


if __name__ == "__main__":
    sys.exit(main())
