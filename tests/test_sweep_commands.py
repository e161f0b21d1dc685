"""run_reproduce.sh and the real commands that it starts, on a tiny model."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiment.run.locks import holder
from experiment.sweep import sweep

ROOT = Path(__file__).parents[1]


@pytest.mark.process
@pytest.mark.slow
def test_killed_in_the_middle_of_a_training(
    tiny_model: Path,
    kd_file: Path,
    beir_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """kill -9 of the sweep alone: the training ends too, and the second start goes on from its checkpoint."""
    monkeypatch.chdir(tmp_path)
    for key, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "NPROC": "1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(sweep.Sweep, "_write_report", lambda self: None)  # others test it
    config = tmp_path / "config" / "real" / "a.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"model_name_or_path: {tiny_model}\ntrain_file: {kd_file}\ndata_type: kd\nmax_seq_length: 16\n"
        f"per_device_train_batch_size: 4\nmax_steps: 200\nsave_steps: 40\nsave_total_limit: 1\nlogging_steps: 10\n"
        f"beir_datasets: [{beir_folder}]\n"
    )
    run = tmp_path / "output" / "real" / "a"
    killed = multiprocessing.get_context("fork").Process(target=lambda: sweep.main(["config/real"]))
    killed.start()
    while not (run / "checkpoint-40" / "complete.json").exists() and killed.is_alive():
        time.sleep(0.005)
    os.kill(killed.pid or 0, signal.SIGKILL)
    killed.join()
    deadline = time.monotonic() + 20
    while holder(run) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not holder(run) and not (run / "model.safetensors").exists()

    capfd.readouterr()
    assert sweep.main(["config/real"]) == 0
    shown = capfd.readouterr().out
    assert "going on from" in shown and "1 of 1 runs are evaluated" in shown
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(10, 201, 10)), "every step is logged once"
    assert (run / "evaluation" / "tiny.json").is_file() and "going on from" in (run / "sweep.log").read_text()


def test_the_script_takes_python_from_the_environment(tmp_path: Path) -> None:
    """From another folder, with a stand-in for Python that shows what it is given."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$PWD: $*"\nexit 7\n')
    fake.chmod(0o755)
    command = ["bash", str(ROOT / "run_reproduce.sh"), "--only", "a b/*", "--", "seed=1"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHON": str(fake)}, capture_output=True, text=True
    )
    assert done.returncode == 7 and done.stdout == f"{ROOT}: -m experiment.sweep --only a b/* -- seed=1\n"
