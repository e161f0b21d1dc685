"""The sweep's loop: failures, kills, two at once, locks, data; with a quick stand-in for the commands it starts."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiment.run import done
from experiment.run.command import run_command
from experiment.run.locks import locked
from experiment.sweep import sweep
from retrieval.error_record import VARIABLE, read_error
from retrieval.fingerprint import fingerprint

ROOT = Path(__file__).parents[3]

# What it starts is a stand-in, but it is started, and killed.
pytestmark = pytest.mark.process

# Notes each call; "training" and "evaluation" leave what the real ones leave, as far as a sweep looks at it.
STAND_IN = """#!{python} -IS
import hashlib, json, os, sys, time
from pathlib import Path

words = " ".join(sys.argv[1:])
folder = next((Path(w.split("=", 1)[1]) for w in sys.argv if w.startswith("output_dir=")), None)
step = next(s for s in ("train_ir", "evaluate_beir", "data_preparation", "report") if s in words)
name = folder.name if folder else ""
split = "dev" if "tiny:dev" in words else "test"
with open("calls", "a") as calls:
    calls.write(f"{{step}} {{name}}".strip() + "\\n")
print(f"{{step}}: 10 %\\r{{step}}: 100 %")
hold = Path(f"hold-{{step}}-{{name}}")
if hold.exists():
    hold.write_text(str(os.getpid()))
while hold.exists():
    time.sleep(0.01)
if Path(f"fail-{{step}}-{{name}}").exists():
    record = {{"place": step, "message": "no luck\\nat all", "exit code": 1}}
    Path(os.environ["SPARSE_ERROR_FILE"]).write_text(json.dumps(record))
    sys.exit("the launcher has the last word")
def hash_of(path):
    content = path.read_bytes()
    start = f"{{len(path.name)}}:{{path.name}}:{{len(content)}}:".encode()
    return hashlib.sha256(start + content).hexdigest()


if step == "train_ir":
    record = {{"finished": {{"max_steps": 10, "num_train_epochs": 3.0}}, "processes": 1}}
    (folder / "run.json").write_text(json.dumps(record | {{"data hash": hash_of(Path("data.jsonl"))}}))
    (folder / "config.yaml").write_text(Path(sys.argv[2]).read_text())
    (folder / "model.safetensors").touch()
    (folder / "modules.json").write_text("[]")
elif step == "evaluate_beir":
    (folder / "evaluation" / "runs").mkdir(parents=True, exist_ok=True)
    (folder / "evaluation" / "runs" / "tiny.trec.gz").touch()
    hashed = hash_of(folder / "model.safetensors")
    (folder / "evaluation" / "tiny.json").write_text(json.dumps({{"config hash": hashed, "split": split}}))
    (folder / "evaluation" / "summary.json").write_text(json.dumps({{"datasets": ["tiny"]}}))
elif step == "data_preparation":
    Path("data.jsonl").touch()
else:
    Path("reported").write_text(words)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with the configs a and b in config/two and a stand-in for Python."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NPROC", "1")
    fake = tmp_path / "python"
    fake.write_text(STAND_IN.format(python=os.path.realpath(sys.executable)))
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    # The stand-in knows nothing of keys: a result belongs to the weights alone.
    weights_of = lambda settings, _: {"config hash": fingerprint([settings.output_dir / "model.safetensors"])}  # noqa: E731
    monkeypatch.setattr(done, "recorded_inputs", weights_of)
    folder = tmp_path / "config" / "two"
    folder.mkdir(parents=True)
    for name in "ab":
        keys = "model_name_or_path: m\ntrain_file: data.jsonl\ndata_type: kd\nbeir_datasets: [tiny]\nmax_steps: 10\n"
        (folder / f"{name}.yaml").write_text(keys)
    (tmp_path / "data.jsonl").touch()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


def start(*words: str) -> int:
    return sweep.main(["--name", "two", "config/two", *words])


