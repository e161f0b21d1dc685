"""Runs that are stopped, made longer, damaged or typed again: what they go on from, and what they refuse."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiment.run.locks import locked
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import UserError
from tests.training.runs import lines, stop_before, weights, words_for


def test_a_stopped_run_goes_on(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """To the same weights: stopped after step 3 of 7, dropout on, second epoch after step 6, leftovers of a save."""

    def argv(folder: str, *more: str) -> list[str]:
        return words_for(tiny_model, posnegs_file, tmp_path / folder, "save_strategy=steps", "save_steps=3", *more)

    train(load_settings(argv("whole", "max_steps=7")))
    train(load_settings(argv("stopped", "max_steps=7")))
    stopped = tmp_path / "stopped"
    stop_before(stopped, 6, 7)
    with open(stopped / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "lo')
    train(load_settings(argv("stopped", "max_steps=7")))
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(weight, weights(stopped)[name]), name
    untimed = [
        [
            {k: v for k, v in line.items() if not any(word in k for word in ("time", "second")) and k != "train_loss"}
            for line in lines(folder)
        ]
        for folder in (tmp_path / "whole", stopped)
    ]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_averages_survive_a_stop(tiny_model: Path, posnegs_file: Path, tmp_path: Path, accumulation: int) -> None:
    """Logged after steps 4 and 8, saved after steps 3 and 6; stopped after step 7: the averages are those of all steps.

    Before, they were those of the steps since the last checkpoint.
    """
    more = ["save_strategy=steps", "save_steps=3", "logging_steps=4", "max_steps=8", "save_total_limit=9"]
    more += [f"gradient_accumulation_steps={accumulation}", "per_device_train_batch_size=2"]
    for folder in ("whole", "stopped"):
        train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / folder, *more)))
    stopped = tmp_path / "stopped"
    stop_before(stopped, 8)
    train(load_settings(words_for(tiny_model, posnegs_file, stopped, *more)))
    keys = ("step", "loss", "infonce", "flops_d", "lambda_d", "d_length", "d_length_p95", "unused_tokens")
    logged = [
        [{key: line[key] for key in keys} for line in lines(folder) if "infonce" in line]
        for folder in (tmp_path / "whole", stopped)
    ]
    assert logged[0] == logged[1] and [line["step"] for line in logged[0]] == [4, 8]


def test_killed_after_its_last_checkpoint(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """It trains no further: at a constant rate one step too many would move the weights."""
    more = ("save_strategy=steps", "save_steps=2", "lr_scheduler_type=constant")
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", *more)))
    before = weights(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    del record["finished"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    (tmp_path / "run" / "model.safetensors").unlink()
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "run", *more)))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(tmp_path / "run").items())
    assert max(line["step"] for line in lines(tmp_path / "run")) == 4


def test_resumed_in_a_later_epoch(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """24 examples in batches of 4, 4 batches a step: one step an epoch, two batches left out; stopped after 2 of 5."""
    more = ["save_strategy=steps", "save_steps=2", "gradient_accumulation_steps=4"]
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "whole", *more, "max_steps=5")))
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "cut", *more, "max_steps=5")))
    for step in (4, 5):
        (tmp_path / "cut" / f"checkpoint-{step}" / "complete.json").unlink(missing_ok=True)
    record = json.loads((tmp_path / "cut" / "run.json").read_text())
    del record["finished"]
    (tmp_path / "cut" / "run.json").write_text(json.dumps(record))
    train(load_settings(words_for(tiny_model, posnegs_file, tmp_path / "cut", *more, "max_steps=5")))
    assert all(torch.equal(w, weights(tmp_path / "cut")[name]) for name, w in weights(tmp_path / "whole").items())


def test_a_newly_given_key_is_noticed(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    argv = [word for word in words_for(tiny_model, kd_file, tmp_path / "run") if "learning_rate" not in word]
    train(load_settings(argv))
    with pytest.raises(UserError, match="learning_rate: 5e-05 before, 0.5 now"):
        train(load_settings([*argv, "learning_rate=0.5"]))


def test_a_finished_run_may_be_made_longer(
    tiny_model: Path, kd_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    argv = words_for(tiny_model, kd_file, tmp_path / "run", "save_strategy=steps", "save_steps=2")
    train(load_settings(argv))
    written = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    train(load_settings([*argv, "logging_steps=2"]))
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(UserError, match="learning_rate: 0.001 before, 0.5 now") as caught:
        train(load_settings([*argv, "learning_rate=0.5", "flops_threshold=3"]))
    assert "flops_threshold: None before, 3.0 now" in str(caught.value)
    train(load_settings([*argv, "max_steps=6"]))
    assert lines(tmp_path / "run")[-1]["step"] == 6
    train(load_settings([*argv, "learning_rate=0.5", "overwrite=true"]))
    assert len(list(tmp_path.glob("run.*"))) == 1


@pytest.fixture(scope="module")
def four_steps(tiny_model: Path, kd_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps with two checkpoints, to be copied and damaged."""
    output = tmp_path_factory.mktemp("four") / "run"
    train(load_settings(words_for(tiny_model, kd_file, output, "save_strategy=steps", "save_steps=2")))
    return output


