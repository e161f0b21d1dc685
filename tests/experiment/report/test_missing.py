"""The report where something is missing, damaged or in the way."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiment.report import page
from experiment.report.__main__ import main
from retrieval.files import write_atomically
from tests.experiment.report.made_runs import write_json
from tests.experiment.report.small_runs import FILES, QUALITY, read_rows, report


@pytest.mark.parametrize(
    ("remove", "note"),
    [
        ("evaluation", "not evaluated"),
        ("metrics.jsonl", "no metrics.jsonl"),
        ("config.yaml", "no config.yaml"),
        ("evaluation/summary.json", "no summary.json, so the average is over what is there: docstrings"),
        ("evaluation/docstrings.json", "data sets whose files are missing, so that they are in no average: docstrings"),
    ],
)
def test_a_missing_piece_is_said(quickstart, tmp_path, capsys, remove, note):
    victim = Path(quickstart[1]) / remove
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    output = report(quickstart, tmp_path / "report")
    assert re.search(rf"^l0_mask: .*{re.escape(note)}", capsys.readouterr().out, re.M)
    for name in ("index.html", "report.md"):
        assert note in (output / name).read_text(encoding="utf-8")


def test_an_unfinished_run_has_no_total_time(quickstart, tmp_path):
    path = Path(quickstart[0]) / "metrics.jsonl"
    lines = path.read_text().splitlines()[:-1]
    path.write_text("\n".join(lines) + '\n{"step": 720, "lo', encoding="utf-8")
    output = report(quickstart, tmp_path / "report")
    average = next(row for row in read_rows(output) if row["run"] == "flops" and row["dataset"] == "macro average")
    assert (average["seconds"], average["train_seconds"], average["evaluation_seconds"]) == ("", "", "4.0")
    markdown = (output / "report.md").read_text(encoding="utf-8")
    assert "metrics.jsonl: 1 unreadable line(s) skipped; training has not finished" in markdown


def test_a_figure_that_is_no_number_is_not_known(quickstart, tmp_path):
    path = Path(quickstart[0]) / "evaluation" / "docstrings.json"
    write_json(path, json.loads(path.read_text()) | {"seconds": "long", "recall@100": None, "flops": "few"})
    markdown = (report(quickstart, tmp_path / "report") / "report.md").read_text(encoding="utf-8")
    assert "| flops | **0.6050** | – | – | 477.0 | – | infonce | relu | 0.01 |  |" in markdown.splitlines()


def test_only_what_has_data_is_drawn_and_an_older_picture_goes(quickstart, tmp_path):
    output = report(quickstart, tmp_path / "report")
    for folder in quickstart:
        shutil.rmtree(Path(folder) / "evaluation")
    report(quickstart, output)
    assert {path.name for path in output.iterdir()} == FILES - QUALITY
    (output / "mine.png").write_bytes(b"")
    for folder in quickstart:
        (Path(folder) / "metrics.jsonl").unlink()
    report(quickstart, output)
    assert [path.name for path in output.glob("*.png")] == ["mine.png"] and read_rows(output) == []


@pytest.mark.process
def test_folders_that_are_no_runs_are_all_named_and_exit_2(quickstart, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [
        sys.executable,
        "-m",
        "experiment.report",
        quickstart[0],
        str(empty),
        str(tmp_path / "nowhere"),
    ]
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "report")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert f"no run folder: {empty}, {tmp_path / 'nowhere'}." in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.yaml", "a: [", "config.yaml: cannot be read as YAML"),
        ("config.yaml", "- a", "config.yaml: holds no 'key: value' lines"),
        ("evaluation/summary.json", "{}", "evaluation/summary.json: has no 'datasets'"),
        ("evaluation/docstrings.json", '{"ndcg', "evaluation/docstrings.json: damaged"),
    ],
)
def test_damaged_files_are_named(quickstart, tmp_path, capsys, file, content, message):
    for folder in quickstart[1:]:
        (Path(folder) / file).write_text(content, encoding="utf-8")
    assert main([*quickstart, "--output", str(tmp_path / "report")]) == 2
    found = capsys.readouterr().err
    assert f"l0_mask/{message}" in found and f"l0_mask_activation/{message}" in found


def test_an_output_that_cannot_be_written(quickstart, tmp_path, capsys):
    (tmp_path / "report").write_text("a file")
    assert main([*quickstart, "--output", str(tmp_path / "report")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_files_that_are_no_report_stay(quickstart, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("my page")
    assert main([*quickstart, "--output", str(tmp_path / "mine")]) == 2
    assert "index.html" in capsys.readouterr().err
    assert (tmp_path / "mine" / "index.html").read_text() == "my page"


@pytest.mark.parametrize("before", range(4))
def test_a_report_that_was_cut_short_is_made_again(tmp_path, monkeypatch, before):
    """As the first one into a folder and as a later one with other pictures, killed after any number of files."""
    written, output = [], tmp_path / "report"

    def killed(path, content):
        if len(written) == before:
            raise KeyboardInterrupt
        written.append(path)
        write_atomically(path, content)

    for picture in ("a.png", "b.png"):
        files = {"results.csv": b"1", picture: b"2", "report.md": f"![]({picture})".encode(), "index.html": b"4"}
        written.clear()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(page, "write_atomically", killed)
            page.write_files(output, files)
        page.write_files(output, files)
        assert {path.name: path.read_bytes() for path in output.iterdir()} == files


@pytest.mark.process
def test_the_command_line_loads_nothing_heavy():
    """--help, and a mistake in an option, are answered before anything is drawn or computed."""
    heavy = "matplotlib scipy numpy torch pydantic jinja2 ir_measures".split()
    code = f"import sys; from experiment.report.__main__ import main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout == "[]\n", done.stderr
