"""Tables of the systems' figures. Averages over different data sets never meet."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from experiment.report.metric_names import heading, tabled
from experiment.report.parts import Cell, Section, Table
from experiment.report.results_csv import SETTINGS, setting
from experiment.report.run_files import finite
from experiment.report.runs import BM25
from experiment.report.systems import System


@dataclass(frozen=True)
class Column:
    """A figure in a table: its key, heading and format, and whether more is better."""

    key: str
    heading: str
    format: str
    best: Callable[[Iterable[float]], float]
    with_bm25: bool = True  # whether BM25 competes: its FLOPS, length and time measure something else


UNITS = (
    "λ: weight of the FLOPS penalty; t: documents with at most so many tokens are not penalised. FLOPS: expected "
    "products of a query and a document; d_length: mean tokens of a document; seconds: total (training + evaluation)."
)
LONG = 20  # lines of a table that a page folds unless it is the main one
COSTS = (
    Column("flops", "FLOPS", ".3f", min, with_bm25=False),
    Column("d_length", "d_length", ".1f", min, with_bm25=False),
    Column("seconds", "seconds", ".0f", min, with_bm25=False),
)

# Tables of their own, of the systems that have their first column's figure.
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
}


def quality_columns(metrics: Sequence[str]) -> tuple[Column, ...]:
    """A column for each metric that tables have."""
    return tuple(Column(name, heading(name), ".4f", max) for name in tabled(metrics))


def loss_columns(metrics: Sequence[str]) -> tuple[Column, ...]:
    """What an approximate search loses: the share of documents in common, and of the first two metrics."""
    first, losses = metrics[0], [Column(f"{name}_loss", f"{heading(name)} loss", ".4f", min) for name in metrics[:2]]
    return (
        Column("overlap@100", "overlap@100", ".4f", max),
        Column("overlap@10", "overlap@10", ".4f", max),
        Column(f"exact_{first}", f"exact {heading(first)}", ".4f", max),
        *losses,
    )


def result_sections(
    systems: Sequence[System], main: tuple[str, ...], groups: dict[str, tuple[str, ...]]
) -> list[Section]:
    """One section for each list of data sets that systems were averaged over, `main` first, then the groups."""
    lists = sorted({system.datasets for system in systems if system.datasets} - {main}, key=lambda d: (-len(d), d))
    found = [(None, datasets) for datasets in ([main] if main else []) + lists] + list(groups.items())
    sections = []
    for name, datasets in found:
        group = [s for s in systems if (s.quality(datasets) is not None if name else s.datasets == datasets)]
        if not group:
            continue
        tables = [_results(group, datasets, "" if datasets == main else "Results"), *_further(group, datasets)]
        if name is None and len(datasets) > 1:
            tables.append(_per_dataset(group, datasets))
        sections.append(Section(average_heading(datasets, name), tables=tables))
    return sections


def average_heading(datasets: Sequence[str], name: str | None = None) -> str:
    """Which data sets the figures belong to."""
    what = (
        ", ".join(datasets) if len(datasets) == 1 else f"Average over {len(datasets)} data sets: {', '.join(datasets)}"
    )
    return f"{name}. {what}" if name else what


def short_heading(datasets: Sequence[str]) -> str:
    """The same where there is no room for many names."""
    return ", ".join(datasets) if len(datasets) <= 3 else f"average over {len(datasets)} data sets"


def number(value: float | None, form: str = ".4f", detail: str = "") -> Cell:
    """A cell with a rounded number."""
    return (
        Cell("–", "not known") if value is None or not finite(value) else Cell(format(value, form), str(value), detail)
    )


def _results(systems: list[System], datasets: tuple[str, ...], title: str) -> Table:
    columns = (*quality_columns(systems[0].metrics), *COSTS)
    cells = _transpose([_column(column, systems, datasets) for column in columns])
    settings = [[Cell(setting(system.setting(key))) for key in SETTINGS] for system in systems]
    lines = [[Cell(_named(s)), *line, *words] for s, words, line in zip(systems, settings, cells, strict=True)]
    note = "Bold: best of its column"
    if any(system.kind == BM25 for system in systems):
        note += "; BM25's FLOPS, d_length and seconds measure something else and do not compete"
    if any(len(system.members) > 1 for system in systems):
        note += ". Several seeds: mean ± standard deviation over them"
    heads = ["run", *(column.heading for column in columns), "loss", "activation", "λ", "t"]
    return Table(
        title,
        heads,
        lines,
        align="<" + ">" * len(columns) + "<<>>",
        settings=len(SETTINGS),
        note=f"{note}. {UNITS}",
        folded=bool(title) and len(lines) > LONG,
    )


def _named(system: System) -> str:
    seeds = len(system.members)
    return system.name + (f" ({seeds} seeds)" if seeds > 1 else "")


def _further(systems: list[System], datasets: tuple[str, ...]) -> list[Table]:
    tables = []
    further = FURTHER | {"Loss against the ranking by all scores": loss_columns(systems[0].metrics)}
    for title, columns in further.items():
        measured = [system for system in systems if system.figure(columns[0].key, datasets) is not None]
        cells = _transpose([_column(column, measured, datasets) for column in columns])
        lines = [[Cell(system.name), *line] for system, line in zip(measured, cells, strict=True)] if measured else []
        tables.append(Table(title, ["run", *(column.heading for column in columns)], lines))
    return [table for table in tables if table.lines]


def _per_dataset(systems: list[System], datasets: tuple[str, ...]) -> Table:
    quality = quality_columns(systems[0].metrics)[0]
    cells = _transpose([_column(quality, systems, (dataset,)) for dataset in datasets])
    lines = [[Cell(system.name), *line] for system, line in zip(systems, cells, strict=True)]
    return Table(f"{quality.heading} for each data set", ["run", *datasets], lines, folded=len(lines) > LONG)


def _transpose(columns: list[list[Cell]]) -> list[list[Cell]]:
    return [list(cells) for cells in zip(*columns, strict=True)]


def _column(column: Column, systems: list[System], datasets: tuple[str, ...]) -> list[Cell]:
    """One column; where values differ, the best is marked, and so is every value that reads the same."""
    values = [system.figure(column.key, datasets) for system in systems]
    competes = [column.with_bm25 or system.kind != BM25 for system in systems]
    # Zero products, tokens or seconds are no achievement: such a run has collapsed or was not measured.
    racing = [value for value, allowed in zip(values, competes, strict=True) if value and allowed]
    differ = len({format(value, column.format) for value in racing}) > 1
    best = format(column.best(racing), column.format) if differ else ""
    cells = []
    for system, value, allowed in zip(systems, values, competes, strict=True):
        cell = number(value, column.format, _detail(column, system, datasets))
        cells.append(replace(cell, mark="best") if allowed and cell.text == best else cell)
    return cells


def _detail(column: Column, system: System, datasets: tuple[str, ...]) -> str:
    """The spread over seeds; of one run's seconds, training + evaluation."""
    spread = system.spread(column.key, datasets)
    if spread is not None:
        return f"± {format(spread, column.format)}"
    run, evaluation = system.members[0]
    if column.key == "seconds" and run.is_trained and system.kind != BM25 and system.figure("seconds", datasets):
        return f"({run.train_seconds:.0f} + {evaluation.seconds:.0f})"
    return ""
