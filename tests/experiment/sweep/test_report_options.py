"""What report.yaml beside configs may say, and what a sweep makes of it."""

from pathlib import Path

import pytest

from experiment.sweep.report_options import report_options
from sparse_model.errors import UserError
from tests.experiment.sweeps import runs_of


def mistakes(configs: Path, text: str) -> str:
    (configs / "report.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        report_options(runs_of("config/sweep"))
    return str(caught.value)


def test_a_folder_may_say_how_its_report_divides_the_data_sets(configs: Path) -> None:
    assert report_options(runs_of("config/sweep")) == []
    (configs / "report.yaml").write_text("title: Ours\nbaseline: a\ngroups: {near: ['tiny:dev']}\n")
    runs = runs_of("config/sweep")
    assert [run.config.stem for run in runs] == ["a", "b"], "it is no run"
    assert report_options(runs) == ["--title", "Ours", "--baseline", "a", "--group", "near=tiny"]


def test_mistakes_are_said_at_once(configs: Path) -> None:
    message = mistakes(configs, "titel: Ours\ntitle: --x\ngroups: {near: [], a=b: [tiny]}\n")
    assert message.count("config/sweep/report.yaml: ") == 4 and "titel: " in message and "groups.near: " in message
    assert message.endswith("The keys of a report.yaml: title, baseline, groups.")
    message = mistakes(configs, "baseline: aa\ngroups: {tiny: [tiny]}\n")
    assert "baseline: aa is no config of this folder. Did you mean a?" in message
    assert "groups.tiny: is a data set's name" in message


def test_what_a_report_cannot_heed_is_left_out_and_said(configs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (configs / "a_seed7.yaml").write_text("base: a.yaml\nseed: 7\n")
    (configs / "report.yaml").write_text("baseline: a\ngroups: {near: [tiny], far: [tinny]}\n")
    assert report_options(runs_of("config/sweep/b.yaml")) == ["--group", "near=tiny"]
    message = capsys.readouterr().err
    assert "report.yaml: baseline: a is none of the runs; left out" in message
    assert "report.yaml: groups.far: no run is scored on tinny; left out" in message
    assert "--baseline" in report_options(runs_of("config/sweep/a_seed7.yaml"))


def test_of_several_folders_none_counts(configs: Path) -> None:
    other = configs.parent / "other"
    other.mkdir()
    (other / "c.yaml").write_text("baseline: bm25\nbeir_datasets: [tiny]\n")
    (configs / "report.yaml").write_text("baseline: a\n")
    assert report_options(runs_of("config/sweep", "config/other")) == []
