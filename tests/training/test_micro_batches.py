"""A batch in pieces: gradients, losses and weights of the whole batch, in the memory of a piece."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sparse_model
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import RunError, SparseEncoder
from sparse_model import hidden as hidden_module
from tests.conftest import SENTENCES
from tests.mining.models import make_sparse
from tests.processes import ranks
from tests.training.runs import NO_DROPOUT, lines, stop_before, weights, words_for
from training.objective import Objective

TEXTS = [" ".join(SENTENCES[i % len(SENTENCES)].split()[: 2 + i % 7]) for i in range(12)]
OBJECTIVES = {
    "in batch": Objective(("infonce",), use_in_batch_negatives=True, flops_d_lambda=0.1, flops_d_T=1),
    "mask": Objective(("infonce",), flops_d_lambda=0.1, flops_d_T=1, flops_threshold=20),
    "elastic": Objective(("infonce",), use_in_batch_negatives=True, elastic_lengths=(5,)),
}


def _gradients(
    encoder: SparseEncoder, objective: Objective, size: int | None, low: torch.dtype | None = None
) -> list[Tensor]:
    """low: of autocast; the loss in float16 is scaled, as by the Trainer, or small gradients would vanish."""
    encoder.zero_grad()
    encoder.micro_batch_documents = size
    rows = encoder.tokenize_documents(TEXTS)
    queries = encoder.pad(encoder.tokenize_queries(TEXTS[:6]))
    with torch.autocast("cpu", dtype=low, enabled=low is not None):
        query_QV, document_NV = encoder(*queries, *encoder.pad(rows), [len(row) for row in rows])
    loss, _ = objective(query_QV, document_NV, torch.empty(6, 0), torch.arange(12), torch.arange(6), 0)
    scale = 1024.0 if low == torch.float16 else 1.0
    (scale * loss).backward()
    return [p.grad / scale for p in encoder.parameters() if p.grad is not None]


def _difference(whole: list[Tensor], pieces: list[Tensor]) -> float:
    """The norm of the difference of both gradients, as a share of the whole one's."""
    a, b = (torch.cat([part.flatten() for part in parts]).double() for parts in (whole, pieces))
    return ((a - b).norm() / a.norm()).item()


@pytest.mark.parametrize("size", [1, 5, 11])
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("inf_free", [True, False])
def test_gradients_are_those_of_the_whole_batch(tiny_model: Path, name: str, size: int, inf_free: bool) -> None:
    encoder = sparse_model.load(tiny_model, inf_free=inf_free)
    whole = _gradients(encoder, OBJECTIVES[name], None)
    pieces = _gradients(encoder, OBJECTIVES[name], size)
    assert len(whole) == len(pieces) > 10
    assert _difference(whole, pieces) < 1e-6


@pytest.mark.parametrize("option", ["checkpointing", "bfloat16", "float16", "trained idf"])
def test_with_other_options(tiny_model: Path, option: str) -> None:
    encoder = sparse_model.load(tiny_model)
    if option == "checkpointing":
        encoder.train()
        encoder.mlm.apply(lambda m: setattr(m, "p", 0.0) if isinstance(m, torch.nn.Dropout) else None)
        encoder.activation_checkpointing_enable()
    if option == "trained idf":
        encoder.use_idf(torch.rand(encoder.vocabulary_size), requires_grad=True)
    low = getattr(torch, option) if "float" in option else None
    whole, pieces = (_gradients(encoder, OBJECTIVES["in batch"], size, low) for size in (None, 4))
    assert _difference(whole, pieces) < (1e-2 if low else 1e-6)


