"""The report over any set of run folders: results.csv, report.md, index.html and pictures.

    python -m experiment.report output/quickstart/* --output output/report/quickstart
    python -m experiment.report output/*/* --output output/report/paper --baseline baseline/0.01 \\
        --group "out of domain=scifact,nfcorpus"

Folders become runs; runs that differ only in their seed become one system; systems become tables, tests and
pictures. Averages over different data sets never meet. The same folders give the same bytes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from retrieval.plain import plain
from sparse_model.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the command line, writes the report, prints its tables; 2 for folders that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m experiment.report", description="Tables, tests and pictures over any set of run folders."
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN_FOLDER", help="an output_dir of train_ir.py or evaluate_beir.py"
    )
    parser.add_argument("--output", required=True, type=Path, help="folder of the report, e.g. output/report/NAME")
    parser.add_argument("--title", default="", help="heading of the page (default: from the name of the output folder)")
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="the run (as the tables name it) that others are compared with; default: the best of the family "
        "'baseline', else of those with plain FLOPS, else BM25",
    )
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=DATASET,DATASET",
        help="data sets with an average, pictures, areas and tests of their own; may be given several times",
    )
    arguments = parser.parse_args(argv)
    try:
        groups = dict(_group(words) for words in arguments.group)
        # What draws and computes is imported once the command line is understood and the folders are read.
        from experiment.report.runs import load_runs

        runs = load_runs(arguments.runs)
        from experiment.report.page import Options, write_report

        options = Options(arguments.output, arguments.title, arguments.baseline, groups)
        print(plain(write_report(runs, options)))
    except UserError as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return 2
    return 0


def _group(words: str) -> tuple[str, tuple[str, ...]]:
    name, sign, datasets = words.partition("=")
    found = tuple(dict.fromkeys(part.strip() for part in datasets.split(",") if part.strip()))
    if not (sign and name.strip() and found):
        raise UserError(f"--group {words}: NAME=DATASET,DATASET is needed")
    return name.strip(), found


if __name__ == "__main__":
    sys.exit(main())
