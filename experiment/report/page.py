"""Puts the report together: results.csv, report.md, index.html (which needs no other file) and the pictures."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, select_autoescape

from experiment.report.comparisons import area_section, significance_section
from experiment.report.grouping import make_systems
from experiment.report.headline import against_free, headline
from experiment.report.paper_figures import published_section
from experiment.report.parts import Cell, Section, Table
from experiment.report.pictures import (
    activation_picture,
    dataset_picture,
    quality_pictures,
    slug,
    sweep_pictures,
    training_pictures,
)
from experiment.report.result_tables import LONG, result_sections, short_heading
from experiment.report.results_csv import as_csv, setting
from experiment.report.runs import RunResults
from experiment.report.systems import System, find_baseline, main_datasets
from retrieval.files import in_steps, is_unfinished, write_atomically
from retrieval.plain import plain
from retrieval.tables import markdown_escaped, markdown_table, text_table
from sparse_model.errors import UserError


@dataclass(frozen=True)
class Options:
    """Where the report goes, and what the command line may say of it."""

    output: Path
    title: str = ""
    baseline: str | None = None
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)


def write_report(runs: list[RunResults], options: Options) -> str:
    """Writes all files of the report and returns the tables of results as text, with the files' paths.

    Raises:
        UserError: naming a damaged file, a baseline or a group's data set that is not there, or an output that cannot
            be written.
    """
    systems = make_systems(runs)
    _check_groups(options.groups, systems)
    main = main_datasets(systems)
    results = result_sections(systems, main, options.groups)
    sections = make_sections(runs, systems, main, options, results)
    pictures = [picture for section in sections for picture in section.pictures]
    page = {"title": options.title or f"Report: {options.output.resolve().name}", "sections": sections}
    files = {"results.csv": as_csv(systems, options.groups).encode()}
    files |= {picture.file: picture.drawing.png for picture in pictures}
    files |= {"report.md": render("report.md.j2", page), "index.html": render("report.html.j2", page)}
    write_files(options.output, files)
    shown = [str(options.output / name) for name in [*(picture.file for picture in pictures[:2]), "index.html"]]
    notes = "\n".join(f"{run.name}: {note}" for run in runs for note in run.notes)
    said = [*sections[0].headline, ""] if sections[0].headline else []
    parts = [*(as_text(section) for section in results), *said, *filter(None, [notes and notes + "\n"]), *shown]
    return "\n".join(parts)


def make_sections(
    runs: list[RunResults], systems: list[System], main: tuple[str, ...], options: Options, results: list[Section]
) -> list[Section]:
    """The page from top to bottom."""
    baseline = find_baseline(systems, main, options.baseline)
    families = {system.family for system in systems if system.is_main and system.datasets}
    failed = [run for run in runs if run.failure]
    odd = [f"{run.name}: {'; '.join(run.notes)}" for run in runs if run.notes]
    summary = [
        f"{len(runs)} runs, {len(systems)} systems (runs that differ only in their seed are one), families with "
        f"figures: {len(families)}. Pictures and comparisons are over: "
        f"{', '.join(main) or 'nothing, for no run was evaluated'}."
    ]
    sections = [Section("", summary, headline=headline(systems, baseline, main) + against_free(systems, main))]
    if odd:
        sections.append(Section("Missing or odd", odd, [_failures(failed)] if failed else []))
    sections += results
    if main:
        sections += [
            Section(f"Quality against cost, {short_heading(main)}", pictures=quality_pictures(systems, main)),
            area_section(systems, baseline, main),
            significance_section(systems, baseline, main, options.groups),
            published_section(systems),
        ]
    for name, datasets in options.groups.items():
        sections.append(Section(f"Quality against cost, {name}", pictures=quality_pictures(systems, datasets, name)))
        sections.append(area_section(systems, baseline, datasets, name))
    settings = sweep_pictures(systems, main) + activation_picture(systems, main) + dataset_picture(systems, main)
    sections.append(Section("What the settings do", pictures=settings))
    if len(main) > 1:
        each = [picture for name in main for picture in quality_pictures(systems, (name,), name)]
        sections.append(Section("Each data set", pictures=each, in_pairs=True))
    sections += [
        Section("Training", pictures=training_pictures(systems)),
        Section("Runs", tables=[_runs_table(runs, systems, options.output)]),
    ]
    return [section for section in sections if section.text or section.tables or section.pictures]


def make_links(run: RunResults, output: Path) -> tuple[tuple[str, str], ...]:
    """(text, address relative to the report) for the run's folder, settings and evaluations."""
    files = [run.folder / "config.yaml"] + [file for evaluation in run.evaluations for file in evaluation.files]
    names = {run.folder: "folder"} | {file: str(file.relative_to(run.folder)) for file in files if file.is_file()}
    return tuple((text, quote(Path(os.path.relpath(path, output)).as_posix())) for path, text in names.items())


