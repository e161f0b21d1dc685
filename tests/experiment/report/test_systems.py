"""Runs become systems: seeds, families, labels, baselines, per-query figures."""

import json
from pathlib import Path

import pytest
import yaml

from experiment.report.grouping import make_systems
from experiment.report.query_scores import query_scores
from experiment.report.runs import load_runs
from experiment.report.systems import System, family_numbers, find_baseline, main_datasets
from sparse_model.errors import UserError
from tests.experiment.report.made_runs import LOG, PAPER, RELU, Config, make_runs, write_json

SMALL: dict[str, list[Config]] = {
    "mask": [(f"{t}_0.04", RELU, t, 0.04, False) for t in (200, 50, 100)],
    "baseline": [(str(weight), RELU, None, weight, False) for weight in (0.1, 0.01)],
    "others": [("l1", LOG, None, 0.04, False), ("decouple", RELU, None, 0.04, True)],
}


def systems_in(folder: Path, *, families=SMALL, seeds=(1,), datasets=("scifact", "fiqa"), queries=5) -> list[System]:
    return make_systems(load_runs(make_runs(folder, families, seeds, datasets, queries)))


def change(file: Path, **values: object) -> None:
    """New values for a JSON file's keys."""
    write_json(file, json.loads(file.read_text()) | values)


def test_runs_that_differ_only_in_their_seed_are_one(tmp_path):
    """NDCG@10 of three seeds on two data sets: means 0.3, 0.4 and 0.8 have the mean 0.5 and s = √0.07."""
    for name, seed, pair in (("x", 1, (0.2, 0.4)), ("x_seed2", 2, (0.3, 0.5)), ("x_seed3", 3, (0.7, 0.9))):
        make_runs(tmp_path / name, {"f": [("x", RELU, 50, 0.1, False)]}, (seed,), ("a", "b"), 3)
        (tmp_path / name / "f" / "x").rename(tmp_path / name / "f" / name)
        for dataset, ndcg in zip("ab", pair, strict=True):
            change(tmp_path / name / "f" / name / "evaluation" / f"{dataset}.json", **{"ndcg@10": ndcg})
    folders = [tmp_path / name / "f" / name for name in ("x", "x_seed2", "x_seed3")]
    (system,) = make_systems(load_runs(folders))
    assert system.values("ndcg@10", ("a", "b")) == pytest.approx([0.3, 0.4, 0.8])
    assert system.figure("ndcg@10", ("a", "b")) == pytest.approx(0.5)
    assert system.spread("ndcg@10", ("a", "b")) == pytest.approx(0.07**0.5)
    assert system.figure("ndcg@10", ("a", "c")) is None and system.values("map", ("a",)) == []


@pytest.mark.parametrize(
    ("old", "says"), [({"use_l0": True}, "l1_relu"), ({"use_l0": False}, "relu"), ({"use_l0": None}, "relu")]
)
def test_an_older_name_of_an_activation(tmp_path, old, says):
    """Version 0.1 recorded use_l0 beside activation_type; without effect it keeps no runs apart."""
    folders = [Path(path) for path in make_runs(tmp_path, {"f": SMALL["mask"][:1]}, (1, 2), ("a", "b"), 3)]
    config = yaml.safe_load((folders[1] / "config.yaml").read_text())
    assert config["activation_type"] == "relu"
    (folders[1] / "config.yaml").write_text(yaml.safe_dump(config | old))
    runs = load_runs(folders)
    assert runs[1].activation == says and len(make_systems(runs)) == (1 if says == "relu" else 2)


@pytest.mark.parametrize("difference", ["config", "processes", "data", "data sets", "seed"])
def test_what_differs_in_more_than_the_seed_stays_apart(tmp_path, difference):
    folders = [Path(path) for path in make_runs(tmp_path, {"f": SMALL["mask"][:1]}, (1, 2), ("a", "b"), 3)]
    assert len(make_systems(load_runs(folders))) == 1
    other = folders[1]
    config = yaml.safe_load((other / "config.yaml").read_text())
    if difference == "config":
        (other / "config.yaml").write_text(yaml.safe_dump(config | {"learning_rate": 1e-3}))
    elif difference == "seed":  # the same run twice is no spread over seeds
        (other / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 1}))
    elif difference == "data sets":
        write_json(other / "evaluation" / "summary.json", {"datasets": ["a"]})
    else:
        change(other / "run.json", **{"processes" if difference == "processes" else "data hash": "other"})
    found = make_systems(load_runs(folders))
    assert len(found) == 2 and len({system.name for system in found}) == 2


