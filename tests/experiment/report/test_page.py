"""The report over run folders made here: three trained runs, BM25 beside one."""

import json
import re
import shutil
from pathlib import Path

import pytest

from experiment.report.grouping import make_systems
from experiment.report.runs import load_runs
from tests.experiment.report.made_runs import PAPER, make_runs, write_json
from tests.experiment.report.small_runs import (
    FILES,
    PNG_START,
    RUNS,
    Page,
    read_rows,
    report,
    write_evaluation,
    write_run,
)


def test_all_files_are_written_and_named_on_the_terminal(quickstart, tmp_path, capsys):
    output = report(quickstart, tmp_path / "report")
    printed = capsys.readouterr().out
    assert {path.name for path in output.iterdir()} == FILES
    assert all((output / name).read_bytes().startswith(PNG_START) for name in FILES if name.endswith(".png"))
    assert str(output / "quality_flops.png") in printed and str(output / "index.html") in printed
    head, *lines = printed.split("\n\n")[0].splitlines()[1:]
    assert head.split() == ["run", "NDCG@10", "recall@100", "FLOPS", "d_length", "seconds"]
    assert [line.split()[:2] for line in lines] == [
        ["flops", "0.6050"],
        ["l0_mask", "0.5980"],
        ["l0_mask_activation", "0.5910"],
        ["BM25", "0.4720"],
    ]
    assert lines[0].endswith("155 (151 + 4)") and len({len(line) for line in lines}) == 1


def test_csv_holds_a_row_per_data_set_and_a_named_average(tmp_path):
    run = write_run(tmp_path / "a" / "run", RUNS["l0_mask"], data=("nfcorpus", "scifact"))
    rows = read_rows(report([str(run)], tmp_path / "report"))
    assert [(row["dataset"], row["datasets"]) for row in rows] == [
        ("nfcorpus", "nfcorpus"),
        ("scifact", "scifact"),
        ("macro average", "nfcorpus, scifact"),
    ]
    # (0.598 + 0.498) / 2; training 151.2 s and two evaluations of 4 s
    assert float(rows[2]["ndcg@10"]) == pytest.approx(0.548)
    assert float(rows[2]["seconds"]) == pytest.approx(159.2)
    assert (rows[2]["activation_type"], rows[2]["flops_threshold"], rows[2]["seed"]) == ("relu", "150", "42")


