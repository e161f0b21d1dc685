"""What an evaluation computes again, and what not: by recorded hashes, and by the metrics that are asked for."""

import csv
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import sparse_model
from experiment.report.runs import load_runs
from experiment.run import kept_vectors as keeping
from experiment.run.done import is_evaluated
from experiment.run.evaluate import run_evaluation
from experiment.run.kept_vectors import kept_vectors
from experiment.settings.settings import load_settings
from retrieval.beir_data import load_beir
from retrieval.dataset_names import CQADUPSTACK
from sparse_model import SparseEncoder, UserError
from sparse_model.encoding import encode_block
from tests.conftest import write_jsonl


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
    words = ["baseline=bm25", f"beir_datasets={beir_folder}", f"output_dir={tmp_path / 'run'}"]
    assert is_evaluated(load_settings(words)) and not is_evaluated(load_settings([*words, "metrics=P@1"]))
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


def test_what_pruning_loses_is_of_the_metrics_that_are_there(
    tiny_model: Path, beir_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From a stored run other metrics are computed, but not what an exact search would find by them: that is said."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "evaluation" / "query_prune-0.5" / "tiny.json"
    _score(tiny_model, beir_folder, tmp_path, "query_prune=0.5")
    assert {"exact_ndcg@10", "ndcg@10_loss", "exact_recall@100"} <= json.loads(path.read_text()).keys()
    _score(tiny_model, beir_folder, tmp_path, "query_prune=0.5", "metrics=P@1")
    left = {key for key in json.loads(path.read_text()) if "exact" in key or "loss" in key or "ndcg" in key}
    assert left == set() and "overwrite=true" in caplog.text
    _score(tiny_model, beir_folder, tmp_path, "query_prune=0.5", "metrics=P@1", "overwrite=true")
    assert {"exact_p@1", "p@1_loss"} <= json.loads(path.read_text()).keys()


def test_a_summary_of_other_data_sets_is_moved_aside(beir_folder: Path, tmp_path: Path) -> None:
    """Also where somebody removed its table."""
    folder = _evaluate(beir_folder, tmp_path / "run")
    other = shutil.copytree(beir_folder, tmp_path / "other")
    (folder / "summary.csv").unlink()
    _evaluate(other, tmp_path / "run")
    assert json.loads((folder / "summary.json").read_text())["datasets"] == ["other"]
    assert len(list(folder.glob("summary.json.*"))) == 1 and not list(folder.glob("summary.csv.*"))


def test_a_damaged_run_is_computed_anew(beir_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other metrics of a run that was cut short are those of the whole one; the damaged file stays."""
    folder = _evaluate(beir_folder, tmp_path / "run")
    run = folder / "runs" / "tiny.trec.gz"
    whole = run.read_bytes()
    run.write_bytes(whole[:-9])
    _evaluate(beir_folder, tmp_path / "run", "metrics=RR@10")
    assert json.loads((folder / "tiny.json").read_text())["mrr@10"] == 1 and run.read_bytes() == whole
    assert "is computed anew" in caplog.text and len(list(folder.glob("runs/tiny.trec.gz.*"))) == 1


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


def test_a_top_k_below_a_metrics_cutoff_is_said(
    beir_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The default metrics are those that every result holds: their values are of fewer hits, and no mistake."""
    _evaluate(beir_folder, tmp_path / "run", "top_k=100", "dry_run=true")
    assert "top_k: R@1000: of the 100 hits alone that a query keeps" in caplog.text


@pytest.fixture(scope="module")
def sparse(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that says of itself: l1_relu, 12 tokens."""
    folder = tmp_path_factory.mktemp("models") / "sparse"
    sparse_model.load(str(tiny_model), activation_type="l1_relu", max_seq_length=12).save(folder)
    return folder


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many documents each block that is encoded has."""
    counts: list[int] = []
    encode = encode_block

    def counted(self: SparseEncoder, ids: Sequence[Sequence[int]], *options: Any) -> Any:
        counts.append(len(ids))
        return encode(self, ids, *options)  # type: ignore[arg-type]

    monkeypatch.setattr("sparse_model.encoder.encode_block", counted)
    return counts


def _score(model: Path, beir_folder: Path, output: Path, *words: str) -> None:
    run_evaluation(
        load_settings([f"model_name_or_path={model}", f"beir_datasets={beir_folder}", f"output_dir={output}", *words])
    )


def _figures(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text())
    other = ("seconds", "search_queries_per_s", "encode_docs_per_s", "command", "config hash", "model", "git commit")
    return {key: value for key, value in record.items() if key not in other}


def test_an_evaluation_encodes_what_no_other_has(
    sparse: Path, beir_folder: Path, tmp_path: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another cut-off, pruning, query weights, split or precision of the index: the vectors are those of the first."""
    split = tmp_path / "tiny"
    shutil.copytree(beir_folder, split)
    shutil.copy(split / "qrels" / "test.tsv", split / "qrels" / "dev.tsv")
    output, alone = tmp_path / "run", tmp_path / "alone"
    _score(sparse, split, output)
    assert encoded == [6] and len(list((output / "evaluation" / ".vectors").glob("tiny-*"))) == 1
    for words in ("top_k=2", "query_prune=0.5", "idf_path=corpus", "split=dev", "round_weights=true"):
        _score(sparse, split, output, words)
    assert encoded == [6]
    _score(sparse, split, alone, "keep_vectors=false")
    _score(sparse, split, alone, "keep_vectors=false", "query_prune=0.5")
    assert encoded == [6, 6, 6] and not (alone / "evaluation" / ".vectors").exists()
    for name in ("tiny.json", "query_prune-0.5/tiny.json"):
        assert _figures(output / "evaluation" / name) == _figures(alone / "evaluation" / name)
    _score(sparse, split, output, "max_seq_length=8")
    assert encoded == [6, 6, 6, 6], "a document cut elsewhere has other vectors"


def test_what_is_up_to_date_needs_no_model(
    sparse: Path, beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _score(sparse, beir_folder, tmp_path)
    before = (tmp_path / "evaluation" / "config.yaml").read_text()
    monkeypatch.setattr(sparse_model, "load", lambda *_, **__: pytest.fail("the model is loaded"))
    _score(sparse, beir_folder, tmp_path)
    assert (tmp_path / "evaluation" / "config.yaml").read_text() == before
    _score(sparse, beir_folder, tmp_path, "metrics=P@1")
    assert json.loads((tmp_path / "evaluation" / "summary.json").read_text())["figures"].keys() >= {"p@1", "flops"}


def test_queries_that_are_cut_are_counted(
    sparse: Path, beir_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of the queries below have more tokens than the tokenizer's limit of 64."""
    folder = tmp_path / "tiny"
    shutil.copytree(beir_folder, folder)
    texts = {"q0": "rain " * 65, "q1": "rain " * 64, "q2": "loud music " * 400}
    write_jsonl(folder / "queries.jsonl", [{"_id": name, "text": text} for name, text in texts.items()])
    _score(sparse, folder, tmp_path / "run")
    assert "tiny: 2 queries are longer than the model reads" in caplog.text
    encoder = sparse_model.load(sparse, inf_free=False)
    assert encoder.count_cut_queries(["rain " * 10, "rain " * 11]) == 1, "of 12 tokens, two are the frame"


def test_what_was_scored_is_recorded(sparse: Path, beir_folder: Path, tmp_path: Path) -> None:
    """A config that says otherwise does not override a checkpoint that says what it is."""
    config = tmp_path / "config.yaml"
    config.write_text("activation_type: l3_relu\nmax_seq_length: 64\n")
    _score(sparse, beir_folder, tmp_path / "run", str(config))
    said = {"activation_type": "l1_relu", "max_seq_length": 12, "inf_free": True, "idf_path": None}
    said |= {"query_prompt": None, "document_prompt": None}
    said |= dict.fromkeys(("lexical_share", "train_lexical_share"), 0.0)
    said |= dict.fromkeys(("lexical_idf", "train_lexical_idf"), False)
    assert json.loads((tmp_path / "run" / "evaluation" / "tiny.json").read_text())["scored"] == said
    recorded = yaml.safe_load((tmp_path / "run" / "evaluation" / "config.yaml").read_text())
    assert {key: recorded[key] for key in said} == said


def test_a_checkpoints_card_gets_the_figures(sparse: Path, beir_folder: Path, tmp_path: Path) -> None:
    """Unless somebody made it his own."""
    folder = shutil.copytree(sparse, tmp_path / "run")
    before = (folder / "README.md").read_text()
    assert "None yet" in before
    _score(folder, beir_folder, folder)
    ndcg = json.loads((folder / "evaluation" / "tiny.json").read_text())["ndcg@10"]
    assert f"| tiny | this model | {ndcg:.4f} |" in (folder / "README.md").read_text()
    (folder / "README.md").write_text("# Mine\n")
    _score(folder, beir_folder, folder, "overwrite=true")
    assert (folder / "README.md").read_text() == "# Mine\n"


def test_two_models_of_one_name(
    sparse: Path, beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each has a folder of its own, and finds it again."""
    monkeypatch.chdir(tmp_path)
    for place in ("one", "two"):
        shutil.copytree(sparse, tmp_path / place / "best")
    for _ in range(2):
        for model in ("one/best", str(tmp_path / "two" / "best")):
            run_evaluation(load_settings([model, f"beir_datasets={beir_folder}"], takes_folder=True))
    folders = sorted(path.name for path in Path("output").iterdir() if not path.name.startswith("."))
    assert len(folders) == 2 and folders[0] == "best" and folders[1].startswith("best-")
    models = [json.loads(Path("output", name, "evaluation", "tiny.json").read_text())["model"] for name in folders]
    assert models == ["one/best", str(tmp_path / "two" / "best")]
    assert f"output/best holds something else; results go to output/{folders[1]}" in caplog.text
    assert not list(Path("output").glob("*/evaluation/tiny.json.*")), "nothing was computed anew"


def test_which_vectors_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = kept_vectors(tmp_path, "a", 10**6, {"files": "x"}, None)
    assert folder is not None and folder.parent == tmp_path / ".vectors" and folder.name.startswith("a-")
    assert kept_vectors(tmp_path, "a", 10, {"files": "y"}, None) != folder
    assert kept_vectors(tmp_path, "a", 10, {"files": "x"}, False) is None
    assert kept_vectors(tmp_path, "a", 10**6 + 1, {"files": "x"}, None) is None
    assert "they take about 1.5 GB (keep_vectors=true keeps them)" in caplog.text
    disk = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=10**9))
    monkeypatch.setattr(keeping, "shutil", disk)
    monkeypatch.setattr("retrieval.files.shutil", disk)
    assert kept_vectors(tmp_path, "a", 10**6, {"files": "x"}, None) is None and "1.0 GB of disk are free" in caplog.text
    with pytest.raises(UserError, match="keep_vectors for a needs 1.5 GB"):
        kept_vectors(tmp_path, "a", 10**6, {"files": "x"}, True)
    folder.mkdir(parents=True)
    assert kept_vectors(tmp_path, "a", 10**7, {"files": "x"}, None) == folder, "what is there is used"


def test_unknown_data_sets_leave_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """All of them are told before a model is loaded or a folder made."""
    words = [f"model_name_or_path={tiny_model}", f"beir_datasets={tmp_path / 'none'},scifct"]
    with pytest.raises(UserError, match="none: no such folder(.|\n)*scifct: unknown data set. Did you mean scifact"):
        run_evaluation(load_settings([*words, f"output_dir={tmp_path / 'out'}"]))
    assert not (tmp_path / "out").exists()


def test_what_will_be_downloaded_is_said_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, before the first byte: without beir_datasets that is thirteen data sets."""
    from retrieval import download

    caplog.set_level(logging.INFO)

    def offline(name: str, folder: str) -> None:
        raise UserError(f"{name}: no network")

    monkeypatch.setattr(download, "ensure", offline)
    with pytest.raises(UserError, match="scifact: no network"):
        run_evaluation(load_settings(["baseline=bm25", "beir_datasets=scifact,fiqa", f"beir_dir={tmp_path}/beir",
                                      f"output_dir={tmp_path}/run"]))  # fmt: skip
    assert f"2 data sets will be downloaded into {tmp_path}/beir: scifact, fiqa" in caplog.text


def _cqadupstack(beir_folder: Path, folder: Path) -> Path:
    """Its twelve folders, of the tiny data set; the judgements of one are of another document."""
    for forum in CQADUPSTACK:
        shutil.copytree(beir_folder, folder / "cqadupstack" / forum)
    judged = folder / "cqadupstack" / "tex" / "qrels" / "test.tsv"
    judged.write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\n")
    return folder


def test_the_folders_of_cqadupstack_count_as_one(
    beir_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NDCG@10 of the whole is the mean of the parts', and the average is over two data sets, not thirteen."""
    beir_dir = _cqadupstack(beir_folder, tmp_path / "beir")
    words = ["baseline=bm25", f"output_dir={tmp_path / 'run'}", f"beir_dir={beir_dir}"]
    both = load_settings([*words, f"beir_datasets={beir_folder},cqadupstack"])
    run_evaluation(both)
    folder = tmp_path / "run" / "evaluation" / "baseline-bm25"
    parts = [json.loads((folder / f"cqadupstack-{forum}.json").read_text()) for forum in CQADUPSTACK]
    whole, alone = (json.loads((folder / f"{name}.json").read_text()) for name in ("cqadupstack", "tiny"))
    ndcg = {part["dataset"]: part["ndcg@10"] for part in parts}
    assert {*ndcg.values()} == {alone["ndcg@10"], ndcg["cqadupstack-tex"]} and len({*ndcg.values()}) == 2
    assert whole["ndcg@10"] == pytest.approx((11 * alone["ndcg@10"] + ndcg["cqadupstack-tex"]) / 12)
    assert whole["queries"] == sum(part["queries"] for part in parts) and whole["documents"] == 12 * alone["documents"]
    assert whole["parts"]["cqadupstack-tex"]["map"] == parts[8]["map"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["datasets"] == ["tiny", "cqadupstack"]
    assert summary["figures"]["ndcg@10"] == pytest.approx((alone["ndcg@10"] + whole["ndcg@10"]) / 2)
    queries = json.loads((folder / "runs" / "cqadupstack.per_query.json").read_text())["ndcg@10"]
    assert len(queries) == whole["queries"] and "cqadupstack-tex/q0" in queries
    assert sum(queries.values()) / len(queries) == pytest.approx(whole["ndcg@10"], abs=1e-6)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["tiny", *ndcg, "cqadupstack", "average"]
    assert list(csv.reader((folder / "summary.csv").open()))[-1][0] == "average of 2"
    assert is_evaluated(both) and not is_evaluated(load_settings([*words, "beir_datasets=cqadupstack"]))
    (evaluation,) = load_runs([tmp_path / "run"])[0].evaluations
    assert evaluation.datasets == ("cqadupstack", "tiny") and not evaluation.notes


def test_some_folders_of_cqadupstack_are_data_sets_of_their_own(beir_folder: Path, tmp_path: Path) -> None:
    beir_dir = _cqadupstack(beir_folder, tmp_path / "beir")
    names = f"beir_datasets={beir_dir}/cqadupstack/tex,cqadupstack/gis:test"
    run_evaluation(load_settings(["baseline=bm25", f"output_dir={tmp_path / 'run'}", f"beir_dir={beir_dir}", names]))
    folder = tmp_path / "run" / "evaluation" / "baseline-bm25"
    assert json.loads((folder / "summary.json").read_text())["datasets"] == ["cqadupstack-tex", "cqadupstack-gis"]
    assert not (folder / "cqadupstack.json").exists()
    with pytest.raises(UserError, match="several corpora; name one of them: cqadupstack/android, …, cqadupstack/wordp"):
        load_beir(f"{beir_dir}/cqadupstack", "")


def test_folders_of_cqadupstack_that_lack_a_file(beir_folder: Path, tmp_path: Path) -> None:
    """All of them are told at once, and before the model is looked for; so is a split that another data set lacks."""
    beir_dir = _cqadupstack(beir_folder, tmp_path / "beir")
    (beir_dir / "cqadupstack" / "gis" / "queries.jsonl").unlink()
    qrels = beir_dir / "cqadupstack" / "tex" / "qrels"
    (qrels / "test.tsv").rename(qrels / "a.tsv")
    names = f"beir_datasets={beir_dir}/cqadupstack,{beir_folder}:dev"
    with pytest.raises(UserError) as caught:
        run_evaluation(load_settings(["model_name_or_path=no/model", f"output_dir={tmp_path / 'run'}", names]))
    told = str(caught.value).splitlines()
    assert len(told) == 3 and "cqadupstack/gis: no queries.jsonl" in told[0]
    assert "cqadupstack/tex: no qrels/test.tsv; splits that are there: a" in told[1] and "no qrels/dev.tsv" in told[2]


def test_a_folder_of_cqadupstack_that_is_missing(
    beir_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its path it is incomplete; by its name it would be downloaded anew."""
    beir_dir = _cqadupstack(beir_folder, tmp_path / "beir")
    shutil.rmtree(beir_dir / "cqadupstack" / "gis")
    words = ["baseline=bm25", f"output_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"cqadupstack/gis: no such folder; .* mean over all .* complete"):
        run_evaluation(load_settings([*words, f"beir_datasets={beir_dir}/cqadupstack"]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"cqadupstack: there is no whole .*<split>.tsv in its folders gis by hand"):
        run_evaluation(load_settings([*words, f"beir_dir={beir_dir}", "beir_datasets=cqadupstack"]))
