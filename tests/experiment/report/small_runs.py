"""A few small run folders, and what reads a report over them."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from experiment.report.__main__ import main
from tests.experiment.report.made_runs import write_json

PNG_START = b"\x89PNG\r\n\x1a\n"
FILES = {
    "index.html",
    "report.md",
    "results.csv",
    "quality_flops.png",
    "quality_length.png",
    "activations.png",
    "training_curves.png",
}
QUALITY = {"quality_flops.png", "quality_length.png", "activations.png"}
RUNS: dict[str, dict[str, Any]] = {
    "flops": {"ndcg@10": 0.605, "flops": 4.1, "d_length": 477.0, "activation_type": "relu", "threshold": None},
    "l0_mask": {"ndcg@10": 0.598, "flops": 1.9, "d_length": 201.5, "activation_type": "relu", "threshold": 150},
    "l0_mask_activation": {
        "ndcg@10": 0.591,
        "flops": 1.2,
        "d_length": 168.0,
        "activation_type": "l1_relu",
        "threshold": 150,
    },
}


def write_evaluation(folder: Path, results: dict[str, dict[str, Any]]) -> None:
    """What evaluate_beir.py leaves: a file a data set, then summary.json with the macro averages."""
    for name, figures in results.items():
        record = {
            "dataset": name,
            "split": "test",
            "queries": 300,
            "documents": 5000,
            "seconds": 4.0,
        } | figures
        write_json(folder / f"{name}.json", record)
    write_json(folder / "summary.json", {"datasets": list(results), "model": "x"})


def write_run(folder: Path, figures: dict[str, Any], data: tuple[str, ...] = ("docstrings",)) -> Path:
    """A finished run: NDCG@10 of the second data set is 0.1 lower, so that the average is known."""
    config = {
        "model_name_or_path": "output/quickstart/bert",
        "train_file": "data/quickstart/train.jsonl",
        "loss_types": ["infonce"],
        "activation_type": figures["activation_type"],
        "flops_d_lambda": 0.01,
        "flops_threshold": figures["threshold"],
        "seed": 42,
    }
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"command": f"python train_ir.py config/quickstart/{folder.name}.yaml"})
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    lines: list[dict[str, Any]] = [{"step": step, "loss": 1 + 10 / step} for step in range(100, 701, 100)]
    lines.append({"step": 700, "train_runtime": 90.1, "train_seconds": 151.2, "train_samples_per_second": 148.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    results = {
        name: {
            "ndcg@10": figures["ndcg@10"] - 0.1 * index,
            "recall@100": figures["ndcg@10"] + 0.3,
            "flops": figures["flops"],
            "q_length": 7.5,
            "d_length": figures["d_length"],
        }
        for index, name in enumerate(data)
    }
    write_evaluation(folder / "evaluation", results)
    return folder


def report(folders: list[str], output: Path, *more: str) -> Path:
    assert main([*folders, "--output", str(output), *more]) == 0
    return output


def read_rows(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """Collects what the tests ask for and fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.narrow = 0  # how many elements were open before the one for phones that is open now
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.is_narrow: list[bool] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self.narrow and dict(attrs).get("class") == "narrow":
            self.narrow = len(self.open)
        self.attributes.append((tag, dict(attrs)))
        self.is_narrow.append(bool(self.narrow))
        if tag not in ("meta", "link", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag
        if len(self.open) == self.narrow:
            self.narrow = 0

    def values(self, tag: str, name: str) -> list[str]:
        return [found[name] or "" for kind, found in self.attributes if kind == tag and name in found]

    def split(self, tag: str, name: str) -> tuple[list[str], list[str]]:
        """The values on a wide screen, and those that take their place on a phone."""
        pairs = zip(self.attributes, self.is_narrow, strict=True)
        known = [(found[name] or "", narrow) for (kind, found), narrow in pairs if kind == tag and name in found]
        return [value for value, narrow in known if not narrow], [value for value, narrow in known if narrow]
