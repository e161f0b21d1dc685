"""What an evaluation computes again, and what not: by recorded hashes, and by the metrics that are asked for."""

import csv
import json
from pathlib import Path

import pytest

from experiment.run.evaluate import run_evaluation
from experiment.run.results import result_inputs
from experiment.settings.settings import load_settings
from sparse_model import UserError

TRAINED = """model_name_or_path: base
train_file: rows.jsonl
data_type: kd
activation_type: l1_relu
flops_threshold: 200
idf_path: idf.json
max_seq_length: 256
prune_ratio: 0.1
output_dir: model
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder named model, with fixed bytes, in the current folder; idf.json and config/trained.yaml beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    (folder / "0_part").mkdir(parents=True)
    for name, text in (("config.json", '{"model_type": "bert"}'), ("modules.json", "[]"), ("run.json", "{}")):
        (folder / name).write_text(text)
    (folder / "0_part" / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(64)))
    (tmp_path / "idf.json").write_text('{"a": 1.5}')
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "trained.yaml").write_text(TRAINED)
    return folder


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        ("baseline=bm25", "2825a6a2ab7dca59"),
        ("model_name_or_path=model", "640d37576b9842e4"),
        ("model_name_or_path=model split=dev top_k=100 query_prune=0.1", "670069d7dba46600"),
        (
            "model_name_or_path=model idf_path=idf.json max_seq_length=128 activation_type=l1_relu use_l0=true",
            "dc2a9de7d50dab4c",
        ),
        ("model_name_or_path=model idf_path=corpus round_weights=true", "d67db89ca3ffd900"),
        ("model_name_or_path=model engine=opensearch use_two_phase=true bf16_full_eval=true", "a82565d2447c41b8"),
        ("model_name_or_path=model head_dtype=bfloat16 prune_ratio=0.2", "8419f06d0e97d050"),
        ("config/trained.yaml", "6bdd458c0fb88f4e"),
        ("config/trained.yaml max_seq_length=64", "e7a047ae69b12182"),
    ],
)
def test_hashes_of_version_0_1(checkpoint: Path, words: str, recorded: str) -> None:
    """What version 0.1 wrote as "config hash": with another one, everybody's results would be computed again."""
    assert result_inputs(load_settings(words.split()))["config hash"] == recorded
    metrics = [*words.split(), "metrics=nDCG@20"]
    assert result_inputs(load_settings(metrics))["config hash"] == recorded


def _evaluate(beir_folder: Path, output: Path, *words: str) -> Path:
    """BM25 on the tiny data set; the folder of its results."""
    words = ("baseline=bm25", f"beir_datasets={beir_folder}", f"output_dir={output}", *words)
    run_evaluation(load_settings(list(words)))
    return output / "evaluation" / "baseline-bm25"


def test_other_metrics_come_from_the_stored_run(
    beir_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _evaluate(beir_folder, tmp_path / "run")
    before = json.loads((folder / "tiny.json").read_text())
    assert before["metrics"] == ["ndcg@10", "recall@100", "recall@1000", "mrr@10", "map"]
    assert capsys.readouterr().out.split()[:5] == before["metrics"]
    run = (folder / "runs" / "tiny.trec.gz").stat().st_mtime_ns
    _evaluate(beir_folder, tmp_path / "run", "metrics=P@1,RR@10,P(rel=2)@5")
    after = json.loads((folder / "tiny.json").read_text())
    assert after["metrics"] == ["p@1", "mrr@10", "p(rel=2)@5"] and "map" not in after
    assert after["p@1"] == after["mrr@10"] == before["mrr@10"] == 1 and after["p(rel=2)@5"] == pytest.approx(1 / 15)
    same = before.keys() - {"metrics", "ndcg@10", "recall@100", "recall@1000", "mrr@10", "map"}
    assert {key: before[key] for key in same} == {key: after[key] for key in same}
    assert (folder / "runs" / "tiny.trec.gz").stat().st_mtime_ns == run
    queries = json.loads((folder / "runs" / "tiny.per_query.json").read_text())
    assert list(queries) == after["metrics"] and queries["p(rel=2)@5"] == {"q0": 0.0, "q1": 0.2, "q2": 0.0}
    assert capsys.readouterr().out.split()[:3] == after["metrics"]
    assert json.loads((folder / "summary.json").read_text())["figures"]["p@1"] == 1
    assert "p(rel=2)@5" in next(csv.reader((folder / "summary.csv").open()))
    _evaluate(beir_folder, tmp_path / "run")
    assert json.loads((folder / "tiny.json").read_text()) == before


def test_results_of_version_0_1_stay(beir_folder: Path, tmp_path: Path) -> None:
    """They have no list of metrics, and NDCG@10 alone of each query: the rest is added, the figures are left alone."""
    folder = _evaluate(beir_folder, tmp_path / "run")
    path, queries = folder / "tiny.json", folder / "runs" / "tiny.per_query.json"
    figures, values = json.loads(path.read_text()), json.loads(queries.read_text())
    del figures["metrics"]
    path.write_text(json.dumps(figures))
    queries.write_text(json.dumps({"ndcg@10": values["ndcg@10"]}))
    written = path.stat().st_mtime_ns
    _evaluate(beir_folder, tmp_path / "run")
    assert path.stat().st_mtime_ns == written and json.loads(queries.read_text()) == values


def test_an_unknown_metric_is_told_by_its_key(beir_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="metrics: ndcg@20 is no metric. Did you mean nDCG@20?"):
        _evaluate(beir_folder, tmp_path / "run", "metrics=ndcg@20")
    with pytest.raises(UserError, match="metrics: R@50 looks at more hits than top_k: 10 keeps"):
        _evaluate(beir_folder, tmp_path / "run", "metrics=R@50", "top_k=10")
