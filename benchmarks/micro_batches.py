"""A training step in pieces beside the whole batch at once: time, memory and gradients as the batch grows.

    python -m benchmarks.micro_batches [--documents 32 128 320] [--piece 8] [--length 256] [--rounds 3]
        [--most_at_once 128] [--sizes tiny minilm] [--tiny FOLDER] [--minilm FOLDER] [--json FILE]

The step is that of `benchmarks.training_step`: a positive a query, in-batch negatives, FLOPS over the batch. Gradients
are compared without dropout: the norm of their difference over the norm of the whole batch's.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor

from benchmarks import made_models as models
from benchmarks import measure
from benchmarks.training_step import Loss, optimizer_of, ours, step_of
from sparse_model import SparseEncoder

WHOLE = "all at once"
DOCUMENTS = (32, 128, 320)


def run(
    folders: dict[str, str | None],
    documents: Sequence[int] = DOCUMENTS,
    piece: int = 8,
    length: int = models.LENGTH,
    rounds: int = 3,
    most_at_once: int = 128,
    vocabulary: int = models.VOCABULARY,
) -> dict[str, Any]:
    """Two rows for each size and number of documents; larger batches than most_at_once run in pieces alone."""
    rows = []
    settings: dict[str, Any] = {"piece": piece, "length": length, "rounds": rounds}
    for size, folder in folders.items():
        with tempfile.TemporaryDirectory() as scratch:
            model = models.prepare(size, folder, scratch, vocabulary, 2 * max(documents), length)
            settings[size] = model.source
            for n in documents:
                rows += _rows(model, n, piece, rounds, most_at_once)
    return measure.result("micro_batches", settings, rows)


def _rows(model: models.Model, n: int, piece: int, rounds: int, most_at_once: int) -> list[measure.Row]:
    encoder = model.load()
    queries = list(islice(cycle(model.queries), n))
    loss = ours(encoder, queries, models.full_length(encoder, model.texts, n))
    sizes = {WHOLE: None, f"in pieces of {piece}": piece}
    gradients = {name: _gradient(encoder, loss, size) for name, size in sizes.items() if n <= most_at_once or size}
    encoder.train()
    optimizer = optimizer_of(encoder)
    step = step_of(loss, optimizer)
    calls: dict[str, Callable[[], Any] | str] = {
        name: _in_pieces(encoder, size, step) if name in gradients else "left out: too large"
        for name, size in sizes.items()
    }
    rows = measure.side_by_side(calls, WHOLE, rounds, model=model.size, x=n)
    if WHOLE in gradients:
        for row in rows:
            difference = gradients[row["name"]] - gradients[WHOLE]
            row["gradients_off"] = float(difference.norm() / gradients[WHOLE].norm())
    return rows


def _gradient(encoder: SparseEncoder, loss: Loss, size: int | None) -> Tensor:
    encoder.micro_batch_documents = size
    loss().backward()
    gradient = torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
    encoder.zero_grad()
    return gradient


def _in_pieces(encoder: SparseEncoder, size: int | None, step: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        encoder.micro_batch_documents = size
        step()

    return call


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro_batches", description=(__doc__ or "").split("\n")[0]
    )
    models.add_arguments(parser)
    parser.add_argument("--documents", type=int, nargs="+", default=DOCUMENTS)
    parser.add_argument("--piece", type=int, default=8)
    parser.add_argument("--length", type=int, default=models.LENGTH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most_at_once", type=int, default=128)
    parser.add_argument("--json", help="file to write the figures to")
    asked = parser.parse_args(arguments)
    sizes = (asked.documents, asked.piece, asked.length, asked.rounds, asked.most_at_once, asked.vocabulary)
    return measure.report(run(models.chosen(asked), *sizes), asked.json)


if __name__ == "__main__":
    sys.exit(main())
