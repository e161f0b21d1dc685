"""A sweep asks what the commands ask: what was evaluated of other inputs is not finished, whatever files' times say."""

import json
import os
import shutil
from pathlib import Path

import pytest

import sparse_model
from experiment.run.evaluate import run_evaluation
from experiment.sweep import progress
from tests.experiment.sweeps import runs_of


def _rewrite(path: Path, text: str) -> None:
    """Another content under the old time, as `cp -p`, `tar -x` and `rsync -t` leave it."""
    times = path.stat()
    path.write_text(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _score() -> float:
    return json.loads(Path("output/sweep/b/evaluation/baseline-bm25/tiny.json").read_text())["ndcg@10"]


def test_changed_judgements(configs: Path, beir_folder: Path) -> None:
    (configs / "b.yaml").write_text(f"baseline: bm25\nbeir_datasets: [{_copy(beir_folder)}]\n")
    (run,) = runs_of("config/sweep/b.yaml")
    run_evaluation(run.scored)
    assert progress.is_finished(run) and _score() == 1
    qrels = Path("tiny/qrels/test.tsv")
    _rewrite(qrels, qrels.read_text().replace("q1\td1\t2", "q1\td0\t2"))
    assert progress.state(run) == "not evaluated"
    run_evaluation(run.scored)
    assert progress.is_finished(run) and _score() == pytest.approx(2 / 3)


def _copy(folder: Path) -> Path:
    """The data set, below the current folder."""
    return shutil.copytree(folder, Path("tiny"))


def test_changed_query_weights(configs: Path, tiny_model: Path, beir_folder: Path) -> None:
    Path("idf.json").write_text(json.dumps({"rain": 2.0, "snow": 3.0}))
    sparse_model.load(tiny_model).save("model")
    keys = f"model_name_or_path: model\nidf_path: idf.json\nbeir_datasets: [{_copy(beir_folder)}]\n"
    (configs / "b.yaml").write_text(keys)
    (run,) = runs_of("config/sweep/b.yaml")
    run_evaluation(run.scored)
    assert progress.is_finished(run)
    _rewrite(Path("idf.json"), json.dumps({"rain": 1.0, "snow": 1.0}))
    assert not progress.is_finished(run)
    run_evaluation(run.scored)
    assert progress.is_finished(run)
    Path("model/extra.json").write_text("{}")
    assert not progress.is_finished(run), "the model's files count too"
