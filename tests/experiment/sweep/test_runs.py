"""Which runs and commands a sweep consists of, how each stands, and how long the rest takes."""

import json
import math
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from experiment.run.command import run_command
from experiment.run.done import planned_length
from experiment.run.inputs import training_data
from experiment.run.locks import locked
from experiment.run.results import data_hash, result_inputs
from experiment.sweep import progress, sweep
from experiment.sweep import runs as plan
from experiment.sweep.time_left import Estimate
from retrieval.files import read_json, write_json
from retrieval.fingerprint import fingerprint
from sparse_model.errors import UserError
from tests.experiment.sweeps import runs_of
from tests.retrieval.bag_of_words import write_beir


def words(run: plan.PlannedRun, step: str, processes: int = 1) -> str:
    command = run.command(step, processes)
    assert command[0] == sys.executable
    return shlex.join(Path(word).name if word.endswith("_ir.py") or "beir.py" in word else word for word in command[1:])


def begin(run: plan.PlannedRun, processes: int = 2) -> None:
    """The records of a training that has begun."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "config.yaml").write_text(yaml.safe_dump(run.settings.resolved()))
    data = fingerprint(training_data(run.settings.data))
    write_json(run.folder / "run.json", {"processes": processes, "data hash": data})


def finish(run: plan.PlannedRun, steps: int = 10, seconds: float = 20.0) -> None:
    """The files that a finished training leaves, as far as a sweep looks at them."""
    begin(run)
    write_json(
        run.folder / "run.json", read_json(run.folder / "run.json") | {"finished": planned_length(run.settings.value)}
    )
    (run.folder / "metrics.jsonl").write_text(json.dumps({"step": steps, "train_seconds": seconds}) + "\n")
    (run.folder / "model.safetensors").touch()
    (run.folder / "modules.json").write_text("[]")


def score(run: plan.PlannedRun, seconds: float = 3.0, **more: object) -> None:
    folder = run.folder / "evaluation"
    facts = {"config hash": result_inputs(run.scored)["config hash"], "data hash": hash_of_tiny(run), **more}
    write_json(folder / "tiny.json", {"dataset": "tiny", "seconds": seconds, **facts})
    write_json(folder / "summary.json", {"datasets": ["tiny"], "figures": {}})
    (folder / "runs").mkdir(exist_ok=True)
    (folder / "runs" / "tiny.trec.gz").touch()


def hash_of_tiny(run: plan.PlannedRun) -> str | None:
    return data_hash("tiny", run.scored.evaluation.beir_dir, run.scored.evaluation.split)


def test_a_folder_stands_for_its_configs_by_their_numbers(configs: Path) -> None:
    for name in ("100_0.1", "50_0.1", "50_0.04"):
        (configs / f"{name}.yaml").write_text("baseline: bm25\n")
    names = [path.stem for path in plan.find_configs(["config/sweep"])]
    assert names == ["50_0.04", "50_0.1", "100_0.1", "a", "b"]


def test_a_folders_data_preparation_is_no_run(configs: Path) -> None:
    for name in ("data_preparation", "mined"):
        (configs / f"{name}.yaml").write_text("dataset: tiny\nmodel_name_or_path: m\n")
    assert "data_preparation" not in [path.stem for path in plan.find_configs(["config/sweep"])]
    with pytest.raises(UserError, match=r"mined.yaml: prepares data; it is for data_preparation.py"):
        runs_of("config/sweep")


def test_commands(configs: Path) -> None:
    a, b = runs_of("config/sweep")
    assert (a.name, a.folder, a.trains, b.trains) == ("sweep/a", Path("output/sweep/a"), True, False)
    assert words(a, "train") == "train_ir.py config/sweep/a.yaml"
    assert words(b, "evaluate") == "evaluate_beir.py config/sweep/b.yaml"
    several = words(a, "train", processes=2)
    assert several == "-m torch.distributed.run --standalone --nproc_per_node=2 train_ir.py config/sweep/a.yaml"


def test_overrides_of_the_model_are_for_training_only(configs: Path) -> None:
    a, b = runs_of("config/sweep", overrides=("model_name_or_path=x y", "max_steps=3"), name="trial")
    assert words(a, "train").endswith("a.yaml 'model_name_or_path=x y' max_steps=3 output_dir=output/trial/a")
    assert words(a, "evaluate").endswith("a.yaml max_steps=3 output_dir=output/trial/a")
    assert words(b, "evaluate").endswith("b.yaml max_steps=3 output_dir=output/trial/b")


def test_an_override_of_two_words_is_one(configs: Path) -> None:
    """Else the value of a model's key would be left over on the evaluation's command line."""
    overrides = ("--activation_type", "l1_relu", "--max_steps=3", "--seed", "7")
    (run,) = runs_of("config/sweep/a.yaml", overrides=overrides)
    assert words(run, "train").endswith("a.yaml --activation_type=l1_relu --max_steps=3 --seed=7")
    assert words(run, "evaluate").endswith("a.yaml --max_steps=3 --seed=7")
    with pytest.raises(UserError, match="overwrite: not for a list of configs"):
        runs_of("config/sweep/a.yaml", overrides=("--overwrite", "true"))


def test_a_key_among_the_configs_belongs_behind_two_dashes(configs: Path) -> None:
    with pytest.raises(UserError, match="max_steps=2: keys stand behind two dashes: -- max_steps=2"):
        plan.find_configs(["config/sweep", "max_steps=2"])


def test_a_name_keeps_families_apart(configs: Path) -> None:
    other = configs.parent / "other"
    other.mkdir()
    (other / "a.yaml").write_text("baseline: bm25\n")
    folders = [run.folder for run in runs_of("config/sweep/a.yaml", "config/other", name="trial")]
    assert folders == [Path("output/trial/sweep/a"), Path("output/trial/other/a")]


def test_only_takes_patterns_of_family_and_name(configs: Path) -> None:
    runs = runs_of("config/sweep")
    assert [run.name for run in plan.select(runs, ["*/b", "sweep/[b-z]"])] == ["sweep/b"]
    assert plan.select(runs, []) == runs
    with pytest.raises(UserError, match="--only b: fits no run; they are called sweep/a, sweep/b"):
        plan.select(runs, ["b"])


def test_all_mistakes_are_named_at_once(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (configs / "a.yaml").write_text("base: base.yaml\nmax_step: 3\n")
    (configs / "b.yaml").write_text("base: base.yaml\nsplit: [1]\n")
    assert sweep.main(["--dry-run", "config/sweep", "--", "overwrite=true"]) == 2
    message = capsys.readouterr().err
    assert "max_steps" in message and "split" in message and "overwrite: not for a list" in message
    (configs / "base.yaml").write_text("beir_datasets: []\n")
    assert sweep.main(["config/sweep", "--", "learning_rte=1"]) == 2
    message = capsys.readouterr().err
    assert message.count("learning_rte") == 1 and message.count("name at least one") == 1
    assert sweep.main(["config/sweeep", "nowhere.yaml"]) == 2
    message = capsys.readouterr().err
    assert "config/sweeep" in message and "nowhere.yaml" in message


def test_seeds_are_runs(configs: Path) -> None:
    """Each seed in a folder of its own; that which the config names itself keeps the plain one."""
    for overrides in (("seeds=42,7",), ("seeds=[42, 7]",)):
        first, second = runs_of("config/sweep/a.yaml", overrides=overrides)
        assert (first.name, second.name) == ("sweep/a", "sweep/a_seed7")
        assert (str(first.folder), str(second.folder)) == ("output/sweep/a", "output/sweep/a_seed7")
        assert (first.settings.value("seed"), second.settings.value("seed")) == (42, 7)
    assert words(second, "train").endswith("seeds=null seed=7 output_dir=output/sweep/a_seed7")
    named = runs_of("config/sweep", overrides=("seeds=1,2",), name="trial")
    assert [str(run.folder) for run in named] == ["output/trial/a_seed1", "output/trial/a_seed2", "output/trial/b"]
    (alone,) = runs_of("config/sweep/a.yaml", overrides=("seeds=3",))
    assert alone.name == "sweep/a_seed3"
    with pytest.raises(UserError, match="seed: stands beside seeds"):
        runs_of("config/sweep/a.yaml", overrides=("seeds=42,43", "seed=43"))
    with pytest.raises(UserError, match="seeds: each seed once"):
        runs_of("config/sweep/a.yaml", overrides=("seeds=3,3",))


def test_one_command_is_one_seed(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("train_ir.py", ["config/sweep/a.yaml", "seeds=1,2"], print, for_training=True) == 2
    assert "seeds: stands for several runs: bash run_reproduce.sh" in capsys.readouterr().err


def test_the_table_shows_how_runs_stand_and_what_they_miss(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--dry-run", "config/sweep"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["sweep/a", "?", "new"] and lines[2].endswith("  not evaluated")
    assert lines[3].startswith("together") and lines[3].endswith("nothing was measured yet; 1 process")
    assert lines[4:] == [
        "missing for 1 of 2: model m is not on this disk",
        "missing for 1 of 2: training data t.jsonl is missing",
        "missing for 2 of 2: data sets not in data/beir: tiny",
    ]
    assert not (configs.parent.parent / "output").exists(), "looking changes nothing"
    assert sweep.main(["--dry-run", "config/sweep", "--", "idf_path=some/one"]) == 0
    assert "missing for 1 of 2: query weights some/one are not on this disk" in capsys.readouterr().out


def test_states_follow_the_files(configs: Path) -> None:
    (run,) = runs_of("config/sweep/a.yaml", overrides=("max_steps=10",))
    (run.folder / "checkpoint-4").mkdir(parents=True)
    (run.folder / "checkpoint-4" / "complete.json").touch()
    begin(run)
    assert progress.state(run) == "goes on from checkpoint-4" and plan.training_processes(run, 8) == 2
    write_json(run.folder / "failed.json", {"step": "train", "reason": "no room"})
    assert progress.state(run) == "goes on from checkpoint-4, failed to train: no room"
    with locked(run.folder, purpose="sweep"):
        assert "at it" in progress.state(run) and f"process {os.getpid()}" in progress.state(run)
    (run.folder / "failed.json").unlink()
    (run.folder / "checkpoint-4" / "complete.json").unlink()
    (run.folder / "checkpoint-4").rmdir()
    finish(run)
    assert progress.state(run) == "trained"
    score(run)
    assert progress.state(run) == "evaluated"
    (longer,) = runs_of("config/sweep/a.yaml", overrides=("max_steps=20",))
    assert progress.state(longer) == "new", "there is no checkpoint to go on from"
    (other,) = runs_of("config/sweep/a.yaml", overrides=("max_steps=10", "flops_d_lambda=1"))
    assert progress.state(other) == "holds a run with another flops_d_lambda"
    (more,) = runs_of("config/sweep/a.yaml", overrides=("max_steps=10", "beir_datasets=tiny,more"))
    assert progress.state(more) == "trained"


def test_changed_inputs(configs: Path) -> None:
    """A result counts while weights and data are those that it was made of; times of files mean nothing."""
    Path("t.jsonl").write_text("{}")
    (run,) = runs_of("config/sweep/a.yaml")
    finish(run)
    score(run)
    later = (run.folder / "evaluation" / "summary.json").stat().st_mtime + 5
    for path in (run.folder / "model.safetensors", Path("t.jsonl")):
        os.utime(path, (later, later))
    assert progress.state(run) == "evaluated"
    (run.folder / "model.safetensors").write_text("other weights")
    assert progress.state(run) == "trained"
    Path("t.jsonl").write_text("[]")
    assert progress.state(run) == "holds a run with another data hash"


def test_results_of_another_split_do_not_count(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = runs_of("config/sweep/a.yaml")
    finish(run)
    score(run)
    write_beir(Path("data/beir/tiny"), [], [], [])
    score(run, split="test")
    assert progress.state(run) == "evaluated"
    shutil.copy("data/beir/tiny/qrels/test.tsv", "data/beir/tiny/qrels/dev.tsv")
    (dev,) = runs_of("config/sweep/a.yaml", overrides=("beir_datasets=tiny:dev",))
    assert progress.state(dev) == "trained"
    Path("data/beir/tiny/qrels/dev.tsv").unlink()
    assert sweep.main(["--dry-run", "config/sweep/a.yaml", "--", "beir_datasets=tiny:dev+test"]) == 0
    assert "no qrels/dev.tsv; splits that are there: test" in capsys.readouterr().out


def test_changed_data_in_a_folder_of_sets(configs: Path) -> None:
    (run,) = runs_of("config/sweep/a.yaml", overrides=("train_file=null", "train_file_dir=mix"))
    Path("mix").mkdir()
    Path("mix/one.jsonl").write_text("{}")
    finish(run)
    assert progress.is_trained(run)
    os.utime("mix/one.jsonl", (1, 1))
    assert progress.is_trained(run)
    Path("mix/one.jsonl").write_text("[]")
    assert not progress.is_trained(run)


def test_hours_are_measured_ones(configs: Path) -> None:
    """Measured: 2 s a step and 3 s for the data set; before that nothing is known."""
    (configs / "c.yaml").write_text((configs / "a.yaml").read_text() + "flops_d_lambda: 1\n")
    Path("data/beir/tiny").mkdir(parents=True)
    a, c = runs_of("config/sweep/a.yaml", "config/sweep/c.yaml", overrides=("max_steps=10",))
    unknown = Estimate([a, c], 2)
    assert math.isnan(unknown.remaining(c)) and unknown.basis == "nothing was measured yet; 2 processes"
    finish(a)
    score(a)
    measured = Estimate([a, c], 2)
    assert measured.remaining(a) == 0 and measured.remaining(c) == pytest.approx(10 * 2 + 3)
    assert measured.basis.startswith("by 1 trainings and 1 evaluations")
    (c.folder / "checkpoint-4").mkdir(parents=True)
    (c.folder / "checkpoint-4" / "complete.json").touch()
    begin(c)
    assert Estimate([a, c], 2).remaining(c) == pytest.approx(6 * 2 + 3)


def test_damaged_files_do_not_hide_the_other_runs(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = runs_of("config/sweep/a.yaml", overrides=("max_steps=10",))
    finish(run)
    score(run)
    (run.folder / "config.yaml").write_text("a: [")
    (run.folder / "metrics.jsonl").write_bytes(b'{"step": 4, "train_seconds": 8}\n3\n\xff{"st')
    assert sweep.main(["--dry-run", "config/sweep", "--", "max_steps=10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["sweep/a", "23", "s", "holds", "a", "run", "with", "another", "config.yaml"]