@pytest.mark.xdist_group("damaged")
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "trainer_state.json", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_named(
    name: str, damage: str, four_steps: Path, tiny_model: Path, kd_file: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(four_steps, tmp_path / "run")
    path = output / "checkpoint-4" / name
    path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:7])
    words = words_for(tiny_model, kd_file, output, "save_strategy=steps", "save_steps=2")
    with pytest.raises(UserError, match=f"checkpoint-4/{name} is missing or damaged"):
        train(load_settings([*words, "max_steps=6"]))


@pytest.mark.xdist_group("damaged")
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("rng_state.pth", lambda path: path.unlink()),
        ("statistics.pt", lambda path: path.write_bytes(path.read_bytes()[:40])),
        ("trainer_state.json", lambda path: path.write_text("{}")),
        ("modules.json", lambda path: path.unlink()),
        ("modules.json", lambda path: path.write_text("[]")),
        ("query_0_SparseStaticEmbedding/model.safetensors", lambda path: _fill(path, 7.0)),
        ("model.safetensors", lambda path: _flip_a_bit(path)),
    ],
)
def test_a_checkpoint_is_what_was_written(
    name: str, damage: Callable[[Path], object], four_steps: Path, tiny_model: Path, kd_file: Path, tmp_path: Path
) -> None:
    """A file that nobody misses, and one of the right size, are named too; without the checkpoint the run goes on."""
    output = shutil.copytree(four_steps, tmp_path / "run")
    damage(output / "checkpoint-4" / name)
    words = [*words_for(tiny_model, kd_file, output, "save_strategy=steps", "save_steps=2"), "max_steps=6"]
    before = [(output / file).read_bytes() for file in ("config.yaml", "run.json", "metrics.jsonl")]
    with pytest.raises(UserError, match=f"checkpoint-4/{name} is missing or damaged.*Remove .*checkpoint-4, and the"):
        train(load_settings(words))
    assert before == [(output / file).read_bytes() for file in ("config.yaml", "run.json", "metrics.jsonl")]
    shutil.rmtree(output / "checkpoint-4")
    train(load_settings(words))
    assert lines(output)[-1]["step"] == 6


def _fill(path: Path, value: float) -> None:
    save_file({name: torch.full_like(table, value) for name, table in load_file(path).items()}, path)


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.xdist_group("damaged")
def test_what_is_no_checkpoint_of_the_run(four_steps: Path, tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    """A file that was added, and a checkpoint of another run; one of version 0.1 has neither list nor run."""
    output = shutil.copytree(four_steps, tmp_path / "run")
    words = [*words_for(tiny_model, kd_file, output, "save_strategy=steps", "save_steps=2"), "max_steps=6"]
    (output / "checkpoint-4" / "scaler.pt").touch()
    with pytest.raises(UserError, match="checkpoint-4/scaler.pt was not there .* take it out"):
        train(load_settings(words))
    (output / "checkpoint-4" / "scaler.pt").unlink()
    manifest = output / "checkpoint-4" / "complete.json"
    says = json.loads(manifest.read_text())
    assert (says["step"], says["finished"], says["whole"]) == (4, False, True)
    manifest.write_text(json.dumps(says | {"run": "another"}))
    with pytest.raises(UserError, match="checkpoint-4 belongs to another run"):
        train(load_settings(words))
    manifest.write_text('{"step": 4}')
    train(load_settings(words))
    assert lines(output)[-1]["step"] == 6


@pytest.mark.xdist_group("damaged")
def test_a_final_model_that_was_altered_is_written_again(
    four_steps: Path, tiny_model: Path, kd_file: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(four_steps, tmp_path / "run")
    before = {name: weight.clone() for name, weight in weights(output).items()}
    _flip_a_bit(output / "model.safetensors")
    train(load_settings(words_for(tiny_model, kd_file, output, "save_strategy=steps", "save_steps=2")))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(output).items())


def test_a_users_own_folders_stay(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    argv = words_for(tiny_model, kd_file, tmp_path / "run", "save_strategy=steps", "save_steps=2")
    train(load_settings(argv))
    for name in ("checkpoint-best", "checkpoint-2-backup"):
        (tmp_path / "run" / name).mkdir()
        (tmp_path / "run" / name / "mine").touch()
    train(load_settings([*argv, "max_steps=6"]))
    assert len(list((tmp_path / "run").glob("checkpoint-*/mine"))) == 2


def test_two_runs_do_not_share_a_folder(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(UserError, match=f"process {os.getpid()} on .* is working in"):
        train(load_settings(words_for(tiny_model, kd_file, tmp_path / "run")))


def test_a_lost_model_is_written_again(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    argv = words_for(tiny_model, kd_file, tmp_path / "run", "save_strategy=steps", "save_steps=2")
    train(load_settings(argv))
    before = weights(tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    train(load_settings(argv))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(tmp_path / "run").items())
