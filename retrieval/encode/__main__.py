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

from retrieval.command import exit_code, quiet_libraries, together
from retrieval.corpus import corpus_files
from retrieval.distributed import is_main
from retrieval.encode.formats import FORMATS
from retrieval.launcher import end_with_launcher
from retrieval.models import DTYPES, as_told, open_model
from retrieval.query_files import check_query_file
from retrieval.shaped import Shape, Shaper
from sparse_model.errors import UserError
from sparse_model.pruning import Cut

NAME = "python -m retrieval.encode"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    end_with_launcher()
    return exit_code(NAME, lambda: _start(arguments), lambda: arguments.traceback)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", help="a folder or hub id that sparse_model.load takes")
    add("corpus", type=Path, help="the documents")
    add("out", type=Path, help="the folder to write: new, empty, or one that this command was stopped in")
    add("--format", choices=FORMATS, required=True, help="what is written")
    add("--queries", type=Path, metavar="FILE", help='.jsonl ({"_id", "text"}), .tsv (id, text) or .txt (one a line)')
    add("--max-active-dims", type=int, metavar="N", help="tokens of a document that are kept at most, the heaviest")
    add("--prune-ratio", type=float, metavar="R", help="tokens below this share of a document's heaviest are dropped")
    add("--cut-by", choices=("weight", "weight_df"), default="weight", help="what is heavy: the weight, or × ln(N/df)")
    add(
        "--lexical-share",
        type=float,
        metavar="S",
        help="of BM25's weight that is added to each token; without it, the share that the model was trained under",
    )
    add("--lexical-idf", action="store_true", help="the share × the corpus' IDF")
    add("--like", type=Path, metavar="OUT", help="shape documents as an earlier OUT's, by the statistics of its corpus")
    add("--idf-path", metavar="FILE", help="other query weights than the checkpoint's")
    add("--max-seq-length", type=int, metavar="L", help="tokens that documents are cut to before they are encoded")
    add("--batch-size", type=int, default=32, help="documents of full length in a batch (%(default)s)")
    add(
        "--vectors",
        type=Path,
        metavar="FOLDER",
        help="keep the model's vectors there: other forms encode nothing again",
    )
    add("--dtype", choices=DTYPES, default=DTYPES[0], help="what documents are encoded in (%(default)s)")
    add("--use-cpu", action="store_true", help="not the GPU")
    add("--traceback", nargs="?", const=True, default=False, help="show where an error happened")
    return parser


def _start(arguments: argparse.Namespace) -> None:
    """Tell mistakes, then let torch be loaded."""
    quiet_libraries()
    shape = _shape(arguments)
    corpus_files(arguments.corpus)
    if arguments.queries:
        check_query_file(arguments.queries)
    together(NAME, arguments.use_cpu, lambda: _work(arguments, shape), arguments.out)


def _shape(arguments: argparse.Namespace) -> Shape | Shaper:
    if not 0 <= (arguments.lexical_share or 0) < float("inf"):
        raise UserError(f"--lexical-share {arguments.lexical_share}: a number of 0 or more.")
    cut = Cut(arguments.max_active_dims, arguments.prune_ratio)
    shape = Shape(cut, arguments.cut_by, arguments.lexical_share or 0.0, arguments.lexical_idf)
    if not arguments.like:
        return shape
    if shape:
        raise UserError("--like: shapes documents as it says; leave --max-active-dims and the other shaping out.")
    return Shaper.load(arguments.like / "shape.safetensors")


def _work(arguments: argparse.Namespace, shape: Shape | Shaper) -> None:
    from retrieval.encode.export import Export

    options = {"idf_path": arguments.idf_path, "max_seq_length": arguments.max_seq_length}
    encoder, facts, cut = open_model(arguments.checkpoint, arguments.use_cpu, arguments.dtype, **options)
    if isinstance(shape, Shape):
        shape = as_told(shape, cut, encoder.trained_share if arguments.lexical_share is None else None)
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
