"""Query weights that are trained: as a table, and as a function of tokens' embeddings; what draws them to the IDF."""

from pathlib import Path

import pytest
import torch

import sparse_model
from experiment.run.train import train
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import load_settings
from sparse_model.query_function import QueryFunction
from tests.training.runs import lines, stop_before, weights, words_for

LEARNED = ("idf_requires_grad=true", "idf_lr=0.1")


def test_the_function_by_hand() -> None:
    """softplus(softplus⁻¹(2) + a·e + b) with a = (1, -1), e = (0.5, 0.25), b = 0.25: ln(1 + (e² - 1) · e^0.5)."""
    function = QueryFunction(torch.tensor([2.0, 0.0, 100.0]), 2)
    embeddings = torch.tensor([[0.5, 0.25], [3.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(function(embeddings), torch.tensor([2.0, 0.0, 100.0]))
    with torch.no_grad():
        function.linear.weight.copy_(torch.tensor([[1.0, -1.0]]))
        function.linear.bias.fill_(0.25)
    expected = torch.tensor([2.0]).expm1().mul(torch.tensor(0.5).exp()).log1p()
    values = function(embeddings)
    torch.testing.assert_close(values[:1], expected)
    assert values[1] == 0.0
    values.sum().backward()
    assert function.linear.weight.grad.isfinite().all() and function.linear.bias.grad.isfinite().all()


@pytest.mark.parametrize("form", ["table", "embedding"])
def test_a_stopped_run_goes_on(form: str, tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """To the same weights, with frequencies, decay and the function's parameters as they were."""
    more = ["idf_path=corpus", "idf_decay=0.5", "flops_df_alpha=0.1", "save_strategy=steps", "save_steps=3"]
    argv = [*LEARNED, f"idf_form={form}", "idf_l1=0.01", "max_steps=7", *more]
    for folder in ("whole", "stopped"):
        train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / folder, *argv)))
    stop_before(tmp_path / "stopped", 6, 7)
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "stopped", *argv)))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(stopped)[name]), name
    tables = [sparse_model.load(folder).idf_V for folder in (whole, stopped)]
    assert torch.equal(*tables) and tables[0].min() >= 0
    assert "idf_l1" in lines(whole)[0]


def test_a_function_moves_tokens_that_no_query_has(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """A table stays 1 where no query of the training has the token; a mean with the start's weights lies between."""
    moved = {}
    for form, share in (("table", 0.0), ("embedding", 0.0), ("embedding", 0.5)):
        output = tmp_path / f"{form}{share}"
        train(
            load_settings(
                words_for(tiny_model, posnegs_file, output, *LEARNED, f"idf_form={form}", f"start_share={share}")
            )
        )
        moved[form, share] = sparse_model.load(output).idf_V.detach() - 1.0
    assert (moved["table", 0.0] != 0).sum() < (moved["embedding", 0.0] != 0).sum()
    kept = moved["embedding", 0.0] != -1  # special tokens weigh 0
    torch.testing.assert_close(moved["embedding", 0.5][kept], moved["embedding", 0.0][kept] / 2)


@pytest.mark.parametrize("form", ["table", "embedding"])
def test_decay_draws_to_the_start(form: str, tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    distance = []
    for decay in (0, 5):
        output = tmp_path / str(decay)
        argv = [*LEARNED, f"idf_form={form}", f"idf_decay={decay}", "lr_scheduler_type=constant"]
        train(load_settings(words_for(tiny_model, posnegs_file, output, *argv)))
        table = sparse_model.load(output).idf_V.detach()
        distance.append((table[table > 0] - 1).abs().sum().item())
    assert 0 < distance[1] < 0.9 * distance[0]


def test_wishes_for_weights_that_are_not_trained(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    argv = words_for(tiny_model, posnegs_file, tmp_path / "run", "idf_form=embedding", "idf_decay=1", "idf_l1=1")
    with pytest.raises(Mistakes, match=r"(?s)idf_form.*idf_requires_grad.*idf_decay.*idf_l1"):
        train(load_settings(argv))
