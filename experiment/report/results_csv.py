"""results.csv: a row for each run, evaluation and data set, and one for each average; all figures unrounded."""

import csv
import io
from typing import Any

from experiment.report.runs import Evaluation, Run
from experiment.report.systems import BM25, SEEDS, System, run_seconds

AVERAGE = "macro average"
SETTINGS = ("loss_types", "activation_type", "flops_d_lambda", "flops_threshold")
FIGURES = ("ndcg@10", "recall@100", "recall@1000", "mrr@10", "map", "flops", "q_length", "d_length")
MEASURED = (
    FIGURES
    + ("encode_docs_per_s", "search_queries_per_s", "index_bytes", "ingest_docs_per_s")
    + ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "queries_per_s_at_1", "queries_per_s_at_8", "queries_cut")
    + ("exact_ndcg@10", "ndcg@10_loss", "exact_recall@100", "recall@100_loss", "overlap@10", "overlap@100")
)
COLUMNS = (
    ("run", "system", "family", "kind", "evaluation", "dataset", "datasets", "split", "queries", "documents", "engine")
    + MEASURED
    + ("train_seconds", "evaluation_seconds", "seconds")
    + SETTINGS
    + ("seed", "folder", "command")
)
Row = dict[str, Any]


def make_rows(systems: list[System], groups: dict[str, tuple[str, ...]]) -> list[Row]:
    """The rows of all systems; `groups` are data sets with averages of their own."""
    return [row for s in systems for run, evaluation in s.members for row in _rows(s, run, evaluation, groups)]


def as_csv(rows: list[Row]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def setting(value: Any) -> str:
    """A setting as a reader would write it."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _rows(system: System, run: Run, evaluation: Evaluation, groups: dict[str, tuple[str, ...]]) -> list[Row]:
    common: Row = {
        "run": run.name,
        "system": system.name,
        "family": system.family,
        "kind": system.kind,
        "evaluation": evaluation.name,
        "folder": run.folder.as_posix(),
        "command": run.command,
        "train_seconds": None if system.kind == BM25 else run.train_seconds,
    }
    if run.is_trained and system.kind != BM25:
        common |= {key: setting(run.config.get(key)) for key in (*SETTINGS, SEEDS[0])}
    rows = [
        common
        | {key: result.get(key) for key in ("split", "queries", "documents", "engine", *MEASURED)}
        | {"dataset": label, "datasets": label, "evaluation_seconds": result.get("seconds")}
        for label, result in evaluation.results.items()
    ]
    averages = {AVERAGE: evaluation.datasets} | groups
    rows += [
        common
        | {key: evaluation.average(key, datasets) for key in MEASURED}
        | {"dataset": name, "datasets": ", ".join(datasets)}
        for name, datasets in averages.items()
        if datasets and all(dataset in evaluation.results for dataset in datasets)
    ]
    for row in rows:
        if row["dataset"] == AVERAGE:
            row |= {"evaluation_seconds": evaluation.seconds, "seconds": run_seconds(run, evaluation)}
    return rows
