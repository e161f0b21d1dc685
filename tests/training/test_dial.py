"""A training with a target: what is held out, how λ is moved and logged, and that a stopped run goes on the same."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import UserError, load
from tests.conftest import SENTENCES, write_jsonl
from tests.processes import ranks
from tests.training.runs import NO_DROPOUT, lines, stop_before, weights, words_for
from training.controller import advance, begin
from training.data import Examples
from training.held_out import hold_out

WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})


def _text(number: int) -> str:
    return " ".join(WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(6)) + f" {number}"


@pytest.fixture(scope="module")
def many_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 posnegs rows; document 0 is a negative of all, the others stand in one or two rows."""
    rows = [{"query": f"{WORDS[i % 40]} {i}", "pos": _text(i), "negs": [_text(0), _text(i // 2)]} for i in range(1, 61)]
    return write_jsonl(tmp_path_factory.mktemp("many") / "posnegs.jsonl", rows)


def _texts(part: Examples) -> Iterator[str]:
    for index in range(len(part)):
        yield from part[index].documents


def test_held_out_documents_stand_in_no_row_that_is_trained_on(many_file: Path, tmp_path: Path) -> None:
    """Nor in another file's; at most a tenth of the rows is lost, and another seed chooses others."""
    other = write_jsonl(tmp_path / "kd.jsonl", [{"query": "q", "docs": [_text(i), _text(90 + i)], "scores": [2, 1]}
                                                for i in range(3, 23)])  # fmt: skip

    def parts() -> list[Examples]:
        given = {"documents_per_query": 2}
        return [Examples(many_file, "posnegs", **given), Examples(other, "kd", **given)]

    chosen, files = hold_out(parts(), seed=1), parts()
    before = sum(map(len, files))
    chosen.leave_out(files)
    left = before - sum(map(len, files))
    assert left == sum(map(len, chosen.rows)) and 0 < left <= 8
    assert chosen.documents and not set(chosen.documents) & {text for part in files for text in _texts(part)}
    assert set(chosen.queries).isdisjoint(part[i].query for part in files[:1] for i in range(len(part)))
    assert hold_out(parts(), seed=1) == chosen != hold_out(parts(), seed=2)


def test_documents_of_every_row_cannot_be_held_out(posnegs_file: Path) -> None:
    with pytest.raises(UserError, match="a tenth of these 24 or fewer; give more rows"):
        hold_out([Examples(posnegs_file, "posnegs", documents_per_query=2)], seed=0)


def _words(model: Path, file: Path, output: Path, *more: str) -> list[str]:
    return words_for(model, file, output, "target_d_length=20", "target_steps=2", "max_steps=6", *more)


def test_a_run_logs_what_moves_its_lambda(tiny_model: Path, many_file: Path, tmp_path: Path) -> None:
    """λ of each step follows from what was measured before it; dropout is off and no random number is drawn."""
    train(load_settings(_words(tiny_model, many_file, tmp_path / "run", "report_to=tensorboard")))
    *log, runtime, end = lines(tmp_path / "run")
    state, pace = begin(0.01), 1.0
    for line in log[::2]:
        state = advance(state, line["measured_d_length"], 20, pace)
        pace = 1 - (line["step"] + 1) / 6
        assert line["lambda_d"] == pytest.approx(math.exp(state.log_lambda)) and line["target_d_length"] == 20
    assert [line["measured_d_length"] for line in log[1::2]] == [line["measured_d_length"] for line in log[::2]]
    assert "train_runtime" in runtime and end["step"] == 6
    examples = [Examples(many_file, "posnegs", documents_per_query=2)]
    documents = hold_out(examples, seed=42).documents
    trained = load(tmp_path / "run").encode_documents(documents)
    assert end["measured_d_length"] == pytest.approx(trained.nnz / len(documents))
    assert list((tmp_path / "run").rglob("events.out.tfevents*"))


def test_measuring_changes_nothing_else(tiny_model: Path, many_file: Path, tmp_path: Path) -> None:
    """Measured every step or once, a run with λ at its bound draws the same dropout."""
    words = ("target_d_length=1e9", "flops_d_lambda=1e-9", "max_steps=5")  # never reached: λ stays at its lower bound
    for every in (1, 5):
        train(load_settings(_words(tiny_model, many_file, tmp_path / str(every), *words, f"target_steps={every}")))
    losses = [[line["loss"] for line in lines(tmp_path / name) if "infonce" in line] for name in ("1", "5")]
    assert losses[0] == losses[1]


WAYS = {
    "length": [],
    "flops": ["target_d_length=null", "target_flops=0.5"],
    "mask": ["flops_threshold=10", "activation_type=l3_relu", "decouple_activation=true"],
    "pieces": ["gradient_accumulation_steps=2", "micro_batch_documents=3", "per_device_train_batch_size=2"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_run_goes_on(tiny_model: Path, many_file: Path, tmp_path: Path, way: str) -> None:
    """Stopped after step 3 of 8, between two measurements: λ, figures and weights are the same bit for bit."""
    more = [*WAYS[way], "max_steps=8", "save_strategy=steps", "save_steps=3"]
    for folder in ("whole", "stopped"):
        train(load_settings(_words(tiny_model, many_file, tmp_path / folder, *more)))
    stopped = tmp_path / "stopped"
    stop_before(stopped, 6, 8)
    train(load_settings(_words(tiny_model, many_file, stopped, *more)))
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(weight, weights(stopped)[name]), name
    whole, again = ([_untimed(line) for line in lines(folder)] for folder in (tmp_path / "whole", stopped))
    assert whole == again and any(key.startswith("measured_") for key in whole[-1])
    with pytest.raises(UserError, match="eval_max_seq_length: None before, 8 now"):
        train(load_settings(_words(tiny_model, many_file, stopped, *more, "max_steps=9", "eval_max_seq_length=8")))


def _untimed(line: dict) -> dict:
    return {k: v for k, v in line.items() if not any(w in k for w in ("time", "second")) and k != "train_loss"}


def test_what_is_measured_is_what_an_evaluation_encodes(tiny_model: Path, many_file: Path, tmp_path: Path) -> None:
    """At eval_max_seq_length, where documents are shorter."""
    train(load_settings(_words(tiny_model, many_file, tmp_path / "run", "eval_max_seq_length=4")))
    documents = hold_out([Examples(many_file, "posnegs", documents_per_query=2)], seed=42).documents
    trained = load(tmp_path / "run")
    assert trained.max_seq_length == 4
    assert lines(tmp_path / "run")[-1]["measured_d_length"] == pytest.approx(
        trained.encode_documents(documents).nnz / len(documents)
    )


@pytest.mark.distributed
def test_two_processes_measure_together(tiny_model: Path, many_file: Path, tmp_path: Path) -> None:
    """The same λ as one process with the whole batch."""
    one = _words(tiny_model, many_file, tmp_path / "one", NO_DROPOUT)
    train(load_settings(one))
    two = _words(tiny_model, many_file, tmp_path / "two", NO_DROPOUT, "per_device_train_batch_size=2", "use_cpu=true")
    done = ranks("train_ir.py", *two)
    assert done.returncode == 0, done.stderr
    keys = ("lambda_d", "measured_d_length")
    logged = [[[line[key] for key in keys] for line in lines(tmp_path / name)[:6]] for name in ("one", "two")]
    for first, second in zip(*logged, strict=True):
        assert second == pytest.approx(first, rel=1e-3)


def test_mistakes_of_a_target(tmp_path: Path) -> None:
    given = ["model_name_or_path=m", "train_file=t.jsonl", "data_type=kd", "target_d_length=48"]
    more = ["target_flops=0.3", "flops_d_lambda=0", "flops_threshold=60", "start_share=0.5"]
    told = " ".join(f"{one.key}: {one.text}" for one in load_settings([*given, *more]).unfit_for_training())
    assert "target_d_length: and target_flops: give one of them" in told
    assert "flops_d_lambda: 0, from where no factor leads to target_d_length" in told
    assert "leaves documents of 60 tokens (flops_threshold) as they are" in told
    assert "is of the last step's model, which start_share does not leave" in told
    assert not load_settings(given).unfit_for_training()
    with pytest.raises(UserError, match="target_d_length: Input should be greater than 0"):
        load_settings([*given, "target_d_length=0"])
    assert json.loads(json.dumps(load_settings(given).loss.target)) == ["d_length", 48.0]
