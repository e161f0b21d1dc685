"""What costs no training stands beside what was trained: the start model cut, and each trained model cut."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from experiment.report.__main__ import main
from experiment.report.comparisons import area_section
from experiment.report.grouping import make_systems
from experiment.report.headline import against_free
from experiment.report.runs import load_runs
from experiment.report.shapes import FREE, curve, label, shape_of, without_shape
from experiment.report.systems import find_baseline, main_datasets
from tests.experiment.report.made_runs import make_runs, write_json

START = "distilbert/distilbert-base-uncased"  # as in the made runs
RNG = np.random.default_rng(5)
QUERIES = RNG.normal(0.5, 0.2, 80)


def _write(folder: Path, quality: float, length: float, shape: dict, start: str = START) -> None:
    """An evaluation as evaluate_beir.py leaves it."""
    figures = {"ndcg@10": quality, "recall@100": 0.8, "flops": length / 100, "q_length": 8.0, "d_length": length}
    write_json(folder / "scifact.json", {"dataset": "scifact", "split": "test", "seconds": 3.0, **figures})
    write_json(folder / "summary.json", {"datasets": ["scifact"]})
    per_query = {f"q{i}": float(score) for i, score in enumerate(QUERIES - QUERIES.mean() + quality)}
    write_json(folder / "runs" / "scifact.per_query.json", {"ndcg@10": per_query})
    (folder / "config.yaml").write_text(yaml.safe_dump({"model_name_or_path": start, **shape}))


CUTS = {96: (0.60, 95.0), 48: (0.58, 48.0), 24: (0.50, 24.0)}


def _write_cuts(folder: Path, above: float = 0.0, suffix: str = "") -> None:
    for k, (quality, length) in CUTS.items():
        name = f"max_active_dims-{k}{suffix}"
        _write(folder / "evaluation" / name, quality + above, length, {"max_active_dims": k})


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """A start model whole and cut, and a family of two trained ones, 0.02 above it whole and cut."""
    start = tmp_path / "output" / "start"
    _write(start / "evaluation", 0.62, 190.0, {})
    _write_cuts(start)
    made = make_runs(
        tmp_path / "output", {"plain": [("0.01", "relu", None, 0.01, False), ("0.1", "relu", None, 0.1, False)]}, (42,)
    )
    for folder, (quality, length) in zip(made, [(0.62, 120.0), (0.58, 40.0)], strict=True):
        for path in (Path(folder) / "evaluation").rglob("*.json"):
            path.unlink()
        _write(Path(folder) / "evaluation", quality, length, {})
        _write_cuts(Path(folder), above=0.02)
    return [str(start), *made]


def test_families(runs: list[str]) -> None:
    """The start model whole and cut is one curve; what a trained family becomes when it is cut is another one."""
    systems = make_systems(load_runs(runs))
    found = {family: [s.label for s in systems if s.family == family] for family in {s.family for s in systems}}
    assert sorted(found[FREE]) == ["k = 24", "k = 48", "k = 96", "uncut"]
    assert len(found["plain"]) == 2 and len(found["plain, cut"]) == 6 and len(found) == 3
    assert all(s.is_main for s in systems)
    baseline = find_baseline(systems, main_datasets(systems), None)
    assert baseline is not None and baseline.family == "plain"


def test_areas_against_the_free_curve(runs: list[str]) -> None:
    """Both costs; the trained family cut lies 0.02 above it, of all its costs."""
    systems = make_systems(load_runs(runs))
    section = area_section(systems, find_baseline(systems, ("scifact",), None), ("scifact",))
    free = [table for table in section.tables if table.title.endswith(f"against {FREE}")]
    assert [table.title.split(",")[0] for table in free] == ["At equal FLOPS", "At equal d_length"]
    for table in free:
        line = next(line for line in table.lines if line[0].text == "plain, cut")
        assert float(line[1].exact) == pytest.approx(0.02, abs=1e-3) and line[1].mark == "best"
    (sentence,) = against_free(systems, ("scifact",))
    assert sentence.count("the best family, plain, cut, lies 0.02") == 2 and "95 % +0.0" in sentence


def test_that_it_is_missing_is_said(runs: list[str], tmp_path: Path) -> None:
    systems = make_systems(load_runs(runs[1:]))
    (sentence,) = against_free(systems, ("scifact",))
    command = f"python evaluate_beir.py model_name_or_path={START} "
    assert "Not shown" in sentence and command in sentence and "max_active_dims=null,96" in sentence
    assert main([*runs[1:], "--output", str(tmp_path / "report")]) == 0
    assert "Not shown: the start model" in (tmp_path / "report" / "report.md").read_text()


def test_another_untrained_model_is_not_free(runs: list[str], tmp_path: Path) -> None:
    other = tmp_path / "output" / "other"
    _write(other / "evaluation", 0.7, 190.0, {}, "else/where")
    _write_cuts(other)
    families = {s.run.name: s.family for s in make_systems(load_runs([*runs, str(other)]))}
    assert families["other"] == "other, cut" and families["start"] == FREE


def test_names() -> None:
    """A shape is told where the config and the folder's name agree; the rest of the name is what it was."""
    config = {"max_active_dims": 48, "cut_by": "weight_df", "lexical_share": 0.25, "lexical_idf": True}
    name = "split-dev_max_active_dims-48_cut_by-weight_df_lexical_share-0.25_lexical_idf-true_idf_path-x"
    shape = shape_of(config, name)
    assert shape == config and without_shape(name, shape) == "split-dev_idf_path-x"
    assert (label(shape), curve(shape)) == ("k = 48", "share 0.25 × IDF, cut by rarity")
    assert shape_of(config, "evaluation") == {} and shape_of({}, "max_active_dims-48") == {}
    assert without_shape("max_active_dims-48", {"max_active_dims": 48}) == ""
    assert without_shape("max_active_dims-480", {"max_active_dims": 48}) == "max_active_dims-480"
    assert (label({"prune_ratio": 0.2}), curve({"prune_ratio": 0.2}), curve({})) == ("ratio 0.2", "cut", "")
