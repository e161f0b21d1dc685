"""The trainer in one process: accumulation, groups, resumption, guards, paper keys on a CPU."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import sparse_model
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import RunError, UserError
from tests.conftest import write_jsonl
from tests.training.runs import NO_DROPOUT, lines, parts, weights, words_for
from training.arguments import build_arguments
from training.data import Examples
from training.logged import StepStatistics
from training.trainer import Trainer


@pytest.mark.parametrize("data", ["kd_file", "posnegs_file"])
def test_a_run_leaves_a_checkpoint_a_log_and_its_settings(
    data: str, tiny_model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    output = tmp_path / "run"
    file = request.getfixturevalue(data)
    train(load_settings(words_for(tiny_model, file, output, "activation_type=l1_relu", "idf_path=corpus")))
    encoder = sparse_model.load(output)
    assert encoder.activation_type == "l1_relu" and encoder.max_seq_length == 16
    texts = [
        t
        for row in map(json.loads, file.read_text().splitlines())
        for t in row.get("docs", [row.get("pos"), *row.get("negs", [])])
    ]
    expected = sparse_model.corpus_idf(encoder.tokenizer, sorted(set(texts)), encoder.vocabulary_size)
    torch.testing.assert_close(encoder.idf_V.detach(), expected)
    log = lines(output)
    assert [line["step"] for line in log] == [1, 2, 3, 4, 4]
    ranking = "kldiv" if data == "kd_file" else "infonce"
    for line in log[:4]:
        total = line[ranking] + line["lambda_d"] * line["flops_d"]
        assert line["loss"] == pytest.approx(total, rel=1e-3)
        assert line["d_length_p5"] <= line["d_length_p50"] <= line["d_length_p95"]
        assert line["empty_documents"] == 0 and 0 <= line["unused_tokens"] < 1
    assert [line["lambda_d"] for line in log[:3]] == pytest.approx([0.0025, 0.01, 0.01])
    assert "activation_type: l1_relu" in (output / "config.yaml").read_text()


def test_accumulated_micro_batches_give_the_mean_of_their_gradients(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path
) -> None:
    """One step of SGD at rate 1 without clipping is the gradient; k = 2 gives the mean of two micro-batches'."""
    gradients = []
    for first, micro, accumulation in ((0, 4, 1), (4, 4, 1), (0, 4, 2)):
        argv = words_for(tiny_model, posnegs_file, tmp_path, NO_DROPOUT, "max_steps=1", "max_grad_norm=null")
        argv += ["optim=sgd", "learning_rate=1.0", "flops_d_T=1", f"gradient_accumulation_steps={accumulation}"]
        settings = load_settings([*argv, f"per_device_train_batch_size={micro}"])
        encoder = sparse_model.load(tiny_model, model_overrides=settings.model.model_overrides, max_seq_length=16)
        before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
        args, _ = build_arguments(tmp_path, settings.training)
        trainer = Trainer(encoder, args, *parts(settings), max_seq_length=16)
        order = list(trainer.sampler)
        trainer.sampler.__class__ = type(
            "Fixed", (type(trainer.sampler),), {"__iter__": lambda s, o=order[first:]: iter(o)}
        )
        trainer.train()
        gradients.append({name: before[name] - p.detach() for name, p in encoder.named_parameters()})
    for name, accumulated in gradients[2].items():
        mean = (gradients[0][name] + gradients[1][name]) / 2
        torch.testing.assert_close(accumulated, mean, rtol=1e-4, atol=1e-6, msg=name)