def as_text(section: Section) -> str:
    """A section's first table for a terminal, without the settings."""
    table = section.tables[0]
    shown = len(table.heads) - table.settings
    lines = [[f"{cell.text} {cell.detail}".strip() for cell in line[:shown]] for line in table.lines]
    return "\n".join([section.title, text_table([table.heads[:shown], *lines], table.align), ""])


def as_markdown(table: Table) -> str:
    """A table for report.md, escaped; marked cells are bold, links follow the text."""
    rows = [list(map(markdown_escaped, table.heads)), *([_in_markdown(cell) for cell in line] for line in table.lines)]
    return markdown_table(rows, table.align, escape=str)


def _in_markdown(cell: Cell) -> str:
    text, detail = markdown_escaped(cell.text), markdown_escaped(cell.detail)
    links = (f"[{markdown_escaped(name)}]({address})" for name, address in cell.links)
    return " ".join(filter(None, [f"**{text}**" if cell.mark else text, detail, *links]))


def render(template: str, page: dict[str, Any]) -> bytes:
    """Fills a template; what runs say of themselves is escaped, in HTML and in Markdown tables."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": markdown_escaped, "markdown_table": as_markdown}
    return plain(environment.get_template(template).render(page)).encode()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Each file whole or not at all; pictures of an earlier report that have no data now go away."""
    try:
        # A whole report holds results.csv and report.md; other files of its names are somebody's own.
        is_report = is_unfinished(folder) or all((folder / name).is_file() for name in ("report.md", "results.csv"))
        if not is_report and (own := [name for name in files if (folder / name).exists()]):
            raise UserError(f"--output {folder}: holds {', '.join(own)}, but no report; name another folder")
        report = folder / "report.md"
        known = report.read_text(encoding="utf-8") if is_report and report.is_file() else ""
        with in_steps(folder):
            for picture in folder.glob("*.png"):
                if picture.name not in files and f"]({picture.name})" in known:
                    picture.unlink()
            for name, content in files.items():
                write_atomically(folder / name, content)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({error.strerror}); name another folder") from error


def _check_groups(groups: dict[str, tuple[str, ...]], systems: list[System]) -> None:
    there = {name for system in systems for name in system.datasets}
    unknown = [f"{name} ({', '.join(sorted(set(d) - there))})" for name, d in groups.items() if set(d) - there]
    files = [slug(name) for name in [*groups, *there]]
    if unknown:
        raise UserError(f"--group {'; '.join(unknown)}: not evaluated; there are {', '.join(sorted(there)) or 'none'}")
    if taken := sorted({file for file in files if not file or files.count(file) > 1}):
        raise UserError(f"--group: names must differ from each other and from data sets; mend {', '.join(taken)}")


def _failures(failed: list[RunResults]) -> Table:
    lines = [[Cell(run.name), Cell("\n".join(run.failure[-12:]))] for run in failed]
    return Table("Failed runs, their last lines", ["run", "last lines"], lines, align="<")


def _runs_table(runs: list[RunResults], systems: list[System], output: Path) -> Table:
    families = {run.name: system.family for system in systems for run, _ in system.members}
    heads = ["run", "family", "kind", "model", "seed", "files", "command", "notes"]
    lines = [
        [
            *(Cell(text) for text in (run.name, families.get(run.name, ""), run.kind)),
            Cell(setting(run.config.get("model_name_or_path"))),
            Cell(setting(run.config.get("seed"))),
            Cell(links=make_links(run, output)),
            Cell(run.command, summary="command" if run.command else ""),
            Cell("; ".join(run.notes)),
        ]
        for run in runs
    ]
    many = len(lines) > LONG
    return Table(f"All {len(lines)} runs" if many else "", heads, lines, align="<", folded=many)