def test_the_page_stands_alone_and_links_to_the_run(quickstart, tmp_path):
    output = report(quickstart, tmp_path / "some where" / "report", "--title", "Masks & <activations>")
    text = (output / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<h1>Masks &amp; &lt;activations&gt;</h1>" in text
    sources = page.values("img", "src")
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,") and page.values("img", "alt")[0]
    alts, on_a_phone = page.split("svg", "aria-label")
    assert on_a_phone == alts and len(page.values("source", "srcset")) == 1
    assert len(alts) == 3 and "flops: 0.6050 at 4.1" in alts[0] and "l0_mask: 0.5980 at 201.5" in alts[1]
    assert not re.search(r"https?://|<script|@import|url\((?!#)", text)
    ids = page.values("path", "id") + page.values("clippath", "id") + page.values("h2", "id")
    assert len(ids) == len(set(ids)) and set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert "<title>l0_mask\nℓ0 mask, ℓ0 mask\n" in text and "NDCG@10 0.598\nFLOPS 1.9" in text
    addresses = [address for address in page.values("a", "href") if not address.startswith("#")]
    assert all(address[1:] in ids for address in page.values("a", "href") if address.startswith("#"))
    assert "../../output/quickstart/l0_mask/evaluation/docstrings.json" in addresses
    assert "../../output/quickstart/flops/evaluation/baseline-bm25/summary.json" in addresses
    assert all((output / address).exists() for address in addresses)
    assert "python train_ir.py config/quickstart/l0_mask.yaml" in text


def test_best_values_are_marked_and_bm25_competes_only_in_quality(quickstart, tmp_path):
    output = report(quickstart, tmp_path / "report")
    best = re.findall(
        r'<td class="number best"\s*title="[^"]*">([^<]+?)\s*<', (output / "index.html").read_text("utf-8")
    )
    # BM25's d_length 55 and its 4 seconds are lower than any run's; all runs took equally long: none is best.
    assert best == ["0.6050", "0.9050", "1.200", "168.0"]
    markdown = (output / "report.md").read_text(encoding="utf-8")
    line = "| flops | **0.6050** | **0.9050** | 4.100 | 477.0 | 155 (151 + 4) | infonce | relu | 0.01 |  |"
    assert line in markdown.splitlines()
    assert "![" in markdown and "(quality_flops.png)" in markdown


def test_the_same_folders_give_the_same_bytes(quickstart, tmp_path):
    first = report(quickstart, tmp_path / "report" / "first", "--title", "t")
    second = report(quickstart, tmp_path / "report" / "second", "--title", "t")
    assert {path.name for path in first.iterdir()} == FILES
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_averages_over_other_data_sets_stand_apart(quickstart, tmp_path, capsys):
    other = write_run(tmp_path / "output" / "beir", RUNS["flops"], data=("nfcorpus", "scifact"))
    output = report([*quickstart, str(other)], tmp_path / "report")
    printed = capsys.readouterr().out
    assert "docstrings\nrun" in printed and "Average over 2 data sets: nfcorpus, scifact\nrun" in printed
    markdown = (output / "report.md").read_text(encoding="utf-8")
    assert "Not shown: beir: not scored on docstrings, but on nfcorpus, scifact." in markdown
    assert "| beir | 0.6050 | 0.5050 |" in markdown
    assert "beir: 0.5550" not in (output / "index.html").read_text(encoding="utf-8")


def test_data_that_changed_between_two_runs_is_another_data_set(quickstart):
    for folder, digest in zip(quickstart, ("aaaa1111", "aaaa1111", "bbbb2222"), strict=True):
        path = Path(folder) / "evaluation" / "docstrings.json"
        write_json(path, json.loads(path.read_text()) | {"data hash": digest * 2})
    shutil.rmtree(Path(quickstart[0]) / "evaluation" / "baseline-bm25")
    systems = make_systems(load_runs(quickstart))
    assert [system.datasets for system in systems] == [
        ("docstrings [test aaaa1111]",),
        ("docstrings [test aaaa1111]",),
        ("docstrings [test bbbb2222]",),
    ]


def test_evaluations_with_other_settings_are_lines_of_their_own(quickstart, tmp_path, capsys):
    figures = {"ndcg@10": 0.58, "recall@100": 0.8, "flops": 0.9, "q_length": 4.0, "d_length": 168.0}
    write_evaluation(Path(quickstart[2]) / "evaluation" / "query_prune-0.1", {"docstrings": figures})
    output = report(quickstart, tmp_path / "report")
    assert re.search(r"^l0_mask_activation · query_prune-0.1 +0.5800", capsys.readouterr().out, re.M)
    alt = Page((output / "index.html").read_text(encoding="utf-8")).values("svg", "aria-label")[0]
    assert "query_prune" not in alt and "BM25, a horizontal line: 0.4720" in alt


def test_bm25_measured_in_every_run_stands_once(quickstart, tmp_path, capsys):
    source = Path(quickstart[0]) / "evaluation" / "baseline-bm25"
    shutil.copytree(source, Path(quickstart[1]) / "evaluation" / "baseline-bm25")
    output = report(quickstart, tmp_path / "report")
    assert len(re.findall(r"^BM25", capsys.readouterr().out, re.M)) == 1
    assert sum(row["kind"] == "BM25" for row in read_rows(output)) == 2


def test_a_model_that_was_only_evaluated(tmp_path, capsys):
    folder = tmp_path / "output" / "splade-tiny"
    figures = {"ndcg@10": 0.654, "recall@100": 0.9, "flops": float("nan"), "q_length": 9.0, "d_length": 120.0}
    write_evaluation(folder / "evaluation", {"scifact": figures})
    (folder / "config.yaml").write_text("model_name_or_path: models/splade-tiny\nflops_d_lambda: 0.001\n")
    output = report([str(folder)], tmp_path / "report")
    assert re.search(r"^splade-tiny +0.6540 +0.9000 +– +120.0 +4$", capsys.readouterr().out, re.M)
    assert {path.name for path in output.glob("*.png")} == {"quality_length.png"}
    assert read_rows(output)[1]["flops_d_lambda"] == ""


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    folders = [write_run(tmp_path / family / "0.04", RUNS["flops"]) for family in ("baseline", "mask")]
    assert [run.name for run in load_runs([*folders, folders[0]])] == ["baseline/0.04", "mask/0.04"]
    assert [run.name for run in load_runs(folders[:1])] == ["0.04"]


def test_names_cannot_break_the_page(tmp_path):
    run = write_run(tmp_path / "a|b<script>#1", RUNS["flops"])
    output = report([str(run)], tmp_path / "report")
    text = (output / "index.html").read_text(encoding="utf-8")
    Page(text)
    assert "<script" not in text and "a%7Cb%3Cscript%3E%231/config.yaml" in text
    assert "| a\\|b&lt;script> |" in (output / "report.md").read_text(encoding="utf-8").replace("#1", "")


def test_names_act_nowhere(tmp_path, capsys):
    """Neither on the terminal nor in a picture, Markdown or a spreadsheet, where numbers stay numbers."""
    folders = [write_run(tmp_path / name, RUNS["flops"], data=("=a\x1b[31m\nb",)) for name in ("[x](y)", "=$1\x07$^$")]
    output = report([str(folder) for folder in folders], tmp_path / "report")
    shown = capsys.readouterr().out
    texts = [shown, *((output / name).read_text(encoding="utf-8") for name in ("report.md", "index.html"))]
    assert all(r"=$1\x07$^$" in text.replace("\\\\", "\\") for text in texts)
    assert not any(character in text for text in texts for character in "\x1b\x07")
    assert r"\[x\](y)" in texts[1] and "[x](y)" not in texts[1]
    row = read_rows(output)[0]
    assert row["dataset"] == r"'=a\x1b[31m\nb" and float(row["ndcg@10"]) == 0.605


def test_figures_of_an_engine_and_losses_have_tables_of_their_own(tmp_path):
    folder = tmp_path / "run"
    plain = {"ndcg@10": 0.65, "recall@100": 0.9, "flops": 2.0, "d_length": 120.0, "q_length": 9.0}
    speed = {"latency_p50_ms": 12.34, "latency_p95_ms": 20.0, "latency_p99_ms": 30.0, "queries_per_s_at_1": 80.0}
    speed |= {"queries_per_s_at_8": 150.0, "ingest_docs_per_s": 2345.6, "index_bytes": 4314330, "engine": "opensearch"}
    loss = {"overlap@10": 0.97, "overlap@100": 0.95, "exact_ndcg@10": 0.655, "ndcg@10_loss": 0.005}
    write_evaluation(folder / "evaluation", {"scifact": plain})
    for name, figures in (
        ("engine-opensearch", plain | speed),
        ("two", plain | speed | loss | {"latency_p50_ms": 12.5}),
    ):
        numbers = {key: value for key, value in figures.items() if key != "engine"}
        write_evaluation(folder / "evaluation" / name, {"scifact": numbers})
    markdown = (report([str(folder)], tmp_path / "report") / "report.md").read_text(encoding="utf-8")
    engine, losses = markdown.split("Search engine, latency")[1].split("Loss against the ranking by all scores")
    assert "| run · engine-opensearch | **12.3** | 20.0 | 30.0 | 80.0 | 150.0 | 2346 |" in engine
    assert "| run · two | 0.9500 | 0.9700 | 0.6550 | 0.0050 | – |" in losses and "engine-opensearch |" not in losses
    assert "<h3>Search engine" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert read_rows(tmp_path / "report")[2]["latency_p99_ms"] == "30.0"


def test_tables_tests_and_columns_follow_the_metrics_of_the_results(tmp_path, capsys):
    """Results that name their metrics are shown by these, and compared query by query by the first."""
    folders = make_runs(tmp_path / "out", {"baseline": PAPER["baseline"][:2]}, (1,), ("a",), 9)
    for shift, folder in enumerate(map(Path, folders)):
        result, queries = folder / "evaluation" / "a.json", folder / "evaluation" / "runs" / "a.per_query.json"
        figures = {"metrics": ["mrr@5", "ndcg@20", "p@3"], "mrr@5": 0.25 + 0.5 * shift, "ndcg@20": 0.75, "p@3": 0.125}
        write_json(result, json.loads(result.read_text()) | figures)
        write_json(queries, {"mrr@5": {f"q{i}": 0.01 * i + 0.5 * shift + 0.001 * i * shift for i in range(9)}})
    output = report(folders, tmp_path / "report")
    markdown = (output / "report.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.splitlines()[1].split()[:5] == ["run", "MRR@5", "ndcg@20".upper(), "p@3", "FLOPS"]
    ours, differences = markdown.split("## The paper's figures")[0].split("## Differences to the baseline")
    assert "Paired t-tests on the MRR@5 of each query" in differences and "NDCG@10" not in ours + differences
    # The mean of 0.5 + 0.001 i over i = 0 to 8 is 0.504.
    assert "\n| 0.01 | 0.2500 | **-0.5040** |" in differences
    row = read_rows(output)[0]
    assert [row[key] for key in ("mrr@5", "ndcg@20", "p@3", "recall@1000")] == ["0.75", "0.75", "0.125", ""]
    assert list(row)[11:19] == ["ndcg@10", "recall@100", "recall@1000", "mrr@10", "map", "mrr@5", "ndcg@20", "p@3"]


def test_a_folder_of_bm25_alone_is_no_training_without_figures(tmp_path):
    """Its config may be one of a training: BM25 takes the place of the model."""
    run = write_run(tmp_path / "bm25", RUNS["flops"])
    (run / "evaluation").rename(run / "moved")
    (run / "evaluation").mkdir()
    (run / "moved").rename(run / "evaluation" / "baseline-bm25")
    for name in ("run.json", "metrics.jsonl"):
        (run / name).unlink()
    (found,) = load_runs([run])
    assert (found.kind, found.is_trained, found.notes) == ("BM25", False, [])
