"""How small an index may become without training, and a checkpoint that says so.

    python -m retrieval.prune output/x data/beir/scifact                     # a picture, a table
    python -m retrieval.prune output/x data/beir/scifact --save output/x-48 --max-active-dims 48

Documents are encoded once and kept. Then NDCG@10 stands against index bytes, longest posting list and latency (exact
engine, one thread, a query at a time) for each document's heaviest tokens (top_k; top_k_df: by weight × ln(N/df)),
tokens above a share of its heaviest (max_ratio), above a weight (abs_value), the fewest that have a share of its weight
(alpha_mass), tokens that few documents have (infrequent), and weights in 8 bits.
--save writes the model with max_active_dims or prune_ratio in it, which everything here obeys from then on.
"""

import argparse
import sys
from pathlib import Path

from retrieval.command import run_command
from retrieval.options import add_shared, asked_shape
from sparse_model.disk_errors import usable_folder
from sparse_model.errors import UserError

NAME = "python -m retrieval.prune"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(NAME, __doc__, _add_options, _work, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_shared(parser, "checkpoint", "dataset", "--max-active-dims", "--prune-ratio", "--beir-dir", "--batch-size")
    add("--output", type=Path, metavar="FOLDER", help="where the figures go (output/prune/MODEL-DATASET)")
    add("--save", type=Path, metavar="FOLDER", help="a new folder for the model with this cut")


def _work(arguments: argparse.Namespace) -> None:
    cut = asked_shape(arguments).cut
    if bool(cut) != bool(arguments.save):
        raise UserError("--save FOLDER and what is kept (--max-active-dims or --prune-ratio) belong together.")
    if arguments.save and arguments.save.exists():
        raise UserError(f"--save {arguments.save}: is there already; name a new folder.")
    for option, folder in (("--output", arguments.output), ("--save", arguments.save)):
        if folder:
            usable_folder(folder, option)
    from retrieval.prune.run import run

    run(arguments, cut)


if __name__ == "__main__":
    sys.exit(main())
