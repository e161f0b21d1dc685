"""The final weights as means: of the last checkpoints, of the start model; by hand, and through a stop."""

from pathlib import Path

import pytest
import torch

import sparse_model
from experiment.run.train import train
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import load_settings
from sparse_model import SparseEncoder, UserError
from tests.training.runs import weights, words_for
from training.averages import mix_with_start, trained_weights


def _trained(encoder: SparseEncoder) -> dict[str, torch.Tensor]:
    return dict(trained_weights(encoder))


SAVES = ["save_strategy=steps", "save_steps=2", "save_total_limit=9", "max_steps=6"]


def test_mean_of_the_last_checkpoints(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """Checkpoints 4 and 6; the same after a stop in which the last was lost."""
    output = tmp_path / "run"
    argv = words_for(tiny_model, posnegs_file, output, *SAVES, "average_last=2")
    train(load_settings(argv))
    parts = [weights(output / f"checkpoint-{step}") for step in (4, 6)]
    final = weights(output)
    for name, weight in final.items():
        torch.testing.assert_close(weight, (parts[0][name] + parts[1][name]) / 2, msg=name)
    assert any(not torch.equal(final[name], parts[1][name]) for name in final)


def test_a_share_of_the_start_model(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """A quarter of the start's weights and three of the trained ones, which are those of a run without it."""
    runs = [["max_steps=4"], ["max_steps=4", "start_share=0.25"]]
    for folder, more in zip(("alone", "mixed"), runs, strict=True):
        train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / folder, *more)))
    start = _trained(sparse_model.load(tiny_model))
    alone, mixed = (_trained(sparse_model.load(tmp_path / folder)) for folder in ("alone", "mixed"))
    for name, weight in mixed.items():
        torch.testing.assert_close(weight, 0.75 * alone[name] + 0.25 * start[name], rtol=1e-4, atol=1e-5, msg=name)


def test_silent_tokens_stay_silent(tiny_model: Path) -> None:
    """What is -10,000 on both sides stays exactly that."""
    encoder = sparse_model.load(tiny_model)
    start = trained_weights(encoder)
    mix_with_start(encoder, start, 0.3)
    for name, weight in trained_weights(encoder).items():
        assert torch.equal(weight, start[name]), name


@pytest.mark.parametrize("more", ["load_best_model_at_end=true", "save_strategy=no", "save_total_limit=1"])
def test_an_average_of_what_is_not_kept_is_refused(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path, more: str
) -> None:
    argv = words_for(tiny_model, posnegs_file, tmp_path / "run", *SAVES, "average_last=3", more)
    with pytest.raises(Mistakes, match="average_last"):
        load_settings(argv, for_training=True)


def test_too_few_checkpoints_are_told_before_training(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """Six steps, saved every two, leave three; a mean of three of them would be called one of four."""
    argv = words_for(tiny_model, posnegs_file, tmp_path / "run", *SAVES, "average_last=4")
    with pytest.raises(UserError, match=r"average_last: 4 checkpoints, but 6 steps leave 3; lower save_steps \(2 now"):
        train(load_settings(argv))
    assert not (tmp_path / "run").exists()
