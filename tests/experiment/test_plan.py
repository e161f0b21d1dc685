"""run_reproduce.sh: which commands it plans, what it passes on, how it carries on after a failure."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiment import plan

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NPROC", "1")
    folder = tmp_path / "config" / "sweep"
    folder.mkdir(parents=True)
    (folder / "base.yaml").write_text("beir_datasets: [tiny]\n")
    (folder / "a.yaml").write_text("base: base.yaml\nmodel_name_or_path: m\ntrain_file: t.jsonl\ndata_type: kd\n")
    (folder / "b.yaml").write_text("base: base.yaml\nbaseline: bm25\n")
    return folder


def planned(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    assert plan.main(arguments) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    return [[step, folder, shlex.join(words).replace(sys.executable, "python")] for step, folder, *words in lines]


def test_a_folder_stands_for_its_configs(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(["config/sweep"], capsys) == [
        ["train", "output/sweep/a", "python train_ir.py config/sweep/a.yaml"],
        ["evaluate", "output/sweep/a", "python evaluate_beir.py config/sweep/a.yaml"],
        ["evaluate", "output/sweep/b", "python evaluate_beir.py config/sweep/b.yaml"],
        ["report", "output/report/sweep", "python -m experiment.report --output output/report/sweep"],
    ]


def test_overrides_of_the_model_are_for_training_only(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--name", "trial", "config/sweep", "--", "model_name_or_path=x y", "max_steps=3"]
    commands = [command for _, _, command in planned(words, capsys)]
    assert commands[0].endswith("a.yaml 'model_name_or_path=x y' max_steps=3 output_dir=output/trial/a")
    assert commands[1].endswith("a.yaml max_steps=3 output_dir=output/trial/a")
    assert commands[2].endswith("b.yaml max_steps=3 output_dir=output/trial/b")
    assert commands[3].endswith("--output output/report/trial")


def test_several_processes_use_torchrun(
    configs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPROC", "2")
    command = planned(["config/sweep/a.yaml"], capsys)[0][2]
    assert command.startswith("python -m torch.distributed.run --standalone --nproc_per_node=2 train_ir.py")


def test_dry_run_shows_states(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan.main(["--dry-run", "config/sweep"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("config/sweep/a.yaml: new, model m is not on this disk, training data t.jsonl is missing")
    assert second == "config/sweep/b.yaml: not evaluated, data sets not in data/beir: tiny"


def test_all_mistakes_are_named_at_once(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (configs / "a.yaml").write_text("max_step: 3\n")
    (configs / "b.yaml").write_text("split: [1]\n")
    assert plan.main(["config/sweep"]) == 2
    message = capsys.readouterr().err
    assert "max_steps" in message and "split" in message
    assert plan.main(["config/sweeep", "nowhere.yaml"]) == 2
    message = capsys.readouterr().err
    assert "config/sweeep" in message and "nowhere.yaml" in message


def test_a_failed_run_does_not_stop_the_others(tmp_path: Path) -> None:
    """The script with a stand-in for Python: it plans two runs, of which the first one's training fails."""
    (tmp_path / "run_reproduce.sh").write_text((ROOT / "run_reproduce.sh").read_text())
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/sh\n"
        "printf 'train\\tout/a\\tfalse\\nevaluate\\tout/a\\techo\\tevaluated\\ta\\n'\n"
        "printf 'train\\tout/b\\ttrue\\nevaluate\\tout/b\\techo\\tevaluated\\tb\\n'\n"
        "printf 'report\\tout/report\\techo\\treport\\tover\\n'\n"
    )
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", "run_reproduce.sh"],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": str(fake)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["evaluated b", "report over out/b"]
    assert "failed: out/a:train" in done.stderr
