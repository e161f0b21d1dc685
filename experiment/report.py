"""The report over any set of run folders: results.csv, report.md, index.html and pictures.

    python -m experiment.report output/quickstart/* --output output/report/quickstart

Folders become `Run`s, runs become rows (one per evaluation and data set, and one for each evaluation's macro
average), average rows over the same data sets become one table, and one such table becomes the pictures:
averages over different data sets never meet. The same folders give the same bytes.
"""

import argparse
import base64
import csv
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, select_autoescape

from experiment.plots import Point, finite, quality_picture, training_picture
from experiment.report_runs import Run, load_runs
from experiment.report_tables import (
    BM25,
    COLUMNS,
    CSV_COLUMNS,
    SETTINGS,
    Row,
    Table,
    drawable,
    make_rows,
    make_tables,
    setting,
)
from sparse_model.errors import UserError

PICTURES = {
    "quality_flops.png": ("flops", "FLOPS (expected products per query and document)"),
    "quality_length.png": ("d_length", "d_length (mean tokens per document)"),
}
CURVES = "training_curves.png"


@dataclass(frozen=True)
class Picture:
    """A PNG with what a reader who cannot see it should know, and what it leaves out."""

    file: str
    title: str
    alt: str
    png: bytes
    notes: list[str] = field(default_factory=list)

    @property
    def data_uri(self) -> str:
        """The picture as part of a page that needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def main(argv: Sequence[str] | None = None) -> int:
    """Reads the command line, writes the report, prints its table; 2 for folders that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m experiment.report", description="Tables and pictures over any set of run folders."
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN_FOLDER", help="an output_dir of train_ir.py or evaluate_beir.py"
    )
    parser.add_argument("--output", required=True, help="folder of the report, e.g. output/report/NAME")
    parser.add_argument("--title", help="heading of the page (default: from the name of the output folder)")
    arguments = parser.parse_args(argv)
    try:
        print(write_report(arguments.runs, arguments.output, arguments.title))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (TypeError, ValueError, KeyError) as error:
        print(f"error: a figure of a run cannot be read: {error}; leave that run out", file=sys.stderr)
        return 2
    return 0


def write_report(folders: Sequence[str | Path], output: str | Path, title: str | None = None) -> str:
    """Writes all files of the report into `output` and returns the table as text, with the files' paths.

    Raises UserError, naming each folder that is no run folder, each file that is damaged, or an `output` that
    cannot be written.
    """
    output = Path(output)
    runs = load_runs(folders)
    rows = [row for run in runs for row in make_rows(run)]
    tables = make_tables(rows)
    pictures = make_pictures(tables, runs)
    page = {
        "title": title or f"Report: {output.resolve().name}",
        "tables": tables,
        "columns": COLUMNS,
        "settings": SETTINGS,
        "heading": heading,
        "legend": legend,
        "pictures": pictures,
        "runs": runs,
        "links": {run.name: make_links(run, output) for run in runs},
    }
    files = {"results.csv": as_csv(rows).encode()}
    files |= {picture.file: picture.png for picture in pictures}
    files |= {"report.md": render("report.md.j2", page), "index.html": render("report.html.j2", page)}
    write_files(output, files)
    shown = [picture.file for picture in pictures] + ["index.html"]
    return "\n".join([as_text(tables, runs), "", *(str(output / name) for name in shown)])


def make_pictures(tables: list[Table], runs: list[Run]) -> list[Picture]:
    """The pictures that have data; those of quality come from the first table alone."""
    pictures = []
    for file, (key, x_label) in PICTURES.items() if tables else ():
        points, notes = _points(tables[0], key), _left_out(tables, key, runs)
        if not points:
            continue
        over = tables[0].datasets if len(tables[0].names) <= 3 else f"{len(tables[0].names)} data sets"
        bm25 = [line for line in tables[0].lines if line.row["family"] == BM25]
        baselines = {line.name: line.row["ndcg@10"] for line in bm25 if finite(line.row.get("ndcg@10"))}
        png = quality_picture(points, baselines, x_label, f"NDCG@10, {over}")
        values = [f"{point.label}: {point.y:.4f} at {point.x:.4g}" for point in points]
        values += [f"{name}, a horizontal line: {y:.4f}" for name, y in baselines.items()]
        title = f"NDCG@10 against {key.replace('flops', 'FLOPS')}"
        pictures.append(Picture(file, title, f"{title}. {'; '.join(values)}.", png, notes))
    logged = {run.name: run.metrics for run in runs if run.metrics}
    if curves := training_picture(logged):
        alt = f"Loss parts, document length, λ and share of empty documents, step by step: {', '.join(logged)}."
        pictures.append(Picture(CURVES, "Training, step by step", alt, curves))
    return pictures