def test_a_family_is_a_folder_and_labels_say_what_it_varies(tmp_path):
    found = systems_in(tmp_path, seeds=(1, 2))
    assert [(s.name, s.family, s.label, len(s.members)) for s in found] == [
        ("mask/50_0.04", "mask", "t = 50", 2),
        ("mask/100_0.04", "mask", "t = 100", 2),
        ("mask/200_0.04", "mask", "t = 200", 2),
        ("baseline/0.01", "baseline", "λ = 0.01", 2),
        ("baseline/0.1", "baseline", "λ = 0.1", 2),
        ("others/l1", "others", "l1", 2),
        ("others/decouple", "others", "decouple", 2),
    ]
    assert family_numbers(found) == {"mask": 0, "baseline": 1, "others": 2}


def test_a_folder_alone_is_split_by_kind(tmp_path):
    one = {"small": [(f"{name}_{c[0]}", *c[1:]) for name, configs in SMALL.items() for c in configs]}
    found = systems_in(tmp_path / "alone", families=one)  # type: ignore[arg-type]
    assert [s.family for s in found] == ["ℓ0 mask"] * 3 + ["plain FLOPS"] * 2 + ["ℓ0 activation", "decoupled"]
    found = systems_in(tmp_path / "two", families=one | {"more": SMALL["mask"][:1]})  # type: ignore[arg-type]
    assert {s.family for s in found} == {
        *("small: ℓ0 mask", "small: plain FLOPS", "small: ℓ0 activation", "small: decoupled"),
        "more",
    }


def test_the_papers_sweeps_are_seven_families_of_56(tmp_path):
    found = systems_in(tmp_path, families=PAPER, datasets=("a",), queries=2)
    assert len(found) == 56 and set(family_numbers(found)) == set(PAPER)


def test_main_data_sets_are_those_of_most_models(tmp_path):
    folders = make_runs(tmp_path, SMALL, (1,), ("a", "b", "c"), 2)
    write_json(Path(folders[0]) / "evaluation" / "summary.json", {"datasets": ["a", "b"]})
    systems = make_systems(load_runs(folders))
    assert main_datasets(systems) == ("a", "b", "c") and main_datasets([]) == ()


def test_an_evaluation_that_all_runs_share_is_their_main_one(tmp_path):
    folders = make_runs(tmp_path, SMALL, (1,), ("a",), 2)
    for folder in map(Path, folders):
        (folder / "evaluation").rename(folder / "moved")
        (folder / "evaluation").mkdir()
        (folder / "moved").rename(folder / "evaluation" / "engine-opensearch")
    systems = make_systems(load_runs(folders))
    assert all(system.is_main for system in systems) and "engine" not in systems[0].name


def test_the_baseline_is_the_best_of_its_family_or_the_one_named(tmp_path):
    systems = systems_in(tmp_path)
    best = max(systems[3:5], key=lambda s: s.figure("ndcg@10", ("fiqa", "scifact")) or 0)
    assert find_baseline(systems, ("fiqa", "scifact"), None) is best
    assert find_baseline(systems, ("fiqa",), "mask/50_0.04") is systems[0]
    assert find_baseline(systems[:3], ("fiqa",), None) is None
    with pytest.raises(UserError, match="--baseline nothing: no such system; there are mask/50_0.04"):
        find_baseline(systems, ("fiqa",), "nothing")


def test_seeds_are_averaged_query_by_query(tmp_path):
    folders = make_runs(tmp_path, {"f": SMALL["mask"][:1]}, (1, 2), ("a",), 2)
    for folder, scores in zip(folders, ({"q2": 0.5, "q1": 0.25}, {"q1": 0.75, "q2": 0.0}), strict=True):
        write_json(Path(folder, "evaluation", "runs", "a.per_query.json"), {"ndcg@10": scores})
    systems = make_systems(load_runs(folders))
    scores, missing = query_scores(systems, ("a",))
    assert list(scores["a"][systems[0].name]) == [0.5, 0.25] and missing == []


def test_figures_of_queries_that_are_missing_or_of_other_queries_are_said(tmp_path):
    systems = systems_in(tmp_path, datasets=("a",))
    places = [system.members[0][1].per_query["a"] for system in systems]
    places[1].unlink()
    write_json(places[2], {"ndcg@10": {"another": 1.0}})
    scores, missing = query_scores(systems, ("a",))
    assert missing == [
        "mask/100_0.04: no figures of single queries for a",
        "mask/200_0.04: no figures of single queries for a (other queries)",
    ]
    assert len(scores["a"]) == len(systems) - 2
    places[3].write_text("{")
    with pytest.raises(UserError, match="a.per_query.json: damaged"):
        query_scores(systems, ("a",))
