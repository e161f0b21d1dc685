"""What commands that encode a corpus are told of the model and of the vectors' shape."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.asked import AskedShape
from retrieval.encode.export import SHAPE
from retrieval.models import DTYPES, open_model
from retrieval.options import add_shared, asked_shape
from retrieval.shaped import Shape, Shaper
from sparse_model.errors import UserError

if TYPE_CHECKING:
    from sparse_model import SparseEncoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_shared(parser, "--max-active-dims", "--prune-ratio", "--cut-by")
    add_shared(parser, "--lexical-share", "--lexical-idf", "--batch-size")
    add = parser.add_argument
    add("--like", type=Path, metavar="OUT", help="shape documents as an earlier OUT's, by the statistics of its corpus")
    add("--idf-path", metavar="FILE", help="other query weights than the checkpoint's")
    add("--max-seq-length", type=int, metavar="L", help="tokens that documents are cut to before they are encoded")
    add("--dtype", choices=DTYPES, default=DTYPES[0], help="what documents are encoded in (%(default)s)")


def asked_or_like(arguments: argparse.Namespace) -> AskedShape | Shaper:
    """The shape; a Shaper by the statistics of an earlier corpus.

    Raises:
        UserError: for values that cannot be.
    """
    shape = asked_shape(arguments)
    if not arguments.like:
        return shape
    if shape != AskedShape():
        raise UserError("--like: shapes documents as it says; leave --max-active-dims and the other shaping out.")
    return Shaper.load(arguments.like / SHAPE)


def opened(
    arguments: argparse.Namespace, asked: AskedShape | Shaper
) -> tuple["SparseEncoder", dict[str, Any], Shape | Shaper]:
    """(the encoder without a cut, all that decides its vectors beside the texts, the shape with its cut).

    Raises:
        UserError: if the model cannot be used, or an option changes nothing.
    """
    options = {"idf_path": arguments.idf_path, "max_seq_length": arguments.max_seq_length}
    encoder, facts, cut = open_model(arguments.checkpoint, arguments.use_cpu, arguments.dtype, **options)
    if isinstance(asked, Shaper):
        return encoder, facts, asked
    shape = asked.of(cut, encoder.trained_share)
    if asked.lexical_idf and not shape.lexical_share:
        raise UserError("--lexical-idf: weighs nothing without a --lexical-share.")
    if asked.cut_by != "weight" and not shape.cut:
        raise UserError(f"--cut-by {asked.cut_by}: cuts nothing without --max-active-dims or --prune-ratio.")
    return encoder, facts, shape