def make_links(run: Run, output: Path) -> list[tuple[str, str]]:
    """(text, address relative to the report) for the run's folder, settings and evaluations."""
    files = [run.folder / "config.yaml"] + [file for evaluation in run.evaluations for file in evaluation.files]
    names = {run.folder: "folder"} | {file: str(file.relative_to(run.folder)) for file in files if file.is_file()}
    return [(text, quote(Path(os.path.relpath(path, output)).as_posix())) for path, text in names.items()]


def as_csv(rows: list[Row]) -> str:
    """All rows, unrounded."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_text(tables: list[Table], runs: list[Run]) -> str:
    """The tables for a terminal, and what is missing or odd."""
    blocks = []
    for table in tables:
        grid = [["run", *(column.heading for column in COLUMNS)]]
        grid += [[line.name, *(f"{cell.text} {cell.detail}".strip() for cell in line.cells)] for line in table.lines]
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        padded = [[text.rjust(width) for text, width in zip(row, widths, strict=True)] for row in grid]
        lines = ["  ".join([row[0].ljust(widths[0]), *cells[1:]]) for row, cells in zip(grid, padded, strict=True)]
        blocks.append("\n".join([heading(table), *lines]))
    blocks += ["\n".join(f"{run.name}: {note}" for run in runs for note in run.notes)]
    return "\n\n".join(filter(None, blocks))


def heading(table: Table) -> str:
    """Which data sets the figures of a table belong to."""
    if len(table.names) == 1:
        return table.datasets
    return f"Average over {len(table.names)} data sets: {table.datasets}"


def legend(table: Table) -> str:
    """How to read a table."""
    bm25 = any(line.row["family"] == BM25 for line in table.lines)
    apart = "; BM25's FLOPS, d_length and seconds measure something else and do not compete" if bm25 else ""
    return f"Bold: best of its column{apart}. Seconds: total (training + evaluation)."


def render(template: str, page: dict[str, Any]) -> bytes:
    """Fills a template; what runs say of themselves is escaped, in HTML and in Markdown tables."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["setting"] = setting
    environment.filters["md"] = lambda value: setting(value).replace("|", "\\|").replace("<", "&lt;")
    return environment.get_template(template).render(page).encode()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Each file whole or not at all; pictures of an earlier report that have no data now go away."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A report always holds results.csv and report.md; other files of its names are somebody's own.
        is_report = (folder / "report.md").is_file() and (folder / "results.csv").is_file()
        if not is_report and (own := [name for name in files if (folder / name).exists()]):
            raise UserError(f"--output {folder}: holds {', '.join(own)}, but no report; name another folder")
        for name, content in files.items():
            temporary = folder / f".{name}.{os.getpid()}.tmp"
            temporary.write_bytes(content)
            temporary.replace(folder / name)
        for name in {*PICTURES, CURVES} - files.keys():
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error.strerror}); name another folder") from error


def _points(table: Table, key: str) -> list[Point]:
    rows = [row for row in drawable(table) if finite(row.get(key)) and finite(row.get("ndcg@10"))]
    return [Point(row["run"], row["family"], row[key], row["ndcg@10"]) for row in rows]


def _left_out(tables: list[Table], key: str, runs: list[Run]) -> list[str]:
    """A sentence for each run that the picture of the first table does not show, with the reason."""
    drawn = {point.label for point in _points(tables[0], key)}
    elsewhere = {row["run"]: table.datasets for table in tables[1:] for row in drawable(table)}
    incomplete = {row["run"] for row in drawable(tables[0])}
    notes = []
    for run in runs:
        only_bm25 = bool(run.evaluations) and all(evaluation.is_bm25 for evaluation in run.evaluations)
        if run.name in drawn or only_bm25:
            continue
        reason = "has no evaluation with default settings"
        if run.name in incomplete:
            reason = f"has no {key}"
        elif run.name in elsewhere:
            reason = f"its average is over other data sets ({elsewhere[run.name]})"
        notes.append(f"{run.name}: {reason}")
    return notes


if __name__ == "__main__":
    sys.exit(main())
