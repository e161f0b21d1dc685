"""What commands that encode a corpus are told of the model and of the vectors' shape."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.asked import AskedShape, typed_shape
from retrieval.encode.export import SHAPE
from retrieval.models import DTYPES, open_model
from retrieval.shaped import Shape, Shaper
from sparse_model.errors import UserError
from sparse_model.pruning import Cut

if TYPE_CHECKING:
    from sparse_model import SparseEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
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
    add("--dtype", choices=DTYPES, default=DTYPES[0], help="what documents are encoded in (%(default)s)")


def asked_shape(arguments: argparse.Namespace) -> AskedShape | Shaper:
    """The shape; a Shaper by the statistics of an earlier corpus.

    Raises:
        UserError: for values that cannot be.
    """
    cut = Cut(arguments.max_active_dims, arguments.prune_ratio)
    shape = typed_shape(cut, arguments.lexical_share, arguments.lexical_idf, arguments.cut_by)
    if not arguments.like:
        return shape
    if shape:
        raise UserError("--like: shapes documents as it says; leave --max-active-dims and the other shaping out.")
    return Shaper.load(arguments.like / SHAPE)


def opened(
    arguments: argparse.Namespace, asked: AskedShape | Shaper
) -> tuple["SparseEncoder", dict[str, Any], Shape | Shaper]:
    """(the encoder without a cut, all that decides its vectors beside the texts, the shape with its cut)."""
    options = {"idf_path": arguments.idf_path, "max_seq_length": arguments.max_seq_length}
    encoder, facts, cut = open_model(arguments.checkpoint, arguments.use_cpu, arguments.dtype, **options)
    return encoder, facts, asked.of(cut, encoder.trained_share) if isinstance(asked, AskedShape) else asked
