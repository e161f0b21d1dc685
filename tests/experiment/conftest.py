"""Fixtures of several tests of sweeps."""

from pathlib import Path

import pytest


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a training and a baseline; the working folder is a fresh one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NPROC", "1")
    folder = tmp_path / "config" / "sweep"
    folder.mkdir(parents=True)
    (folder / "base.yaml").write_text("beir_datasets: [tiny]\n")
    (folder / "a.yaml").write_text("base: base.yaml\nmodel_name_or_path: m\ntrain_file: t.jsonl\ndata_type: kd\n")
    (folder / "b.yaml").write_text("base: base.yaml\nbaseline: bm25\n")
    return folder
