"""Options that several commands have, each said once, and what those of a shape ask for."""

import argparse
from collections.abc import Callable
from typing import Any

from retrieval.asked import AskedShape
from sparse_model import limits
from sparse_model.pruning import Cut

OPTIONS: dict[str, dict[str, Any]] = {
    "checkpoint": {"help": "a folder or hub id that sparse_model.load takes"},
    "dataset": {"help": "a name or the path of a BEIR folder; name:dev: another split than test"},
    "--beir-dir": {"default": "data/beir", "help": "folder of data sets (%(default)s)"},
    "--batch-size": {"type": int, "default": 32, "help": "documents of full length in a batch (%(default)s)"},
    "--max-active-dims": {"type": int, "metavar": "N", "help": "the heaviest tokens of a document alone, at most N"},
    "--prune-ratio": {"type": float, "metavar": "R", "help": "without tokens below this share of its heaviest"},
    "--cut-by": {"choices": ("weight", "weight_df"), "default": "weight", "help": "heavy: by weight, or × ln(N/df)"},
    "--lexical-share": {
        "type": float,
        "metavar": "S",
        "help": "of BM25's weight, added to each token; without it, the share that the model was trained under",
    },
    "--lexical-idf": {
        "action": argparse.BooleanOptionalAction,
        "help": "the share × the corpus' IDF; without it, as the model was trained",
    },
}
LIMITS: dict[str, Callable[[Any, str], Any]] = {
    "batch_size": limits.whole,
    "max_active_dims": limits.whole,
    "prune_ratio": limits.share,
    "lexical_share": limits.lexical_share,
}


def add_shared(parser: argparse.ArgumentParser, *names: str) -> None:
    """Those options."""
    for name in names:
        parser.add_argument(name, **OPTIONS[name])


def asked_shape(arguments: argparse.Namespace) -> AskedShape:
    """What is asked for by those of the options that a command has.

    Raises:
        UserError: for values that cannot be.
    """
    said = vars(arguments)
    numbers = {
        name: check(said[name], f"--{name.replace('_', '-')}")
        for name, check in LIMITS.items()
        if said.get(name) is not None
    }
    return AskedShape(
        Cut(numbers.get("max_active_dims"), numbers.get("prune_ratio")),
        said.get("cut_by", "weight"),
        numbers.get("lexical_share"),
        said.get("lexical_idf"),
    )
