"""Tables as text for a terminal, Markdown and CSV: text_table, markdown_table, csv_table.

A table is a list of rows of strings, the heads first. `align` says for each column whether it stands left ("<",
words) or right (">", numbers); its last character also stands for the columns after it.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from retrieval.plain import plain, plain_name

Rows = Sequence[Sequence[str]]


def text_table(rows: Rows, align: str = "<>") -> str:
    """Columns padded to their widest cell, two spaces apart; no spaces at line ends."""
    rows = [list(map(plain_name, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [
        [f"{cell:{side}{width}}" for cell, side, width in zip(row, _sides(row, align), widths, strict=True)]
        for row in rows
    ]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def markdown_table(rows: Rows, align: str = "<", escape: Callable[[str], str] | None = None) -> str:
    """A table of GitHub's Markdown, its cells escaped (by default by `markdown_escaped`)."""
    rule = "".join("---|" if side == "<" else "---:|" for side in _sides(rows[0], align))
    head, *body = [f"| {' | '.join(map(escape or markdown_escaped, row))} |" for row in rows]
    return "\n".join([head, f"|{rule}", *body])


def markdown_escaped(text: Any) -> str:
    """Text that neither ends a table's cell or line nor begins a tag, a link, a picture or code."""
    return re.sub(r"([\\|\[\]`])", r"\\\1", plain(text)).replace("<", "&lt;").replace("\n", " ")


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], line_end: str = "\n") -> str:
    """CSV with a line of the columns' names; a row's other keys are left out, a missing one is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=line_end)
    writer.writerow(map(_no_formula, columns))
    writer.writerows([_no_formula(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def _no_formula(value: Any) -> Any:
    """A cell that a spreadsheet shows and does not compute: words that begin as a formula does get a ' before them."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _sides(row: Sequence[str], align: str) -> str:
    return align.ljust(len(row), align[-1])[: len(row)]
