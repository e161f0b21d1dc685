"""The line that training shows for each log."""

import json
from pathlib import Path

import pytest

from experiment.run.train import train
from experiment.settings.settings import load_settings
from tests.training.runs import words_for
from training.log_lines import log_line

STEP = {
    "loss": 0.5604,
    "grad_norm": 1.234,
    "learning_rate": 6.8e-4,
    "infonce": 0.5297,
    "flops_d": 1.538,
    "lambda_d": 0.02,
    "d_length": 196.7,
    "d_length_p5": 83.0,
    "d_length_p50": 190.0,
    "d_length_p95": 370.0,
    "empty_documents": 0.0,
    "unused_tokens": 0.5,
    "epoch": 0.7,
}


def test_a_step_is_one_line() -> None:
    assert log_line(STEP, 320, 450, ("infonce",)) == (
        "step 320/450  loss 0.5604: infonce 0.5297 + 0.02 × flops_d 1.538  196.7 tokens (83–370)  lr 6.8e-04  grad 1.23"
    )


def test_weights_queries_and_empty_documents_are_told() -> None:
    more = {"kldiv": 0.25, "flops_q": 2.0, "lambda_q": 1e-4, "empty_documents": 0.031}
    line = log_line(STEP | more, 1, 9, ("kldiv", "infonce"), 2.0)
    assert "loss 0.5604: 2 × (kldiv 0.2500 + infonce 0.5297) + 0.02 × flops_d 1.538 + 0.0001 × flops_q 2  " in line
    assert "196.7 tokens (83–370), 3.1% empty" in line


def test_evaluations_and_the_end_have_lines_too() -> None:
    figures = {"eval_ndcg@10": 0.41234, "eval_flops": 1.5, "epoch": 2.0}
    assert log_line(figures, 20, 40, ()) == "step 20/40  evaluation: ndcg@10 0.4123  flops 1.5000"
    end = {"train_runtime": 90.06, "train_loss": 0.61234, "train_samples_per_second": 9.0}
    assert log_line(end, 40, 40, ()) == "step 40/40  done in 90 s, mean loss 0.6123"


@pytest.mark.parametrize("without_bar", ["true", "false"])
def test_training_shows_lines_and_no_dict(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path, without_bar: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path, f"disable_tqdm={without_bar}", "max_steps=2")))
    shown = capsys.readouterr()
    logs = [line for line in shown.out.splitlines() if line.startswith("step ")]
    assert [line.split("  ")[0] for line in logs] == ["step 1/2", "step 2/2", "step 2/2"]
    assert "infonce" in logs[0] and "done in" in logs[-1]
    assert "{'" not in shown.out
    assert ("2/2 [" in shown.err) == (without_bar == "false")


def test_losses_of_whole_documents_are_part_of_the_sum() -> None:
    """Where the others are of documents that are cut: what stands in the line adds up to the loss."""
    parts = {"loss": 0.29, "infonce": 0.21, "whole_infonce": 0.16}
    assert log_line(parts, 1, 9, ("infonce",), whole_weight=0.5) == (
        "step 1/9  loss 0.2900: infonce 0.2100 + 0.5 × whole_infonce 0.1600"
    )


@pytest.mark.parametrize("steps", [3, 4])
def test_the_last_step_is_logged(tiny_model: Path, posnegs_file: Path, tmp_path: Path, steps: int) -> None:
    """Once, whether logging_steps falls on it or not; with the mean of the steps since the log before."""
    for every in (1, 2, 9):
        more = [f"max_steps={steps}", f"logging_steps={every}"]
        train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / str(every), *more)))
    rows = {
        every: [row for row in map(json.loads, (tmp_path / str(every) / "metrics.jsonl").open()) if "loss" in row]
        for every in (1, 2, 9)
    }
    assert [row["step"] for row in rows[2]] == ([2, 3] if steps == 3 else [2, 4])
    assert [row["step"] for row in rows[9]] == [steps]
    assert rows[9][0]["loss"] == pytest.approx(sum(row["loss"] for row in rows[1]) / steps)


def test_a_target_stands_beside_what_was_measured() -> None:
    held_out = {"measured_d_length": 51.26, "target_d_length": 48.0}
    assert "196.7 tokens (83–370)  held out 51.26 tokens for 48  lr 6.8e-04" in log_line(STEP | held_out, 1, 9, ())
    end = {"measured_flops": 0.34567, "target_flops": 0.35, "epoch": 2.0}
    assert log_line(end, 9, 9, ()) == "step 9/9  held out 0.3457 FLOPS for 0.35"