def begin() -> multiprocessing.process.BaseProcess:
    """A sweep in a process of its own."""

    def child() -> None:
        # A job in the background ignores SIGINT, and what it starts does too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os._exit(start())

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


def calls() -> list[str]:
    return Path("calls").read_text().splitlines() if Path("calls").exists() else []


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else not os.kill(pid, 0)
        )
    except OSError:
        return False


ALL = ["train_ir a", "evaluate_beir a", "train_ir b", "evaluate_beir b", "report"]


def test_everything_once_and_again_nothing(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert start() == 0 and calls() == ALL
    shown = capfd.readouterr().out
    assert "=== [1/2] two/a: train, 1 process" in shown and "2 of 2 runs are evaluated" in shown and "10 %\r" in shown
    log = (here / "output/two/a/sweep.log").read_text().splitlines()
    assert "train_ir.py" in log[0] and log[1] == "train_ir: 100 %" and "evaluate_beir.py" in log[2]
    assert start() == 0 and calls() == [*ALL, "report"]
    assert Path("reported").read_text().endswith("--output output/report/two output/two/a output/two/b")


def test_touched_and_changed_data(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Times of files mean nothing; other data make another run, which its training command judges."""
    assert start() == 0
    os.utime("data.jsonl", (time.time() + 9, time.time() + 9))
    assert start() == 0 and calls() == [*ALL, "report"]
    Path("data.jsonl").write_text("{}")
    assert start("--dry-run") == 0 and capfd.readouterr().out.count("holds a run with another data hash") == 2
    assert start() == 0 and calls()[len(ALL) + 1 :] == ["train_ir a", "train_ir b", "report"]


def test_a_failed_run_is_recorded_and_the_rest_goes_on(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("fail-train_ir-a").touch()
    assert start() == 1 and calls() == ["train_ir a", "train_ir b", "evaluate_beir b", "report"]
    record = json.loads((here / "output/two/a/failed.json").read_text())
    assert (record["step"], record["exit code"]) == ("train", 1) and record["last lines"] == ["no luck", "at all"]
    assert "train_ir.py" in record["command"] and "two/a: train: no luck" in capfd.readouterr().err
    assert "output/two/a" in Path("reported").read_text(), "the report lists what failed"
    Path("fail-train_ir-a").unlink()
    Path("fail-evaluate_beir-a").touch()
    assert start() == 1 and calls()[4:] == ["train_ir a", "evaluate_beir a", "report"]
    Path("fail-evaluate_beir-a").unlink()
    assert start() == 0 and calls()[7:] == ["evaluate_beir a", "report"]
    assert not (here / "output/two/a/failed.json").exists()


def test_a_killed_training_is_a_failed_one(here: Path) -> None:
    hold = here / "hold-train_ir-a"
    hold.touch()
    process = begin()
    wait_for(hold.read_text)
    os.kill(int(hold.read_text()), signal.SIGKILL)
    hold.unlink()
    process.join(20)
    assert process.exitcode == 1 and calls() == ["train_ir a", "train_ir b", "evaluate_beir b", "report"]
    assert json.loads((here / "output/two/a/failed.json").read_text())["exit code"] == 137


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", ["train_ir", "evaluate_beir"])
def test_killed_and_started_again(here: Path, step: str, number: signal.Signals, code: int) -> None:
    """What it had started ends with it; the second start does the rest, and nothing twice that was done."""
    hold = here / f"hold-{step}-a"
    hold.touch()
    process = begin()
    wait_for(hold.read_text)
    child = int(hold.read_text())
    before = calls()
    if number == signal.SIGINT:  # as a terminal sends it: to both
        os.kill(child, number)
    os.kill(process.pid or 0, number)
    process.join(20)
    assert process.exitcode == code
    wait_for(lambda: not is_alive(child))
    hold.unlink()
    assert start() == 0
    assert calls() == before + ALL[ALL.index(f"{step} a") :]
    assert not (here / "output/two/a/failed.json").exists()


def test_two_at_once_share_the_runs(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold = here / "hold-train_ir-a"
    hold.touch()
    first = begin()
    wait_for(hold.read_text)
    assert start() == 0
    assert f"two/a: left to process {first.pid} on" in capfd.readouterr().out
    assert calls() == ["train_ir a", "train_ir b", "evaluate_beir b", "report"]
    hold.unlink()
    first.join(20)
    assert first.exitcode == 0 and calls()[4:] == ["evaluate_beir a", "report"]
    assert Path("reported").read_text().endswith("output/two/a output/two/b")


def test_a_lock_that_nobody_holds_any_more_is_taken(here: Path) -> None:
    (here / "output/two").mkdir(parents=True)
    for name in (".a.sweep.lock", ".a.lock"):
        (here / "output/two" / name).write_text("process 1 on elsewhere\n")
    assert start() == 0 and calls() == ALL
    assert f"process {os.getpid()} on" in (here / "output/two/.a.sweep.lock").read_text()


def test_a_training_that_somebody_else_started_is_left_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "ORPHAN_S", 0.1)
    with locked(here / "output/two/a"):
        assert start() == 0
    assert calls() == ["train_ir b", "evaluate_beir b", "report"]


def test_only_some(here: Path) -> None:
    assert start("--only", "*/b") == 0 and calls() == ["train_ir b", "evaluate_beir b", "report"]
    assert start("--only", "two/a") == 0
    assert Path("reported").read_text().endswith("output/two/a output/two/b"), "the report is over all of them"
    assert start("--only", "*/c") == 2


def test_figures_of_another_split_wait_for_their_turn(here: Path) -> None:
    assert start() == 0
    assert start("--only", "*/a", "--", "beir_datasets=tiny:dev") == 0
    assert calls()[len(ALL) :] == ["evaluate_beir a", "report"]
    assert Path("reported").read_text().endswith("--output output/report/two output/two/a")


def test_the_report_heeds_the_folders_report_yaml(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("config/two/report.yaml").write_text("groups: {near: [tiny]}\n")
    assert start() == 0
    assert "--output output/report/two --group near=tiny output/two/a" in Path("reported").read_text()
    Path("config/two/report.yaml").write_text("groups: tiny\n")
    assert start("--dry-run") == 2, "said before anything is run"
    assert "config/two/report.yaml: groups: " in capfd.readouterr().err


def test_data_are_prepared_once(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("data.jsonl").unlink()
    Path("config/data_preparation.yaml").write_text("output_dir: data.jsonl\n")
    Path("fail-data_preparation-").touch()
    assert start() == 1 and calls() == ["data_preparation"]
    assert "two/b: prepare data: no luck" in capfd.readouterr().err
    assert json.loads((here / "output/two/b/failed.json").read_text())["step"] == "prepare data"
    Path("fail-data_preparation-").unlink()
    assert start() == 0 and calls()[1:] == ["data_preparation", *ALL]
    assert "data_preparation: 100 %" in Path("data.jsonl.log").read_text()


def test_what_a_command_did_not_say(here: Path) -> None:
    """A command that was killed has left no record: its end and its last line must do."""
    killed = sweep.StepFailed("train", 137, ["c"], {}, ["50 %", "60 %"]).record
    assert killed["reason"] == "ended by SIGKILL; its last line: 60 %" and killed["last lines"] == ["50 %", "60 %"]
    assert sweep.StepFailed("train", 9, ["c"], {}, []).record["reason"] == "ended with code 9, without a word"


def test_records_of_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command writes why it failed where its parent says, the first process of several; nothing without a parent."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "error.json"))
    assert run_command("train_ir.py", ["max_steps=many", "seed=x"], print) == 2
    said = read_error(tmp_path / "error.json")
    assert (said["place"], said["exit code"]) == ("train_ir.py", 2) and "seed: " in said["message"]
    assert run_command("train_ir.py", ["max_steps=more"], print) == 2
    assert read_error(tmp_path / "error.json") == said
    assert "error:\ncommand line: max_steps: " in capsys.readouterr().err