def test_optimizer_groups(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """No decay on biases, LayerNorm and the query table; the table has its own rate."""
    argv = words_for(tiny_model, posnegs_file, tmp_path, "weight_decay=0.1", "idf_requires_grad=true", "idf_lr=0.5")
    settings = load_settings(argv)
    encoder = sparse_model.load(tiny_model)
    encoder.use_idf(encoder.idf_V, requires_grad=True)
    args, _ = build_arguments(tmp_path, settings.training)
    trainer = Trainer(encoder, args, *parts(settings), max_seq_length=16, idf_lr=0.5)
    groups = trainer.create_optimizer().param_groups
    names = {id(p): name for name, p in encoder.named_parameters()}
    decayed = {names[id(p)] for p in groups[0]["params"]}
    assert groups[0]["weight_decay"] == 0.1 and all(g["weight_decay"] == 0 for g in groups[1:])
    assert not any(name.endswith("bias") or "LayerNorm" in name or name == "idf_V" for name in decayed)
    assert [names[id(p)] for p in groups[2]["params"]] == ["idf_V"] and groups[2]["lr"] == 0.5


def test_trained_query_weights_stay_non_negative_and_are_saved(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    train(load_settings(words_for(tiny_model, posnegs_file, output, "idf_requires_grad=true", "idf_lr=1.0")))
    table = sparse_model.load(output).idf_V.detach()
    assert table.min() >= 0 and (table != 1.0).sum() > 10


def test_too_few_examples_for_a_step(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not fill one optimizer step"):
        train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", "gradient_accumulation_steps=99")))


def test_what_a_starting_checkpoint_says_is_recorded_and_checked(
    tiny_model: Path, posnegs_file: Path, tmp_path: Path
) -> None:
    """Trained on from a siamese l1_relu checkpoint, no model key given: siamese, so λ_q is needed."""
    sparse_model.load(tiny_model, activation_type="l1_relu", inf_free=False, max_seq_length=12).save(tmp_path / "start")
    argv = [word for word in words_for(tmp_path / "start", posnegs_file, tmp_path / "run") if "max_seq" not in word]
    with pytest.raises(UserError, match="flops_q_lambda"):
        train(load_settings(argv))
    train(load_settings([*argv, "flops_q_lambda=0.01", "flops_q_T=2"]))
    written = (tmp_path / "run" / "config.yaml").read_text()
    assert "activation_type: l1_relu" in written and "inf_free: false" in written and "max_seq_length: 12" in written
    assert lines(tmp_path / "run")[0]["flops_q"] > 0


def test_two_steps_with_the_papers_keys_run_on_a_cpu(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    more = ["fp16=true", "max_grad_norm=null", "lr_scheduler_type=linear", "warmup_steps=1", "max_steps=2"]
    more += ["flops_threshold=5", "weight_decay=0.01", "adam_epsilon=1e-6", "gradient_checkpointing=true"]
    train(load_settings(words_for(tiny_model, kd_file, tmp_path / "run", *more)))
    assert lines(tmp_path / "run")[-1]["step"] == 2
    assert "fp16: there is no GPU" in (tmp_path / "run" / "train.log").read_text() or torch.cuda.is_available()


def test_bf16_keeps_the_losses_in_float32(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    for name, more in (("plain", []), ("bf16", ["bf16=true"])):
        train(load_settings(words_for(tiny_model, kd_file, tmp_path / name, NO_DROPOUT, "max_steps=1", *more)))
    plain, low = lines(tmp_path / "plain")[0], lines(tmp_path / "bf16")[0]
    assert plain["kldiv"] != low["kldiv"] and plain["kldiv"] == pytest.approx(low["kldiv"], rel=0.1)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_the_scheduler_is_obeyed(name: str, tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    train(load_settings(words_for(tiny_model, kd_file, tmp_path / "run", f"lr_scheduler_type={name}")))
    expected = {"constant": [1, 1, 1], "cosine": [(1 + math.cos(math.pi * i / 4)) / 2 for i in (0, 1, 2)]}[name]
    rates = [line["learning_rate"] / 1e-3 for line in lines(tmp_path / "run")[:4]]
    # Versions of the Trainer differ in whether a step's rate is read before or after the scheduler's own step.
    assert np.allclose(rates[:3], expected) or np.allclose(rates[:2], expected[1:])


def test_evaluation_while_training_chooses_the_best(
    tiny_model: Path, posnegs_file: Path, beir_folder: Path, tmp_path: Path
) -> None:
    more = ["eval_strategy=steps", "eval_steps=2", "save_strategy=steps", "save_steps=2", "load_best_model_at_end=true"]
    more += [f"eval_beir_datasets={beir_folder}", "learning_rate=0.05", "seed=2", "save_total_limit=1"]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", *more)))
    scores = {line["step"]: line["eval_ndcg@10"] for line in lines(tmp_path / "run") if "eval_ndcg@10" in line}
    best = max(scores, key=lambda step: (scores[step], -step))
    assert best != max(scores), "the last step is the best: this shows nothing"
    chosen = tmp_path / "run" / f"checkpoint-{best}"
    for name, weight in weights(tmp_path / "run").items():
        assert torch.equal(weight, weights(chosen)[name])


@pytest.mark.parametrize(("more", "best"), [([], min), (["greater_is_better=true"], max)])
def test_of_costs_less_is_better_unless_told(
    more: list[str],
    best: Callable[[list[float]], float],
    tiny_model: Path,
    posnegs_file: Path,
    beir_folder: Path,
    tmp_path: Path,
) -> None:
    more = ["eval_strategy=steps", "eval_steps=2", "save_strategy=steps", "save_steps=2", *more]
    more += [f"eval_beir_datasets={beir_folder}", "load_best_model_at_end=true", "metric_for_best_model=flops"]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", "learning_rate=0.05", *more)))
    costs = [line["eval_flops"] for line in lines(tmp_path / "run") if "eval_flops" in line]
    state = json.loads((tmp_path / "run" / "checkpoint-4" / "trainer_state.json").read_text())
    assert len({*costs}) == 2 and state["best_metric"] == best(costs)


def test_collapse_and_nan_stop_the_run() -> None:
    statistics = StepStatistics()
    statistics.add({"kldiv": torch.tensor(1.0)}, torch.zeros(3, 5))
    with pytest.raises(RunError, match="collapsed"):
        statistics.check()
    assert statistics.drain()["empty_documents"] == 1.0
    statistics.add({"kldiv": torch.tensor(float("nan"))}, torch.ones(3, 5))
    with pytest.raises(RunError, match="kldiv is not finite"):
        statistics.check()


@pytest.mark.parametrize(
    ("more", "message"),
    [(["flops_d_lambda=1e4", "learning_rate=0.05", "optim=sgd"], "collapsed"), (["learning_rate=4e9"], "exploded")],
)
def test_a_run_that_cannot_recover_ends(
    more: list[str], message: str, tiny_model: Path, kd_file: Path, tmp_path: Path
) -> None:
    more = [*more, "flops_d_T=1", "max_steps=60", "logging_steps=5", "max_grad_norm=null"]
    with pytest.raises(RunError, match=message):
        train(load_settings(words_for(tiny_model, kd_file, tmp_path / "run", *more)))


def test_statistics_by_hand() -> None:
    """Lengths 1, 2, 0 of 4 tokens; tokens 0 and 1 used, 2 and 3 never."""
    statistics = StepStatistics()
    statistics.add({"a": 1.0}, torch.tensor([[1.0, 0, 0, 0], [2.0, 1.0, 0, 0], [0, 0, 0, 0]]))
    statistics.add({"a": 3.0}, torch.tensor([[1.0, 0, 0, 0]]))
    logs = statistics.drain()
    assert logs["a"] == 2.0 and logs["d_length"] == 1.0 and logs["d_length_p50"] == 1.0
    assert logs["empty_documents"] == 0.25 and logs["unused_tokens"] == 0.5
    assert statistics.drain() == {}


def test_a_checkpoint_says_the_evaluation_length(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    train(load_settings(words_for(tiny_model, kd_file, tmp_path / "run", "eval_max_seq_length=32", "max_steps=1")))
    assert sparse_model.load(tmp_path / "run").max_seq_length == 32
    with pytest.raises(UserError, match="positions for 64"):
        train(load_settings(words_for(tiny_model, kd_file, tmp_path / "other", "eval_max_seq_length=99")))


def test_a_changed_file_is_read_again_whatever_its_time(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "kd.jsonl"
    stamps = []
    for text in ("rain", "snow"):
        write_jsonl(path, [{"query": "q", "docs": [text, "sun"], "scores": [2.0, 1.0]}])
        stamps.append(os.stat(path).st_mtime_ns)
        os.utime(path, ns=(stamps[0], stamps[0]))
        assert Examples(path, "kd", documents_per_query=2)[0].documents[0] == text


def test_a_backend_without_processes_is_left_out(tmp_path: Path) -> None:
    """A config for torchrun, tried with python: said, not refused."""
    args, notes = build_arguments(tmp_path, {"ddp_backend": "gloo"})
    assert args.ddp_backend is None and notes[-1].startswith("ddp_backend: there is one process")


def test_pairs_of_queries_need_two(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    argv = words_for(tiny_model, kd_file, tmp_path / "run", "flops_estimator=unbiased", "per_device_train_batch_size=1")
    with pytest.raises(UserError, match="flops_estimator: unbiased .* per_device_train_batch_size"):
        train(load_settings(argv))


def test_several_values_for_evaluations_train_once(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    """A config that is evaluated with several cuts can be trained: they decide no weights."""
    argv = words_for(tiny_model, kd_file, tmp_path / "run", "prune_ratio=[null, 0.1]", "max_active_dims=[null, 5]")
    train(load_settings([*argv, "max_steps=1"]))
    assert (tmp_path / "run" / "model.safetensors").is_file()
