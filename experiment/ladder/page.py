"""The ladder's table: ladder.json, a page and Markdown of what each rung gave, what was kept and why."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiment.ladder.climb import Climbed, Rung
from experiment.ladder.judge import Judged, named
from experiment.report.differences import probability
from experiment.report.page import as_text, render
from experiment.report.parts import Cell, Section, Table
from retrieval.files import write_atomically, write_json

NOTE = (
    "NDCG@10 on held-out pseudo-queries of documents that nothing was trained on, at so many tokens a document. A rung "
    "is compared with the last one that was kept, by each query's mean over the lengths (paired t-test). Such queries "
    "favour words that stand in passages as they are: what they keep has lost on some real questions, so that fifty "
    "judged ones are worth more (docs/own_documents.md)."
)


def as_record(climbed: Climbed, lengths: Sequence[int | None]) -> dict[str, Any]:
    """What ladder.json holds."""
    return {
        "lengths": list(lengths),
        "queries": climbed.bm25.ndcg_LQ.shape[1],
        "bm25": _figures(climbed.bm25),
        "shift": climbed.shift,
        "at_home": climbed.at_home,
        "rungs": [_rung(number, rung) for number, rung in enumerate(climbed.rungs)],
        **asdict(climbed.best.share),
    }


def _figures(judged: Judged) -> dict[str, Any]:
    return {"ndcg@10": judged.mean_L.tolist(), "d_length": judged.d_length_L}


def _rung(number: int, rung: Rung) -> dict[str, Any]:
    found = {"rung": number, "name": rung.name, **_figures(rung.judged), "kept": rung.kept}
    if rung.verdict:
        result = rung.verdict.result
        found |= {"gain": result.mean, "interval": [result.low, result.high], "p": rung.verdict.p}
        found |= {"why": rung.verdict.why}
    return found


def ladder_section(record: Mapping[str, Any]) -> Section:
    """The table of a ladder.json."""
    heads = ["rung", *map(named, record["lengths"]), "gain", "p", "kept", "why"]
    lines = [_line(f"{rung['rung']} {rung['name']}", rung) for rung in record["rungs"]]
    lines.append(_line("BM25", record["bm25"]))
    return Section("What each rung gave", tables=[Table("", heads, lines, note=NOTE)])


def _line(name: str, row: Mapping[str, Any]) -> list[Cell]:
    values = [Cell(f"{value:.4f}", exact=repr(value)) for value in row["ndcg@10"]]
    gain = Cell(f"{row['gain']:+.4f}", mark="best" if row["kept"] else "") if "gain" in row else Cell()
    p = Cell(probability(row["p"])) if "p" in row else Cell()
    kept = Cell({True: "yes", False: "no"}.get(row.get("kept"), ""))  # type: ignore[arg-type]
    return [Cell(name), *values, gain, p, kept, Cell(row.get("why", ""))]


def write_page(folder: Path, record: Mapping[str, Any], about: Sequence[str]) -> str:
    """ladder.json, index.html and ladder.md in the folder; the table as text.

    Args:
        about: sentences that stand above the table.
    """
    section = ladder_section(record)
    page = {"title": "From documents to a model", "sections": [Section("", headline=list(about)), section]}
    write_atomically(folder / "index.html", render("report.html.j2", page))
    write_atomically(folder / "ladder.md", render("report.md.j2", page))
    write_json(folder / "ladder.json", dict(record))
    return as_text(section)
