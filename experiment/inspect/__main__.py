"""One page that shows why a model finds what it finds, and what it misses.

    python -m experiment.inspect output/quickstart/scifact data/beir/scifact
    python -m experiment.inspect output/a nfcorpus --against output/b --max-active-dims 64 --output a.html

NDCG@10 by query beside BM25's or another model's; for a query its tokens, its top documents and what each shared token
adds, what the model added to a document's own words, which relevant documents were missed and what would have found
them; how long documents are, and which posting lists cost most. The page needs no other file.
"""

import argparse
import sys
from pathlib import Path

from retrieval.command import run_command
from retrieval.options import add_shared, asked_shape
from sparse_model.errors import UserError

NAME = "python -m experiment.inspect"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(NAME, __doc__, _add_options, _work, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", help="a run folder, or any checkpoint that sparse_model.load takes")
    add_shared(parser, "dataset", "--max-active-dims", "--lexical-share", "--beir-dir")
    add("--against", default="bm25", metavar="MODEL", help="what queries are compared with (%(default)s)")
    add("--output", type=Path, metavar="FILE", help="the page (MODEL/inspect/DATASET.html)")
    add("--queries", type=int, default=60, metavar="N", help="shown one by one (%(default)s)")
    add("--overwrite", action="store_true", help="replace a page that is there")


def _work(arguments: argparse.Namespace) -> None:
    if arguments.queries < 1:
        raise UserError(f"--queries {arguments.queries}: 1 or more.")
    asked = asked_shape(arguments)
    from experiment.inspect.page import write_page

    print(write_page(arguments, asked))


if __name__ == "__main__":
    sys.exit(main())
