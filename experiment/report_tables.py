"""The report's rows (one per evaluation and data set) and tables (one per list of data sets averaged)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from experiment.plots import finite
from experiment.report_runs import DEFAULT, Evaluation, Run

AVERAGE = "macro average"
BM25 = "BM25"
SETTINGS = ("loss_types", "activation_type", "flops_d_lambda", "flops_threshold")
FIGURES = ("ndcg@10", "recall@100", "recall@1000", "mrr@10", "map", "flops", "q_length", "d_length")
CSV_COLUMNS = (
    ("run", "family", "evaluation", "dataset", "datasets", "split", "queries", "documents")
    + FIGURES
    + ("train_seconds", "evaluation_seconds", "seconds", "encode_docs_per_s", "search_queries_per_s")
    + ("engine", "index_bytes", "ingest_docs_per_s", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
    + ("queries_per_s_at_1", "queries_per_s_at_8", "queries_cut")
    + ("exact_ndcg@10", "ndcg@10_loss", "exact_recall@100", "recall@100_loss", "overlap@10", "overlap@100")
    + SETTINGS
    + ("seed", "folder")
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of the tables: the row's key, its heading, its format, and whether more is better."""

    key: str
    heading: str
    format: str
    best: Callable[[Iterable[float]], float]
    with_bm25: bool = True  # whether BM25 competes: its FLOPS, length and time measure something else


COLUMNS = (
    Column("ndcg@10", "NDCG@10", ".4f", max),
    Column("recall@100", "recall@100", ".4f", max),
    Column("flops", "FLOPS", ".3f", min, with_bm25=False),
    Column("d_length", "d_length", ".1f", min, with_bm25=False),
    Column("seconds", "seconds", ".0f", min, with_bm25=False),
)


# Tables of their own, of the lines that have their first column's figure.
FURTHER = {
    "Search engine, latency of a query sent alone": (
        Column("latency_p50_ms", "p50 ms", ".1f", min),
        Column("latency_p95_ms", "p95 ms", ".1f", min),
        Column("latency_p99_ms", "p99 ms", ".1f", min),
        Column("queries_per_s_at_1", "queries/s, 1 at once", ".1f", max),
        Column("queries_per_s_at_8", "queries/s, 8 at once", ".1f", max),
        Column("ingest_docs_per_s", "ingest docs/s", ".0f", max),
        Column("index_bytes", "index bytes", ".0f", min),
    ),
    "Loss against the ranking by all scores": (
        Column("overlap@100", "overlap@100", ".4f", max),
        Column("overlap@10", "overlap@10", ".4f", max),
        Column("exact_ndcg@10", "exact NDCG@10", ".4f", max),
        Column("ndcg@10_loss", "NDCG@10 loss", ".4f", min),
        Column("recall@100_loss", "recall@100 loss", ".4f", min),
    ),
}


@dataclass(frozen=True)
class Cell:
    """A figure as shown; `exact` is the unrounded value, `detail` what it is made of."""

    text: str
    exact: str = ""
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A line of a table: the row it comes from, its name, and a cell per column."""

    row: Row
    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class Further:
    """A table beside the main one: (name, a cell per column) a line."""

    title: str
    columns: tuple[Column, ...]
    lines: list[tuple[str, list[Cell]]]


@dataclass(frozen=True)
class Table:
    """Averages over one and the same list of data sets, and each data set's NDCG@10 behind them."""

    datasets: str
    rows: list[Row]
    lines: list[Line]
    per_dataset: list[tuple[str, list[Cell]]]
    further: list[Further]

    @property
    def names(self) -> list[str]:
        """The data sets, in the order of the columns of `per_dataset`."""
        return self.datasets.split(", ")


def make_rows(run: Run) -> list[Row]:
    """A row for each data set of each evaluation, followed by the evaluation's macro average."""
    return [row for evaluation in run.evaluations for row in _evaluation_rows(run, evaluation)]


