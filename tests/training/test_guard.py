"""Runs whose figures are finite and that learn nothing end with the reason; others go on."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

import sparse_model
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import RunError
from tests.conftest import SENTENCES, write_jsonl
from tests.training.runs import lines, parts, words_for
from training import bookkeeping
from training.arguments import build_arguments
from training.guard import BAD_STEPS, BAD_STEPS_OF_A_SCALER, BLOCKS, LONE_BATCHES, Guard
from training.trainer import Trainer

LN_8 = torch.tensor(math.log(8))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_gradient_that_is_never_finite_ends_the_run(bad: float) -> None:
    guard = Guard()
    for step, norm in enumerate([1.0, *[bad] * (BAD_STEPS - 1)]):
        guard.add_step(step, torch.tensor(norm))
    guard.add_step(BAD_STEPS - 1, bad)  # the same step again
    guard.check(has_scaler=False)
    guard.add_step(BAD_STEPS, bad)
    with pytest.raises(RunError, match=f"in each of the last {BAD_STEPS} steps"):
        guard.check(has_scaler=False)
    guard.check(has_scaler=True)
    guard.add_step(99, 2.0)
    guard.check(has_scaler=False)


def test_a_scaler_may_look_for_its_scale() -> None:
    guard = Guard()
    for step in range(16):  # from 2^16 down to 1
        guard.add_step(step, math.inf)
    guard.check(has_scaler=True)
    for step in range(16, BAD_STEPS_OF_A_SCALER):
        guard.add_step(step, math.inf)
    with pytest.raises(RunError, match="not finite"):
        guard.check(has_scaler=True)


def _blocks(guard: Guard, losses: list[float], chance: torch.Tensor = LN_8, counts: bool = True) -> None:
    for loss in losses:
        for noise in (-0.3, 0.3):
            guard.add_ranking(torch.tensor(loss + noise), chance)
        guard.end_block(counts)


def test_a_loss_that_stays_at_chance_ends_the_run() -> None:
    """ln 8 = 2.079, 2 % of it 0.042."""
    guard = Guard()
    _blocks(guard, [2.05, 2.11, 2.08, 2.04, 2.12])
    with pytest.raises(RunError, match=r"stays at chance \(2.079"):
        _blocks(guard, [2.07])


def test_a_loss_that_passes_chance_goes_on() -> None:
    """Falling through it, one block beyond it in between, or in the warm-up: no end."""
    for losses in ([2.4, 2.3, 2.2, 2.12, 2.08, 2.05, 2.0, 1.9], [*[2.08] * (BLOCKS - 1), 1.9] * 3):
        _blocks(Guard(), losses)
    guard = Guard()
    _blocks(guard, [2.08] * 20, counts=False)
    _blocks(guard, [2.08] * (BLOCKS - 1))


def test_batches_without_a_negative_end_the_run() -> None:
    """One batch that has one in between: no end."""
    guard = Guard()
    for chance in [*[0.0] * (LONE_BATCHES - 1), 0.1, *[0.0] * (LONE_BATCHES - 1)]:
        guard.add_ranking(torch.tensor(0.0), torch.tensor(chance))
        guard.check(has_scaler=False)
    guard.add_ranking(torch.tensor(0.0), torch.tensor(0.0))
    with pytest.raises(RunError, match="no query has a document to rank its positive against"):
        guard.check(has_scaler=False)


def test_steps_that_clipping_makes_zero_end_a_run(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    """λ of 10^30: the loss is finite, the square of its gradient is not. Told at the end, however seldom is logged."""
    settings = load_settings(words_for(tiny_model, kd_file, tmp_path, "max_steps=6", "logging_steps=99"))
    args, _ = build_arguments(tmp_path, settings.training)
    examples, objective = parts(settings)
    encoder = sparse_model.load(tiny_model, max_seq_length=16)
    huge = dataclasses.replace(objective, flops_d_lambda=1e30)
    with pytest.raises(RunError, match="in each of the last 6 steps: clipping"):
        Trainer(encoder, args, examples, huge, max_seq_length=16).train()


def _long_run(tiny_model: Path, file: Path, output: Path, *more: str) -> None:
    train(load_settings(words_for(tiny_model, file, output, "max_steps=40", "logging_steps=20", *more)))


@pytest.mark.slow
def test_a_run_at_chance_ends(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Query weights of 0 score every document 0. Its warm-up does not count: 40 steps have 4 blocks of 5 after 20."""
    monkeypatch.setattr(bookkeeping, "GUARD_STEPS", 5)
    tokens = sparse_model.load(tiny_model).tokenizer.get_vocab()
    (tmp_path / "idf.json").write_text(json.dumps(dict.fromkeys(tokens, 0.0)))
    zero = f"idf_path={tmp_path / 'idf.json'}"
    with pytest.raises(RunError, match="stays at chance"):
        _long_run(tiny_model, posnegs_file, tmp_path / "run", zero)
    _long_run(tiny_model, posnegs_file, tmp_path / "warm", zero, "warmup_steps=20")
    _long_run(tiny_model, posnegs_file, tmp_path / "unweighted", zero, "ranking_loss_weight=0")
    _long_run(tiny_model, posnegs_file, tmp_path / "learns")
    log = lines(tmp_path / "learns")
    assert log[0]["infonce"] != pytest.approx(log[0]["chance"], rel=0.02)


def test_a_run_of_one_query_ends(tiny_model: Path, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "rows.jsonl", [{"query": "new york", "pos": s} for s in SENTENCES])
    with pytest.raises(RunError, match="no query has a document"):
        _long_run(tiny_model, file, tmp_path / "run")
