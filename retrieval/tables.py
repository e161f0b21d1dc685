"""Tables as text for a terminal, Markdown and CSV: text_table, markdown_table, csv_table.

A table is a list of rows of strings, the heads first. `align` says for each column whether it stands left ("<",
words) or right (">", numbers); its last character also stands for the columns after it.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Sequence[str]]


def text_table(rows: Rows, align: str = "<>") -> str:
    """Columns padded to their widest cell, two spaces apart; no spaces at line ends."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [f"{cell:{side}{width}}" for cell, side, width in zip(row, _sides(row, align), widths, strict=True)]
        for row in rows
    ]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def markdown_table(rows: Rows, align: str = "<") -> str:
    """A table of GitHub's Markdown; what would end a cell or begin a tag is escaped."""
    rule = "".join("---|" if side == "<" else "---:|" for side in _sides(rows[0], align))
    head, *body = [f"| {' | '.join(map(markdown_escaped, row))} |" for row in rows]
    return "\n".join([head, f"|{rule}", *body])


def markdown_escaped(text: Any) -> str:
    """Text that neither ends a table's cell or line nor begins a tag."""
    return str(text).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], line_end: str = "\n") -> str:
    """CSV with a line of the columns' names; a row's other keys are left out, a missing one is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator=line_end)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _sides(row: Sequence[str], align: str) -> str:
    return align.ljust(len(row), align[-1])[: len(row)]
