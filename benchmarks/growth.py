"""How time and memory grow: the head with tokens, documents and vocabulary; encoding and search with the corpus.

    python -m benchmarks.growth [--rounds 2] [--quick] [--tiny FOLDER] [--json FILE]

One thing grows at a time. The head runs forward and backward on random hidden states of 128 dimensions with 250 active
outputs a document (16 documents × 256 tokens, V = 30,522, but for what grows); encoding runs the tiny model over up to
2048 documents; search is `benchmarks.search --growth`, milliseconds a query and bytes of the index with up to
1,000,000 documents. An exponent of 1 is linear: the slope of the logarithm of time (memory) over that of size, fitted
to all points.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import made_models as models
from benchmarks import measure, search
from sparse_model.head import positive_logits

HIDDEN, DOCUMENTS, LENGTH = 128, 16, 256
CURVES = {
    "tokens": [32, 64, 128, 256, 512],
    "documents": [4, 8, 16, 32, 64],
    "vocabulary": [7630, 15261, 30522, 61044, 122088],
}
"""What grows -> to what; QUICK instead with --quick."""
CORPUS, SEARCH = [128, 256, 512, 1024, 2048], search.GROWTH
QUICK = {"tokens": [32, 64], "documents": [2, 4], "vocabulary": [7630, 15261]}
QUICK_CORPUS, QUICK_SEARCH = [16, 32], (1000, 3000)
TOP_K = 1000


def run(
    curves: dict[str, list[int]] = CURVES,
    corpus: Sequence[int] = CORPUS,
    search_sizes: Sequence[int] = SEARCH,
    rounds: int = 2,
    checkpoint: str | None = None,
    vocabulary: int = models.VOCABULARY,
) -> dict[str, Any]:
    """The rows of every curve, and the exponents of each in time and memory."""
    fixed = {"documents": DOCUMENTS, "tokens": LENGTH, "vocabulary": vocabulary}
    rows = []
    for curve, sizes in curves.items():
        for x in sizes:
            rows.append(_point(f"head, {curve}", x, head_step(**fixed | {curve: x}), rounds))
    source, calls = encoding(corpus, checkpoint, vocabulary)
    rows += [_point("encoding, documents", x, call, rounds) for x, call in calls.items()]
    if search_sizes:
        rows += search_growth(search_sizes, rounds)
    names = list(dict.fromkeys(row["curve"] for row in rows))
    exponents = {name: exponent([row for row in rows if row["curve"] == name]) for name in names}
    settings = {"rounds": rounds, "tiny": source, **fixed, "hidden": HIDDEN}
    return measure.result("growth", settings, rows, exponents=exponents)


def _point(curve: str, x: int, call: Callable[[], Any], rounds: int) -> measure.Row:
    (row,) = measure.side_by_side({"this toolkit": call}, "this toolkit", rounds)
    kept = ("median_s", "min_s", "max_s", "rounds", "peak_bytes")
    return {"curve": curve, "x": x, **{key: row[key] for key in kept}}


def head_step(documents: int, tokens: int, vocabulary: int) -> Callable[[], None]:
    """Forward and backward over random hidden states, at a bias that leaves ACTIVE outputs a document."""
    generator = torch.Generator().manual_seed(0)
    hidden_TD = torch.randn(documents * tokens, HIDDEN, generator=generator)
    weight_VD = torch.randn(vocabulary, HIDDEN, generator=generator) * 0.02
    highest_V = (hidden_TD[:tokens] @ weight_VD.T).amax(dim=0)
    bias_V = torch.zeros(vocabulary) - highest_V.topk(min(models.ACTIVE, vocabulary // 4)).values[-1]
    leaves = [tensor.requires_grad_() for tensor in (hidden_TD, weight_VD, bias_V)]

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        positive_logits(hidden_TD, [tokens] * documents, weight_VD, bias_V).sum().backward()

    return step


def encoding(sizes: Sequence[int], checkpoint: str | None, vocabulary: int) -> tuple[str, dict[int, Callable[[], Any]]]:
    """The tiny model's source, and a call for each number of documents."""
    with tempfile.TemporaryDirectory() as scratch:
        model = models.prepare("tiny", checkpoint, scratch, vocabulary, max(sizes))
        encoder = model.load()
    return model.source, {n: lambda n=n: encoder.encode_documents(model.texts[:n]) for n in sizes}  # type: ignore[misc]


def search_growth(sizes: Sequence[int], rounds: int) -> list[measure.Row]:
    """Time a query and bytes of the index."""
    found = search.run_growth(sizes, top_k=(TOP_K,), rounds=rounds)
    return [
        {
            "curve": "search, documents",
            "x": row["documents"],
            "median_s": row[f"ms_per_query@{TOP_K}"] / 1e3,
            "peak_bytes": row["bytes"],
            "build_seconds": row["build_seconds"],
        }
        for row in found["rows"]
    ]


def exponent(rows: Sequence[measure.Row]) -> dict[str, float | None]:
    """Slopes over log x of log time and log memory; None where there are too few points."""
    slopes: dict[str, float | None] = {}
    for name, key in (("time", "median_s"), ("memory", "peak_bytes")):
        points = [(row["x"], row[key]) for row in rows if row.get(key)]
        logarithms = np.log(points)
        slopes[name] = float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0]) if len(points) > 1 else None
    return slopes


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").split("\n")[0])
    models.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="two small points a curve, to see that it works")
    parser.add_argument("--json", help="file to write the figures to")
    asked = parser.parse_args(arguments)
    curves, corpus, sizes = (QUICK, QUICK_CORPUS, QUICK_SEARCH) if asked.quick else (CURVES, CORPUS, SEARCH)
    figures = run(curves, corpus, sizes, asked.rounds, models.chosen(asked).get("tiny"), asked.vocabulary)
    code = measure.report(figures, asked.json)
    for name, slopes in figures["exponents"].items():
        print(name, *(f"{key} ^{value:.2f}" for key, value in slopes.items() if value is not None))
    return code


if __name__ == "__main__":
    sys.exit(main())