def test_dropout_is_the_same_both_times(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients equal those of the same pieces kept in memory, where dropout is drawn once."""
    encoder = sparse_model.load(tiny_model).train()
    torch.manual_seed(3)
    pieces = _gradients(encoder, OBJECTIVES["in batch"], 5)

    def kept(function: Callable[..., Tensor], *arguments: Any, use_reentrant: bool) -> Tensor:
        return function(*arguments)

    monkeypatch.setattr(hidden_module, "checkpoint", kept)
    torch.manual_seed(3)
    for a, b in zip(_gradients(encoder, OBJECTIVES["in batch"], 5), pieces, strict=True):
        assert torch.equal(a, b)


def test_only_a_piece_is_kept(tiny_model: Path) -> None:
    """What the forward pass keeps for backward, beside weights and the documents' own states."""

    def kept(size: int | None) -> int:
        encoder, total = sparse_model.load(tiny_model), 0
        encoder.micro_batch_documents = size
        rows = encoder.tokenize_documents(TEXTS * 8)

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder.document_weights(*encoder.pad(rows), [len(row) for row in rows])
        return total

    assert kept(4) < kept(None) / 2


RUN = [NO_DROPOUT, "max_steps=8", "gradient_accumulation_steps=2", "flops_threshold=5"]


def _teacher(folder: Path) -> str:
    teacher = {"types": ["sparse"], "model_ids": [str(make_sparse(folder / "teacher"))]}
    return f"kd_ensemble_teacher_kwargs={json.dumps(teacher)}"


@pytest.mark.parametrize("teacher", [False, True])
def test_a_run_in_pieces_is_the_run(tiny_model: Path, posnegs_file: Path, tmp_path: Path, teacher: bool) -> None:
    more = [*RUN, "loss_types=kldiv", _teacher(tmp_path)] if teacher else RUN
    for folder, size in (("whole", "null"), ("pieces", "3")):
        words = words_for(tiny_model, posnegs_file, tmp_path / folder, *more, f"micro_batch_documents={size}")
        train(load_settings(words))
    whole, pieces = lines(tmp_path / "whole"), lines(tmp_path / "pieces")
    assert [line["loss"] for line in pieces[:8]] == pytest.approx([line["loss"] for line in whole[:8]], rel=1e-5)
    for name, weight in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "pieces")[name], weight, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("size", ["3", "null"])
def test_a_stopped_run_goes_on(tiny_model: Path, posnegs_file: Path, tmp_path: Path, size: str) -> None:
    """After step 4 of 8, dropout on. In the same pieces to the same bits; the whole batch may go on, too, but draws
    dropout in another order."""
    more = ["max_steps=8", "save_strategy=steps", "save_steps=4"]
    for folder in ("whole", "stopped"):
        words = words_for(tiny_model, posnegs_file, tmp_path / folder, *more, "micro_batch_documents=3")
        train(load_settings(words))
    stopped = tmp_path / "stopped"
    stop_before(stopped, 8)
    train(load_settings(words_for(tiny_model, posnegs_file, stopped, *more, f"micro_batch_documents={size}")))
    assert [line["step"] for line in lines(stopped) if "infonce" in line] == [1, 2, 3, 4, 5, 6, 7, 8]
    same = [torch.equal(weight, weights(stopped)[name]) for name, weight in weights(tmp_path / "whole").items()]
    assert all(same) == (size == "3")


OTHER_WAYS = {
    "mask": [],
    "siamese, checkpointed": [
        *("inf_free=false", "flops_q_lambda=0.01", "flops_q_T=2", "gradient_checkpointing=true"),
    ],
}


@pytest.mark.distributed
@pytest.mark.parametrize("way", OTHER_WAYS)
def test_two_processes_in_pieces(tiny_model: Path, posnegs_file: Path, tmp_path: Path, way: str) -> None:
    """The weights of one process with the whole batch."""
    more = [*RUN, *OTHER_WAYS[way]]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "alone", *more)))
    two = words_for(tiny_model, posnegs_file, tmp_path / "two", *more, "micro_batch_documents=2")
    done = ranks("train_ir.py", *[word.replace("batch_size=4", "batch_size=2") for word in two])
    assert done.returncode == 0, done.stderr
    for name, weight in weights(tmp_path / "alone").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], weight, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(("words", "remedy"), [([], "micro_batch_documents=1"), (["micro_batch_documents=8"], "=4")])
def test_too_little_memory_names_the_key(
    tiny_model: Path,
    posnegs_file: Path,
    tmp_path: Path,
    words: list[str],
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(SparseEncoder, "forward", full)
    with pytest.raises(RunError, match=f"memory.*{remedy}"):
        train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", *words)))
