"""Commands that are disturbed, each with where it starts from and what it must leave in the end."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.processes import call

MINE = "mine.txt"
Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One command and its result."""

    script: str
    words: Callable[["Inputs", Path], list[str]]
    """the words, for a folder that it may write to"""
    result: Callable[[Path], Result]
    """of that folder: equal after every disturbance"""
    before: tuple[str, ...] = ()
    """jobs that ran there before"""
    more: tuple[str, ...] = ()
    """words of the disturbed command only: the next start goes without"""
    most: int | None = None
    """points of a fault at most, spread over all: of what is slow, and of which the commands are jobs of their own"""
    needs: str = ""
    """a variable of the environment"""


@dataclass(frozen=True)
class Inputs:
    """A model, and configs of a training with an evaluation, of one with keys of later versions, of a preparation."""

    model: Path
    train: Path
    newer: Path
    prepare: Path


def start(name: str, inputs: Inputs, folder: Path) -> None:
    """What lies in the folder before the job: the results of earlier ones, and a file of the user's."""
    folder.mkdir(parents=True)
    for earlier in JOBS[name].before:
        done = call(JOBS[earlier].script, *JOBS[earlier].words(inputs, folder))
        assert done.returncode == 0, done.stderr
    for place in (folder, folder / "run", folder / "report"):
        if place.is_dir():
            (place / MINE).write_text("kept")


def lost(folder: Path) -> list[str]:
    """The user's files that are gone; a folder that was moved aside took its own along."""
    there = {path.parent.name.split(".")[0] for path in folder.rglob(MINE) if path.read_text() == "kept"}
    return sorted({folder.name} - there)


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "absent"


def _trained(folder: Path) -> Result:
    run = folder / "run"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    return {"weights": _hash(run / "model.safetensors"), "idf": _hash(run / "idf.json"), "losses": losses}


def _evaluated(folder: Path) -> Result:
    place = folder / "run" / "evaluation"
    figures = json.loads((place / "tiny.json").read_text())
    timed = ("seconds", "per_s", "command", "written", "finished", "git")
    kept = {key: value for key, value in figures.items() if not any(word in key for word in timed)}
    per_query = json.loads((place / "runs" / "tiny.per_query.json").read_text())
    return {"figures": kept, "per query": per_query, "summary": (place / "summary.csv").is_file()}


def _prepared(folder: Path) -> Result:
    import datasets

    rows = folder / "rows"
    return {"rows": datasets.load_from_disk(str(rows)).to_list(), "card": (rows / "README.md").is_file()}


def _reported(folder: Path) -> Result:
    report = folder / "report"
    with (report / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    timed = [key for key in rows[0] if "seconds" in key]
    figures = [{key: value for key, value in row.items() if key not in timed} for row in rows]
    return {"csv": figures, "files": sorted(path.name for path in report.iterdir() if not path.name.startswith("."))}


def _swept(folder: Path) -> Result:
    reports = [path.parent.name for path in folder.glob("output/report/*/index.html")]
    return {
        **_trained(folder),
        **_evaluated(folder),
        "report": reports,
        "failed": (folder / "run" / "failed.json").exists(),
    }


def _searched(folder: Path) -> Result:
    figures = json.loads((folder / "run" / "evaluation" / "node" / "tiny.json").read_text())
    return {name: figures[name] for name in ("ndcg@10", "recall@100", "map", "flops", "d_length", "documents")}


def _saved(folder: Path) -> Result:
    run = folder / "run"
    return {path.name: _hash(path) for path in run.iterdir() if path.name not in ("complete.json", MINE)}


def _train(inputs: Inputs, folder: Path, *more: str) -> list[str]:
    return [str(inputs.train), f"output_dir={folder / 'run'}", *more]


def _report(inputs: Inputs, folder: Path) -> list[str]:
    return [str(folder / "run"), "--output", str(folder / "report")]


def _save(inputs: Inputs, folder: Path, length: int) -> list[str]:
    return [str(inputs.model), str(folder / "run"), str(length)]


def _sweep(inputs: Inputs, folder: Path) -> list[str]:
    return [str(folder), str(inputs.train), "--", f"output_dir={folder / 'run'}"]


def _search(inputs: Inputs, folder: Path) -> list[str]:
    node = ["engine=opensearch", f"opensearch_home={os.environ[HOME]}", "opensearch_heap=512m"]
    return _train(inputs, folder, "evaluation_name=node", *node)


HOME = "OPENSEARCH_HOME"
SWEEP = "tests.attack.sweep"
SAVE = "tests.attack.save"
REPORT = "experiment.report.__main__"
JOBS: dict[str, Job] = {  # the longest first, so that no other waits for them
    "search in OpenSearch": Job("evaluate_beir.py", _search, _searched, ("train",), most=3, needs=HOME),
    "sweep": Job(SWEEP, _sweep, _swept, most=3),
    "train": Job("train_ir.py", _train, _trained),
    "train by newer keys": Job("train_ir.py", lambda i, f: [str(i.newer), f"output_dir={f / 'run'}"], _trained, most=6),
    "train longer": Job("train_ir.py", lambda i, f: _train(i, f, "max_steps=8"), _trained, ("train",)),
    "train anew": Job(
        "train_ir.py", lambda i, f: _train(i, f, "seed=7"), _trained, ("train",), more=("overwrite=true",)
    ),
    "evaluate": Job("evaluate_beir.py", _train, _evaluated, ("train",)),
    "other metrics": Job(
        "evaluate_beir.py", lambda i, f: _train(i, f, "metrics=nDCG@5"), _evaluated, ("train", "evaluate")
    ),
    "evaluate anew": Job(
        "evaluate_beir.py", lambda i, f: _train(i, f, "query_prune=0.3"), _evaluated, ("train", "evaluate")
    ),
    "prepare": Job("data_preparation.py", lambda i, f: [str(i.prepare), f"output_dir={f / 'rows'}"], _prepared),
    "save": Job(SAVE, lambda i, f: _save(i, f, 16), _saved),
    "save over": Job(SAVE, lambda i, f: _save(i, f, 32), _saved, ("save",)),
    "report": Job(REPORT, _report, _reported, ("train", "evaluate")),
    "report again": Job(REPORT, _report, _reported, ("train", "evaluate", "report")),
}


def copy(folder: Path, place: Path) -> Path:
    """The folder again, at a place that is free."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(folder, place, symlinks=True))
