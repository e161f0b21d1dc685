"""Run folders as training and evaluation leave them, with made-up figures whose trends are those of the paper's sweeps.

python -m tests.experiment.report.made_runs FOLDER      # 7 families, 3 seeds, 4 data sets, 300 queries
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

DATASETS = ("nfcorpus", "scifact", "fiqa", "arguana")
RELU, LOG = "relu", "l1_relu"
THRESHOLDS = (50, 100, 150, 200, 250, 300, 350, 400, 450, 500, 1000)
LAMBDAS = (0.1, 0.01, 0.001, 0.2, 0.4, 0.05, 0.8, 0.025, 0.035)
Config = tuple[str, str, int | None, float, bool]  # name, activation, t, λ, decoupled


def _swept(activation: str, thresholds: Iterable[int | None], lambdas: Sequence[float]) -> list[Config]:
    pairs = [(t, weight) for t in thresholds for weight in lambdas]
    return [(f"{t}_{w}" if t else str(w), activation, t, w, False) for t, w in pairs]


PAPER: dict[str, list[Config]] = {
    "mask_vary_threshold": _swept(RELU, THRESHOLDS, [0.04]),
    "mask+activation_vary_threshold": _swept(LOG, THRESHOLDS, [0.04]),
    "mask+activation_vary_lambda": _swept(LOG, [200], LAMBDAS),
    "mask_vary_lambda": _swept(RELU, [200], LAMBDAS),
    "just_activation": _swept(LOG, [None], (0.1, 0.01, 0.4, 0.04, 0.004, 0.035)),
    "vary_activation": [
        ("decouple", RELU, None, 0.04, True),
        ("mask_decouple", RELU, 200, 0.04, True),
        ("l2", "l2_relu", None, 0.04, False),
        ("l3", "l3_relu", None, 0.04, False),
    ],
    "baseline": _swept(RELU, [None], (0.01, 0.001, 0.0001, 0.4, 0.004, 0.15)),
}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def make_runs(
    folder: Path,
    families: dict[str, list[Config]] = PAPER,
    seeds: Sequence[int] = (42, 43, 44),
    datasets: Sequence[str] = DATASETS,
    queries: int = 300,
) -> list[str]:
    """Writes folder/<family>/<name> and, for further seeds, folder/<family>/<name>_seed<N>; returns the folders."""
    made = []
    for family, configs in families.items():
        for config in configs:
            for seed in seeds:
                run = folder / family / (config[0] if seed == seeds[0] else f"{config[0]}_seed{seed}")
                write_made_run(run, config, seed, datasets, queries)
                made.append(str(run))
    return made


def write_made_run(run: Path, config: Config, seed: int, datasets: Sequence[str], queries: int) -> None:
    name, activation, threshold, weight, decoupled = config
    run.mkdir(parents=True)
    length = 60 + 25 * (1 + 4 * (activation == RELU)) / weight**0.35
    if threshold is not None:
        length = 0.75 * threshold + 0.3 * min(length, 400)
    settings = {
        "model_name_or_path": "distilbert/distilbert-base-uncased",
        "train_file": "data/msmarco_ft",
        "loss_types": ["kldiv"],
        "activation_type": activation,
        "decouple_activation": decoupled,
        "flops_d_lambda": weight,
        "flops_threshold": threshold,
        "seed": seed,
        "output_dir": str(run),
    }
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = f"python train_ir.py config/{run.parent.name}/{name}.yaml seed={seed}"
    write_json(run / "run.json", {"command": command, "processes": 8, "data hash": "aa"})
    lines: list[dict[str, Any]] = [_logged(step, length, weight) for step in range(500, 10001, 500)]
    lines.append({"step": 10000, "train_runtime": 900.0, "train_seconds": 900.0})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    random = np.random.default_rng([seed, len(run.parent.name), threshold or 0, int(1e4 * weight)])
    for index, dataset in enumerate(datasets):
        quality = 0.55 - 0.08 * index - 0.9 / math.sqrt(length + 20) + 0.02 * (threshold is not None)
        quality += 0.003 * random.standard_normal()
        easy = np.random.default_rng(index).normal(0, 0.2, queries)  # a query is as hard for every run
        ndcg = (quality + easy + random.normal(0, 0.08, queries)).clip(0, 1)
        _write_result(run / "evaluation", dataset, ndcg, length * (0.9 + 0.1 * index))
    write_json(run / "evaluation" / "summary.json", {"datasets": list(datasets)})


def _write_result(folder: Path, dataset: str, ndcg: np.ndarray, length: float) -> None:
    figures = {"ndcg@10": float(ndcg.mean()), "recall@100": float(ndcg.mean()) + 0.3, "flops": length / 120}
    counts = {"dataset": dataset, "split": "test", "queries": len(ndcg), "documents": 5000, "seconds": 60.0}
    write_json(folder / f"{dataset}.json", counts | figures | {"q_length": 7.5, "d_length": length})
    scores = {f"q{i}": round(float(value), 6) for i, value in enumerate(ndcg)}
    write_json(folder / "runs" / f"{dataset}.per_query.json", {"ndcg@10": scores})


def _logged(step: int, length: float, weight: float) -> dict[str, Any]:
    now = length + 6000 * math.exp(-step / 900)
    return {
        "step": step,
        "loss": 1 + 3 * math.exp(-step / 1500) + now / 900,
        "kldiv": 1 + 3 * math.exp(-step / 1500),
        "flops_d": now / 9,
        "lambda_d": weight * min(1, step / 6000) ** 2,
        "d_length": now,
        "empty_documents": 0.0,
    }


if __name__ == "__main__":
    print("\n".join(make_runs(Path(sys.argv[1]))))
