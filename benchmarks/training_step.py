"""A whole training step beside sentence-transformers: tokenisation, forward, loss, backward, AdamW (fused).

    python -m benchmarks.training_step [--documents 32] [--length 256] [--rounds 5] [--sizes tiny minilm]
        [--tiny FOLDER] [--minilm FOLDER] [--json FILE]

The peer is SpladeLoss over SparseMultipleNegativesRankingLoss with a Router of SparseStaticEmbedding (frozen) and
the masked LM, read from the same checkpoint, with the same documents, queries and λ; it runs in float32 and under
bfloat16 autocast. Before anything is timed, the losses of both in evaluation mode (no dropout) must agree to 1e-4;
`loss off` is that difference. Times are with the model's own dropout. The share of the limit is the time that the
products would take at the GEMM peak over the time taken: body and head, forward and backward, for the peer; for this
toolkit the body and the head's forward product (in the 8-bit integers where the screen is used).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import made_models as models
from benchmarks import measure
from training.collator import Collator
from training.data import Example
from training.objective import Objective

OURS, OURS_LOW = "this toolkit, float32-exact", "this toolkit, bfloat16 body"
PEER, PEER_LOW = "sentence-transformers, float32", "sentence-transformers, bfloat16 autocast"
LAMBDA, RATE = 1e-3, 1e-6  # so slow that documents stay as long as they are
AGREEMENT = 1e-4

Loss = Callable[[], Tensor]


def run(
    folders: dict[str, str | None],
    documents: int = 32,
    length: int = models.LENGTH,
    rounds: int = 5,
    vocabulary: int = models.VOCABULARY,
    enough_seconds: float = 20.0,
) -> dict[str, Any]:
    """The rows of every size; a contender that has run for enough_seconds is left out of further rounds.

    Raises:
        AssertionError: the peer's loss is not ours.
    """
    peaks, rows = measure.gemm_peaks(), []
    settings: dict[str, Any] = {"documents": documents, "length": length, "rounds": rounds, "gemm_flops": peaks}
    for size, folder in folders.items():
        with tempfile.TemporaryDirectory() as scratch:
            model = models.prepare(size, folder, scratch, vocabulary, 16 * documents, length)
            settings[size] = model.source
            rows += _size(model, documents, rounds, enough_seconds, peaks)
    return measure.result("training_step", settings, rows)


def _size(
    model: models.Model, n: int, rounds: int, enough_seconds: float, peaks: dict[str, float]
) -> list[measure.Row]:
    encoder = model.load()
    texts = models.full_length(encoder, model.texts, n)
    body, head = models.forward_flops(encoder.mlm, [len(row) for row in encoder.tokenize_documents(texts)])
    screen = measure.screen_precision()
    shortest = {
        OURS: 3 * body / peaks["float32"] + head / peaks[screen],
        OURS_LOW: 3 * body / peaks["bfloat16"] + head / peaks[screen],
        PEER: 3 * (body + head) / peaks["float32"],
        PEER_LOW: 3 * (body + head) / peaks["bfloat16"],
    }
    modules: dict[str, nn.Module] = {OURS: encoder}
    losses: dict[str, Loss] = {OURS: ours(encoder, model.queries[:n], texts)}
    missing = {}
    try:
        modules[PEER], losses[PEER] = peer(model, model.queries[:n], texts)
    except ImportError:
        missing = dict.fromkeys((PEER, PEER_LOW), "not installed: pip install sentence-transformers")
    for low, exact in ((OURS_LOW, OURS), (PEER_LOW, PEER)):
        if exact in losses:
            modules[low], losses[low] = modules[exact], _autocast(losses[exact])
    off = _differences(modules, losses)
    steps: dict[str, Callable[[], Any] | str] = {}
    optimizers = {id(module): optimizer_of(module) for module in modules.values()}
    for name, loss in losses.items():
        steps[name] = step_of(loss, optimizers[id(modules[name])])
    steps.update(missing)
    for module in modules.values():
        module.train()
    rows = measure.side_by_side(steps, PEER, rounds, enough_seconds, model=model.size)
    for row in rows:
        if "missing" not in row:
            row["loss_off"] = off[row["name"]]
            row["share"] = shortest[row["name"]] / row["median_s"]
    return rows


def ours(encoder: Any, queries: list[str], documents: list[str]) -> Loss:
    """The loss of `Trainer.compute_loss`, from texts."""
    collator = Collator(encoder.tokenizer, encoder.max_seq_length, encoder.inf_free)
    objective = Objective(
        loss_types=("infonce",), use_in_batch_negatives=True, flops_d_lambda=LAMBDA, flops_d_T=1, pooled=True
    )
    examples = [Example(query, [document], []) for query, document in zip(queries, documents, strict=True)]

    def loss() -> Tensor:
        batch = {k: v.to(encoder.device) if isinstance(v, Tensor) else v for k, v in collator(examples).items()}
        names = ("query_ids", "query_mask", "document_ids", "document_mask", "document_lengths")
        query_QV, document_NV = encoder(*(batch[name] for name in names))
        with torch.autocast(encoder.device.type, enabled=False):
            keys = batch["document_keys"], batch["query_keys"]
            return objective(query_QV, document_NV, batch["scores"], *keys, step=1)[0]

    return loss


def peer(model: models.Model, queries: list[str], documents: list[str], device: str = "cpu") -> tuple[nn.Module, Loss]:
    """sentence-transformers' module and loss, from texts."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.losses import SparseMultipleNegativesRankingLoss, SpladeLoss

    module = SparseEncoder(str(model.folder), device=device)
    splade = SpladeLoss(module, SparseMultipleNegativesRankingLoss(module), document_regularizer_weight=LAMBDA)
    features = getattr(module, "preprocess", None) or module.tokenize  # its name before version 6

    def loss() -> Tensor:
        texts = features(queries, task="query"), features(documents, task="document")
        batch = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in part.items()} for part in texts]
        return torch.stack(list(splade(batch, None).values())).sum()

    return module, loss


def _autocast(loss: Loss) -> Loss:
    def low() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return loss()

    return low


def _differences(modules: dict[str, nn.Module], losses: dict[str, Loss]) -> dict[str, float]:
    """Relative to ours, without dropout; before any step."""
    values = {}
    for name, loss in losses.items():
        modules[name].eval()
        with torch.no_grad():
            values[name] = float(loss())
    off = {name: abs(value - values[OURS]) / abs(values[OURS]) for name, value in values.items()}
    assert off.get(PEER, 0.0) <= AGREEMENT, f"the losses differ: {values}"
    return off


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    """AdamW as the step takes it."""
    return torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], RATE, fused=True)


def step_of(loss: Loss, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """One training step by this loss."""

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_step", description=(__doc__ or "").split("\n")[0]
    )
    models.add_arguments(parser)
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--length", type=int, default=models.LENGTH)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file to write the figures to")
    asked = parser.parse_args(arguments)
    figures = run(models.chosen(asked), asked.documents, asked.length, asked.rounds, asked.vocabulary)
    return measure.report(figures, asked.json)


if __name__ == "__main__":
    sys.exit(main())