def make_tables(rows: list[Row]) -> list[Table]:
    """A table for each list of data sets that was averaged over, the one with most runs first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["dataset"] == AVERAGE:
            groups.setdefault(row["datasets"], []).append(row)
    tables = [_table(datasets, group, rows) for datasets, group in groups.items()]
    return sorted(tables, key=lambda table: (-len(drawable(table)), -len(table.names), table.datasets))


def drawable(table: Table) -> list[Row]:
    """Rows that can be a marker: one a run, its default evaluation."""
    return [row for row in table.rows if row["evaluation"] == DEFAULT and row["family"] != BM25]


def setting(value: Any) -> str:
    """A setting as a reader would write it."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _evaluation_rows(run: Run, evaluation: Evaluation) -> list[Row]:
    settings = {key: setting(run.config.get(key)) for key in (*SETTINGS, "seed")}
    train_seconds = None if evaluation.is_bm25 else run.train_seconds
    common: Row = {
        "run": run.name,
        "family": BM25 if evaluation.is_bm25 else run.family,
        "evaluation": evaluation.name,
        "folder": run.folder.as_posix(),
        "train_seconds": train_seconds,
    }
    if run.is_trained and not evaluation.is_bm25:
        common |= settings
    rows = [
        common | {"dataset": label, "datasets": label, "evaluation_seconds": result.get("seconds")} | _known(result)
        for label, result in evaluation.results.items()
    ]
    if evaluation.figures:
        total = evaluation.seconds
        if run.is_trained and not evaluation.is_bm25:  # half of a sum would look like a fast run
            total = None if total is None or train_seconds is None else total + train_seconds
        average = {"dataset": AVERAGE, "datasets": ", ".join(evaluation.datasets), "seconds": total}
        rows.append(common | average | {"evaluation_seconds": evaluation.seconds} | _known(evaluation.figures))
    return rows


def _known(figures: dict[str, Any]) -> Row:
    """What results.csv has a column for, without the keys that a row sets itself."""
    own = ("run", "family", "evaluation", "dataset", "datasets", "seconds", "seed", "folder")
    return {key: figures[key] for key in CSV_COLUMNS if key in figures and key not in own}


def _table(datasets: str, group: list[Row], rows: list[Row]) -> Table:
    """Cells and best values of one group; BM25, the same in every run, stands once and last."""
    named: dict[tuple[Any, ...], tuple[str, Row]] = {}
    for row in sorted(group, key=lambda row: row["family"] == BM25):
        name = _line_name(row)
        same = (row.get("ndcg@10"), row.get("recall@100")) if row["family"] == BM25 else row["run"]
        named.setdefault((name, same), (name, row))
    names, shown = [name for name, _ in named.values()], [row for _, row in named.values()]
    cells = _transpose([_cells(column, shown) for column in COLUMNS])
    lines = [Line(row, name, line) for name, row, line in zip(names, shown, cells, strict=True)]
    behind: list[list[Cell]] = []
    if len(datasets.split(", ")) > 1:
        found = {(row["run"], row["evaluation"], row["dataset"]): row for row in rows}
        places = [(row["run"], row["evaluation"]) for row in shown]
        behind = _transpose(
            [
                _cells(COLUMNS[0], [found.get((*place, dataset), {}) for place in places])
                for dataset in datasets.split(", ")
            ]
        )
    further = [_further(title, columns, names, shown) for title, columns in FURTHER.items()]
    per_dataset = list(zip(names, behind, strict=True)) if behind else []
    return Table(datasets, group, lines, per_dataset, [part for part in further if part.lines])


def _further(title: str, columns: tuple[Column, ...], names: list[str], rows: list[Row]) -> Further:
    measured = [(name, row) for name, row in zip(names, rows, strict=True) if finite(row.get(columns[0].key))]
    cells = _transpose([_cells(column, [row for _, row in measured]) for column in columns])
    return Further(title, columns, list(zip((name for name, _ in measured), cells, strict=True)))


def _transpose(columns: list[list[Cell]]) -> list[list[Cell]]:
    return [list(cells) for cells in zip(*columns, strict=True)]


def _line_name(row: Row) -> str:
    if row["family"] == BM25:
        return BM25 if row["evaluation"] in (DEFAULT, "baseline-bm25") else f"{BM25} · {row['evaluation']}"
    return row["run"] if row["evaluation"] == DEFAULT else f"{row['run']} · {row['evaluation']}"


def _cells(column: Column, rows: list[Row]) -> list[Cell]:
    """One column; the best of two or more values is marked, and so is every value that reads the same."""
    values = [row[column.key] if finite(row.get(column.key)) else None for row in rows]
    competes = [column.with_bm25 or row.get("family") != BM25 for row in rows]
    # Zero products, tokens or seconds are no achievement: such a run has collapsed or was not measured.
    racing = [value for value, allowed in zip(values, competes, strict=True) if value and allowed]
    best = format(column.best(racing), column.format) if len(racing) > 1 else ""
    return [
        _cell(column, row, value, best if allowed else "")
        for row, value, allowed in zip(rows, values, competes, strict=True)
    ]


def _cell(column: Column, row: Row, value: float | None, best: str) -> Cell:
    if value is None:
        return Cell("–", "not known")
    text = format(value, column.format)
    return Cell(text, str(value), _parts(row) if column.key == "seconds" else "", text == best)


def _parts(row: Row) -> str:
    """Training + evaluation, where there are both."""
    train, evaluation = row["train_seconds"], row["evaluation_seconds"]
    return f"({train:.0f} + {evaluation:.0f})" if train is not None and evaluation is not None else ""
