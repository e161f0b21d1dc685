"""results.csv: a row for each run, evaluation and data set, and one for each average; all figures unrounded."""

from typing import Any

from experiment.report.metric_names import USUAL, tabled
from experiment.report.runs import BM25, Evaluation, RunResults
from experiment.report.systems import SEEDS, System, run_seconds
from retrieval.tables import csv_table

AVERAGE = "macro average"
SETTINGS = ("loss_types", "activation_type", "flops_d_lambda", "flops_threshold")
ABOUT = (
    "run",
    "system",
    "family",
    "kind",
    "evaluation",
    "dataset",
    "datasets",
    "split",
    "queries",
    "documents",
    "engine",
)
MEASURED = ("flops", "q_length", "d_length", "encode_docs_per_s", "search_queries_per_s", "index_bytes") + (
    *("ingest_docs_per_s", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms"),
    *("queries_per_s_at_1", "queries_per_s_at_8", "queries_cut"),
)
REST = ("train_seconds", "evaluation_seconds", "seconds", *SETTINGS, "seed", "folder", "command")
Row = dict[str, Any]


def as_csv(systems: list[System], groups: dict[str, tuple[str, ...]]) -> str:
    """The rows of all systems as CSV; `groups` are data sets with averages of their own."""
    figures = measured(systems)
    rows = [row for s in systems for run, evaluation in s.members for row in _rows(s, run, evaluation, groups, figures)]
    return csv_table((*ABOUT, *figures, *REST), rows)


def measured(systems: list[System]) -> tuple[str, ...]:
    """The columns of figures: the usual metrics, others that results have, what was measured, losses."""
    found = (name for system in systems for _, evaluation in system.members for name in evaluation.metrics)
    metrics = tuple(dict.fromkeys([*USUAL, *found]))
    lossy = [*tabled(USUAL), *metrics[len(USUAL) :]]
    losses = [column for name in lossy for column in (f"exact_{name}", f"{name}_loss")]
    return (*metrics, *MEASURED, *losses, "overlap@10", "overlap@100")


def setting(value: Any) -> str:
    """A setting as a reader would write it."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _rows(
    system: System,
    run: RunResults,
    evaluation: Evaluation,
    groups: dict[str, tuple[str, ...]],
    figures: tuple[str, ...],
) -> list[Row]:
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
        | {key: result.get(key) for key in ("split", "queries", "documents", "engine", *figures)}
        | {"dataset": label, "datasets": label, "evaluation_seconds": result.get("seconds")}
        for label, result in evaluation.results.items()
    ]
    averages = {AVERAGE: evaluation.datasets} | groups
    rows += [
        common
        | {key: evaluation.average(key, datasets) for key in figures}
        | {"dataset": name, "datasets": ", ".join(datasets)}
        for name, datasets in averages.items()
        if datasets and all(dataset in evaluation.results for dataset in datasets)
    ]
    for row in rows:
        if row["dataset"] == AVERAGE:
            row |= {"evaluation_seconds": evaluation.seconds, "seconds": run_seconds(run, evaluation)}
    return rows
