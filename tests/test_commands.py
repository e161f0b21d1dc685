"""The real commands: end to end, over several processes, killed, and used wrongly."""

import json
import shutil
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from experiment.run.locks import holder
from tests.conftest import write_jsonl
from tests.processes import TORCHRUN, begin, call, free_port, ranks, run, start

pytestmark = pytest.mark.xdist_group("commands")
NO_DROPOUT = "{hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
PER_QUERY = "runs/tiny.per_query.json"


@pytest.fixture(scope="module")
def config(tiny_model: Path, posnegs_file: Path, beir_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config of a four-step run with an evaluation, dropout off."""
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(
        f"model_name_or_path: {tiny_model}\ntrain_file: {posnegs_file}\ndata_type: posnegs\nloss_types: [infonce]\n"
        f"use_in_batch_negatives: true\nidf_path: corpus\nmax_seq_length: 16\nper_device_train_batch_size: 4\n"
        f"max_steps: 4\nlearning_rate: 1e-3\nflops_d_lambda: 0.01\nflops_d_T: 2\nflops_threshold: 3\n"
        f"activation_type: l1_relu\nlogging_steps: 1\nsave_steps: 2\nmodel_overrides: {NO_DROPOUT}\n"
        f"beir_datasets: [{beir_folder}]\n"
    )
    return path


@pytest.fixture(scope="module")
def one_process(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of training and evaluating in one process."""
    output = tmp_path_factory.mktemp("one") / "run"
    for script in ("train_ir.py", "evaluate_beir.py"):
        done = call(script, str(config), f"output_dir={output}")
        assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def two_processes(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of training in two processes of half the batch, which torchrun starts."""
    output = tmp_path_factory.mktemp("two") / "run"
    done = run("train_ir.py", str(config), f"output_dir={output}", "per_device_train_batch_size=2", launcher=TORCHRUN)
    assert done.returncode == 0, done.stderr
    return output


def _figures(output: Path) -> dict:
    stored = json.loads((output / "evaluation" / "tiny.json").read_text())
    timed = ("seconds", "encode_docs_per_s", "search_queries_per_s", "command", "config hash", "model", "git commit")
    return {key: value for key, value in stored.items() if key not in timed}


def _same_weights(one: Path, two: Path) -> None:
    """Equal to 1e-5 relative; 1e-6 more where a gradient is 0 but for rounding (key biases) and Adam scales it up."""
    other = load_file(two / "model.safetensors")
    for name, weight in load_file(one / "model.safetensors").items():
        assert (weight - other[name]).abs().max() <= 1e-5 * weight.abs().max() + 1e-6, name


def test_train_evaluate_and_report(one_process: Path, config: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "idf.json", "config.yaml", "train.log", "metrics.jsonl", "checkpoint-4"):
        assert (one_process / name).exists(), name
    for name in ("tiny.json", "summary.json", "summary.csv", "runs/tiny.trec.gz", PER_QUERY):
        assert (one_process / "evaluation" / name).is_file(), name
    figures = _figures(one_process)
    assert figures["documents"] == 6 and 0 <= figures["ndcg@10"] <= 1 and figures["d_length"] > 0
    assert "flops_d" in (one_process / "metrics.jsonl").read_text()
    bm25 = call("evaluate_beir.py", str(config), f"output_dir={one_process}", "baseline=bm25")
    assert bm25.returncode == 0 and (one_process / "evaluation" / "baseline-bm25" / "tiny.json").is_file()
    report = call("experiment.report.__main__", str(one_process), "--output", str(tmp_path / "report"))
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "report" / "index.html").stat().st_size > 10_000


@pytest.mark.process
def test_a_finished_training_loads_nothing(one_process: Path, config: Path) -> None:
    """Records alone say so: neither the model nor the Trainer is imported."""
    done = run("-X", "importtime", "train_ir.py", str(config), f"output_dir={one_process}")
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 0 and "finished already" in done.stderr
    heavy = {"torch", "transformers", "accelerate"} & modules
    assert "pydantic" in modules and not heavy, heavy


def test_a_second_evaluation(one_process: Path, config: Path) -> None:
    """It computes nothing but the figures of queries that are missing."""
    path, per_query = one_process / "evaluation" / "tiny.json", one_process / "evaluation" / PER_QUERY
    before, scores = path.stat().st_mtime_ns, per_query.read_text()
    per_query.unlink()
    done = call("evaluate_beir.py", str(config), f"output_dir={one_process}")
    assert done.returncode == 0 and "up to date" in done.stderr and path.stat().st_mtime_ns == before
    assert per_query.read_text() == scores
    values = json.loads(scores)["ndcg@10"].values()
    assert sum(values) / len(values) == pytest.approx(json.loads(path.read_text())["ndcg@10"], abs=1e-6)


@pytest.mark.distributed
def test_two_processes_equal_one(one_process: Path, two_processes: Path, config: Path, tmp_path: Path) -> None:
    """Two processes of batch 2 against one of batch 4: weights to 1e-5 relative, figures of equal weights equal."""
    _same_weights(one_process, two_processes)
    metrics = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][:4]
        for folder in (one_process, two_processes)
    ]
    for one, both in zip(*metrics, strict=True):
        for key in ("loss", "infonce", "flops_d", "d_length", "unused_tokens", "grad_norm"):
            if key in one:
                assert both[key] == pytest.approx(one[key], rel=2e-4), key
    scored = ranks(
        "evaluate_beir.py",
        f"model_name_or_path={one_process}",
        f"output_dir={tmp_path / 'scored'}",
        f"beir_datasets={_data_set(config)}",
    )
    assert scored.returncode == 0, scored.stderr
    assert _figures(tmp_path / "scored") == _figures(one_process)


@pytest.mark.distributed
def test_two_processes_have_the_gradients_of_one(config: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A step of SGD at rate 1 without clipping moves the weights by the gradient."""
    words = [str(config), "optim=sgd", "learning_rate=1", "max_steps=1", "max_grad_norm=null", "flops_d_T=1"]
    for name, batch, start_it in (("one", 4, call), ("two", 2, ranks)):
        more = [f"output_dir={tmp_path / name}", f"per_device_train_batch_size={batch}"]
        done = start_it("train_ir.py", *words, *more)
        assert done.returncode == 0, done.stderr
    before = load_file(tiny_model / "model.safetensors")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    moved = {name: weight - one[name] for name, weight in before.items()}
    largest = max(float(gradient.abs().max()) for name, gradient in moved.items() if "predictions.bias" not in name)
    assert largest > 1e-2
    for name in moved:
        assert (one[name] - two[name]).abs().max() <= 1e-5 * largest, name


@pytest.mark.distributed
def test_accelerate_launch_trains_too(config: Path, one_process: Path, tmp_path: Path) -> None:
    launcher = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes=2",
        f"--main_process_port={free_port()}",
    ]
    launcher += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    output = tmp_path / "two"
    done = run("train_ir.py", str(config), f"output_dir={output}", "per_device_train_batch_size=2", launcher=launcher)
    assert done.returncode == 0, done.stderr
    _same_weights(one_process, output)


@pytest.mark.process
def test_a_killed_training_goes_on(config: Path, tmp_path: Path) -> None:
    """kill -9 once a checkpoint is whole, the same weights in the end; dropout on, so that random states matter."""
    words = ["train_ir.py", str(config), "max_steps=60", "save_steps=20", "model_overrides={}"]
    process = begin(*words, f"output_dir={tmp_path / 'killed'}")
    marker = tmp_path / "killed" / "checkpoint-20" / "complete.json"
    while not marker.exists() and process.is_alive():
        time.sleep(0.005)
    process.kill()
    process.join()
    assert not (tmp_path / "killed" / "model.safetensors").exists(), "the run ended before it was killed"
    again = call(*words, f"output_dir={tmp_path / 'killed'}")
    assert again.returncode == 0 and "going on from" in again.stderr, again.stderr
    assert call(*words, f"output_dir={tmp_path / 'whole'}").returncode == 0
    whole, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all((whole[name] == killed[name]).all() for name in whole)


@pytest.mark.distributed
def test_two_processes_go_on_too(config: Path, one_process: Path, two_processes: Path, tmp_path: Path) -> None:
    """Two processes, the last two steps taken back, started again."""
    output = shutil.copytree(two_processes, tmp_path / "run")
    (output / "checkpoint-4" / "complete.json").unlink()
    record = json.loads((output / "run.json").read_text())
    del record["finished"]
    (output / "run.json").write_text(json.dumps(record))
    again = ranks("train_ir.py", str(config), f"output_dir={output}", "per_device_train_batch_size=2")
    assert again.returncode == 0 and "going on from" in again.stderr, again.stderr
    _same_weights(one_process, output)


@pytest.mark.slow
@pytest.mark.distributed
def test_workers_end_with_a_killed_launcher(config: Path, tmp_path: Path) -> None:
    """They say so where the run's log is, and leave the folder to the next start; they would train for minutes."""
    run_folder = tmp_path / "run"
    launcher = start(*TORCHRUN, "train_ir.py", str(config), f"output_dir={run_folder}", "max_steps=100000")
    while launcher.poll() is None and not (run_folder / "metrics.jsonl").exists():
        time.sleep(0.1)
    workers = psutil.Process(launcher.pid).children(recursive=True)
    assert len(workers) >= 2
    launcher.kill()
    launcher.wait()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    assert "the launcher of this process is gone" in (run_folder / "train.log").read_text()
    assert holder(run_folder) is None


@pytest.mark.process
def test_a_killed_evaluation_goes_on(
    tiny_model: Path, one_process: Path, config: Path, beir_folder: Path, tmp_path: Path
) -> None:
    """kill -9 after the first of two data sets: the second run keeps its result and computes the other."""
    copy = tmp_path / "again"
    shutil.copytree(beir_folder, copy)
    words = ["evaluate_beir.py", f"model_name_or_path={one_process}", f"beir_datasets={beir_folder},{copy}"]
    process = begin(*words, f"output_dir={tmp_path / 'killed'}")
    first = tmp_path / "killed" / "evaluation" / "tiny.json"
    while not first.exists() and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join()
    (tmp_path / "killed" / "evaluation" / "again.json").unlink(missing_ok=True)
    written = first.stat().st_mtime_ns
    again = call(*words, f"output_dir={tmp_path / 'killed'}")
    assert again.returncode == 0 and "up to date" in again.stderr and first.stat().st_mtime_ns == written
    figures = [json.loads((tmp_path / "killed" / "evaluation" / f"{n}.json").read_text()) for n in ("tiny", "again")]
    for key in ("ndcg@10", "recall@100", "mrr@10", "map", "flops", "d_length", "q_length"):
        assert figures[0][key] == figures[1][key] == _figures(one_process)[key]
    summary = json.loads((tmp_path / "killed" / "evaluation" / "summary.json").read_text())
    assert summary["datasets"] == ["tiny", "again"]


def test_a_trainings_words_mean_that_run(config: Path, one_process: Path, tiny_model: Path) -> None:
    """The words of a training, given to its evaluation, mean the model that it made."""
    words = ["evaluate_beir.py", str(config), f"output_dir={one_process}"]
    same = call(*words, f"model_name_or_path={tiny_model}", "dry_run=true")
    assert "queries     inference-free, query weights: the checkpoint" in same.stdout
    assert f"scores      {one_process} (l1_relu)" in same.stdout and same.stdout.count("/evaluation\n") == 1
    other = call(*words, "eval_max_seq_length=12", "activation_type=relu", "dry_run=true")
    assert "(relu)" in other.stdout and "activation_type-relu" in other.stdout, other.stdout


def _data_set(config: Path) -> str:
    return config.read_text().split("beir_datasets: [")[1].split("]")[0]


def _mistake(message: str, *words: str, code: int = 2) -> None:
    done = call(*words)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_mistakes(config: Path, tmp_path: Path) -> None:
    """Each ends with a message and exit code 2."""
    _mistake("did you mean learning_rate?", "train_ir.py", str(config), "learning_rte=1")
    _mistake(
        "set data_type: posnegs",
        "train_ir.py",
        str(config),
        "data_type=kd",
        "loss_types=kldiv",
        "use_in_batch_negatives=false",
        f"output_dir={tmp_path}/a",
    )
    _mistake("holds no trained model", "evaluate_beir.py", str(config), f"output_dir={tmp_path}/never")
    _mistake("there is no folder", "evaluate_beir.py", "model_name_or_path=./nowhere")
    file = tmp_path / "file"
    file.write_text("in the way")
    _mistake("cannot be written", "train_ir.py", str(config), f"output_dir={file}/below")


@pytest.mark.distributed
def test_a_launcher_shows_one_message(config: Path, tmp_path: Path) -> None:
    done = run("train_ir.py", str(config), "learning_rte=1", f"output_dir={tmp_path}/x", launcher=TORCHRUN)
    assert done.returncode != 0 and done.stderr.count("did you mean learning_rate?") == 1


def test_dry_run(config: Path, tmp_path: Path) -> None:
    """It says what would happen and what is missing."""
    done = call("train_ir.py", str(config), "--dry_run", "true", f"output_dir={tmp_path}/never")
    assert done.returncode == 0 and "24 examples" in done.stdout and not (tmp_path / "never").exists()
    _mistake("no-such-set", "evaluate_beir.py", "baseline=bm25", "beir_datasets=no-such-set", "dry_run=true")


def test_an_empty_corpus_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").touch()
    write_jsonl(tmp_path / "queries.jsonl", [{"_id": "q", "text": "t"}])
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    words = [f"model_name_or_path={tiny_model}", f"beir_datasets={tmp_path}", f"output_dir={tmp_path}/o"]
    _mistake("corpus.jsonl", "evaluate_beir.py", *words)
