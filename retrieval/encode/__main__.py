"""The vectors of a corpus as files for any engine: jsonl, parquet, opensearch-bulk, anserini, seismic, csr.

    python -m retrieval.encode output/x data/beir/scifact vectors --format jsonl
    python -m retrieval.encode output/x texts/ vectors --format seismic --max-active-dims 64 --queries queries.jsonl
    torchrun --nproc_per_node=8 -m retrieval.encode output/x corpus.parquet vectors --format parquet

CORPUS is a BEIR folder, a .jsonl, .jsonl.gz or .parquet file (columns _id or id, text, perhaps title), or a folder of
.txt and .md files, which are documents named by their paths. No queries or judgements are needed. What was stopped is
gone on with by the same command. How engines take the files: docs/engines.md.
"""

import argparse
import sys
from pathlib import Path

from retrieval.asked import AskedShape
from retrieval.command import run_command, together
from retrieval.corpus import corpus_files
from retrieval.distributed import is_main
from retrieval.encode.arguments import add_arguments, asked_or_like, opened
from retrieval.encode.export import Export
from retrieval.encode.formats import FORMATS
from retrieval.options import add_shared
from retrieval.query_files import check_query_file
from retrieval.shaped import Shaper
from sparse_model.disk_errors import usable_folder

NAME = "python -m retrieval.encode"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(NAME, __doc__, _add_options, _start, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_shared(parser, "checkpoint")
    add("corpus", type=Path, help="the documents")
    add("out", type=Path, help="the folder to write: new, empty, or one that this command was stopped in")
    add("--format", choices=FORMATS, required=True, help="what is written")
    add("--queries", type=Path, metavar="FILE", help='.jsonl ({"_id", "text"}), .tsv (id, text) or .txt (one a line)')
    add(
        "--vectors",
        type=Path,
        metavar="FOLDER",
        help="keep the model's vectors there, for other forms and shapes",
    )
    add_arguments(parser)


def _start(arguments: argparse.Namespace) -> None:
    """Tell mistakes, then let torch be loaded."""
    asked = asked_or_like(arguments)
    corpus_files(arguments.corpus)
    usable_folder(arguments.out, "out")
    if arguments.vectors:
        usable_folder(arguments.vectors, "--vectors")
    if arguments.queries:
        check_query_file(arguments.queries)
    together(NAME, arguments.use_cpu, lambda: _work(arguments, asked), arguments.out)


def _work(arguments: argparse.Namespace, asked: AskedShape | Shaper) -> None:
    encoder, facts, shape = opened(arguments, asked)
    export = Export(
        encoder,
        facts | {"idf": arguments.idf_path},
        arguments.corpus,
        arguments.out,
        arguments.format,
        shape,
        arguments.queries,
        arguments.batch_size,
        arguments.vectors,
    )
    done = export.run()
    if is_main():
        print(f"{arguments.out}: {export.said()}" if done else f"{arguments.out}: finished already: {export.said()}")


if __name__ == "__main__":
    sys.exit(main())
