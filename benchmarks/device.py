"""Head, training step and encoding on a GPU at the paper's sizes, beside what they take the place of.

    make gpu                                   # tests/gpu, then this; DEVICE=cpu: a rehearsal with small sizes
    python -m benchmarks.device --device cuda [--output docs]

A model of DistilBERT's size with random weights, 80 documents of 256 tokens, V 30,522 and 250,002. Contenders run one
after another, some rounds after a warm-up, the device waited for; memory is what a call allocates at its peak. The
product alone is the head's in forward, bfloat16: what no head can beat. Writes performance_gpu.md and .json.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import encode, measure, training_step
from benchmarks import made_models as models
from retrieval.tables import markdown_table
from sparse_model import SparseEncoder
from sparse_model.head import positive_logits, positive_logits_dense


class Sizes(NamedTuple):
    """What is measured."""

    model: str
    vocabularies: tuple[int, ...]
    documents: int
    length: int
    encoded: int
    rounds: int


SIZES = {
    "cuda": Sizes("distilbert", (30522, 250002), 80, 256, 2048, 10),
    "cpu": Sizes("tiny", (2000,), 4, 64, 32, 2),
}
OURS, DENSE, COMPILED, PRODUCT = "this toolkit", "dense autograd", "dense, torch.compile", "product alone, forward"
SCREENED = "this toolkit, head_dtype int8"
PEER = "sentence-transformers"
MISSING = "not installed: pip install sentence-transformers"
Contenders = dict[str, Callable[[], Any] | str]


def run(device: str, sizes: Sizes) -> dict[str, Any]:
    """The rows of all parts."""
    rows: list[measure.Row] = []
    for vocabulary in sizes.vocabularies:
        for case, contenders in _head(device, sizes, vocabulary):
            rows += _measured(contenders, device, sizes.rounds, f"head, V = {vocabulary:,}, {case}")
        with tempfile.TemporaryDirectory() as scratch:
            model = models.prepare(sizes.model, None, scratch, vocabulary, max(sizes.encoded, 16 * sizes.documents))
            rows += _measured(
                _training(device, sizes, model), device, sizes.rounds, f"training step, V = {vocabulary:,}"
            )
            texts = model.texts[: sizes.encoded]
            part = f"{len(texts)} texts encoded, V = {vocabulary:,}"
            rows += _measured(_encoding(device, model, texts), device, 2, part)
    about = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", **sizes._asdict()}
    return measure.result("device", about, rows)


def _head(device: str, sizes: Sizes, vocabulary: int) -> Iterator[tuple[str, Contenders]]:
    """Forward and backward of the head alone, in float32 and in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    hidden_size = models.SIZES[sizes.model]["hidden_size"]
    lengths = [sizes.length] * sizes.documents
    hidden = torch.randn(sum(lengths), hidden_size, generator=generator)
    weight = torch.randn(vocabulary, hidden_size, generator=generator) / hidden_size**0.5
    highest = (hidden[: sizes.length] @ weight.T).amax(dim=0)
    bias = torch.full((vocabulary,), -float(highest.topk(min(models.ACTIVE, vocabulary // 4)).values[-1]))
    upstream = torch.rand(sizes.documents, vocabulary, generator=generator).to(device)
    mask = torch.ones(sizes.documents, sizes.length, device=device)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        leaves = [t.to(device).requires_grad_() for t in (hidden, weight, bias)]
        low = dtype if dtype != torch.float32 else None

        def ours(leaves: list[Tensor] = leaves, low: torch.dtype | None = low) -> Tensor:
            return positive_logits(leaves[0], lengths, leaves[1], leaves[2], low)

        def dense(leaves: list[Tensor] = leaves, dtype: torch.dtype = dtype) -> Tensor:
            rows = leaves[0].to(dtype).view(sizes.documents, sizes.length, -1)
            return positive_logits_dense(rows, mask, leaves[1].to(dtype), leaves[2].to(dtype)).float()

        def both(forward: Callable[[], Tensor], leaves: list[Tensor] = leaves) -> Callable[[], None]:
            def call() -> None:
                for leaf in leaves:
                    leaf.grad = None
                forward().backward(upstream)

            return call

        found: Contenders = {OURS: both(ours), DENSE: both(dense)}
        if not low:
            found[SCREENED] = both(partial(ours, low=torch.int8))
        if device == "cuda":
            found[COMPILED] = both(torch.compile(dense))
        if low:
            halves = leaves[0].detach().to(low), leaves[1].detach().to(low)
            found[PRODUCT] = lambda halves=halves: halves[0] @ halves[1].T  # type: ignore[misc]
        yield name, found


def _training(device: str, sizes: Sizes, model: models.Model) -> Contenders:
    """A whole step under bfloat16 autocast."""
    encoder = model.load().to(device)
    texts = models.full_length(encoder, model.texts, sizes.documents)
    queries = model.queries[: sizes.documents]
    found: Contenders = {OURS: _step(encoder, training_step.ours(encoder, queries, texts), device)}
    try:
        found[PEER] = _step(*training_step.peer(model, queries, texts, device), device)
    except ImportError:
        found[PEER] = MISSING
    return found


def _step(module: torch.nn.Module, loss: Callable[[], Tensor], device: str) -> Callable[[], None]:
    optimizer = torch.optim.AdamW([p for p in module.train().parameters() if p.requires_grad], 1e-6)

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _encoding(device: str, model: models.Model, texts: list[str]) -> Contenders:
    def ours(encoder: SparseEncoder) -> Callable[[], Any]:
        return lambda: encoder.encode_documents(texts)

    exact, low = model.load().to(device), model.load().to(device)
    low.encoding_dtype = torch.bfloat16
    found: Contenders = {f"{OURS}, float32": ours(exact), f"{OURS}, bfloat16 body": ours(low)}
    try:
        found[f"{PEER}, float32"] = encode.peer(model, texts, device)
    except ImportError:
        found[f"{PEER}, float32"] = MISSING
    return found


def _measured(contenders: Contenders, device: str, rounds: int, part: str) -> list[measure.Row]:
    """A row for each; what runs out of memory says so."""
    rows = []
    for name, call in contenders.items():
        row: measure.Row = {"case": part, "name": name}
        if isinstance(call, str):
            rows.append(row | {"missing": call})
            continue
        try:
            rows.append(row | _timed(call, device, rounds))
        except torch.OutOfMemoryError:
            rows.append(row | {"missing": "out of memory"})
            torch.cuda.empty_cache()
        print(part, name, *(f"{k} {v:.4g}" for k, v in rows[-1].items() if isinstance(v, float)), flush=True)
    return rows


def _timed(call: Callable[[], Any], device: str, rounds: int) -> dict[str, Any]:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    call()
    wait()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        wait()
        seconds.append(time.perf_counter() - started)
    figures: dict[str, Any] = {"median_s": median(seconds), "min_s": min(seconds), "max_s": max(seconds)}
    if device == "cuda":
        figures["peak_bytes"] = torch.cuda.max_memory_allocated() - before
    return figures


def page(figures: dict[str, Any]) -> str:
    """The page as Markdown."""
    about = figures["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    parts = [
        "# Performance on a GPU",
        f"Written by `make gpu` on {about['device']}: {about['model']} of random weights, {about['documents']} "
        f"documents of {about['length']} tokens, medians of {about['rounds']} rounds. {versions}.",
        markdown_table(measure.cells(figures["rows"])),
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=list(SIZES), default="cuda")
    parser.add_argument("--output", type=Path, help="folder of both files; default: docs, of a rehearsal output/gpu")
    asked = parser.parse_args(arguments)
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU; --device cpu is a rehearsal")
    figures = run(asked.device, SIZES[asked.device])
    output = asked.output or Path("docs" if asked.device == "cuda" else "output/gpu")
    output.mkdir(parents=True, exist_ok=True)
    (output / "performance_gpu.json").write_text(json.dumps(figures, indent=1) + "\n")
    (output / "performance_gpu.md").write_text(page(figures))
    print(f"written: {output / 'performance_gpu.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
