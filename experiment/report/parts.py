"""What a page is made of: sections of sentences, tables and pictures."""

import base64
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """A value as shown; `exact` is unrounded, `detail` what it is made of, `links` are (text, address).

    A marked value stands out: the best of its column, or clearly better or worse than what it is compared with.
    A cell with a `summary` shows only that on a page until it is opened.
    """

    text: str = ""
    exact: str = ""
    detail: str = ""
    mark: Literal["", "best", "worse"] = ""
    links: tuple[tuple[str, str], ...] = ()
    summary: str = ""


@dataclass(frozen=True)
class Table:
    """Heads and lines of cells, aligned as in `retrieval.tables`. A folded one can be opened.

    Its last `settings` columns are settings, which a terminal does not show.
    """

    title: str
    heads: list[str]
    lines: list[list[Cell]]
    align: str = "<>"
    note: str = ""
    folded: bool = False
    settings: int = 0

    def side(self, column: int) -> str:
        """< or > for the column with that number."""
        return self.align[min(column, len(self.align) - 1)]


@dataclass(frozen=True)
class Drawing:
    """A picture as PNG and, if it has notes to hover over, as SVG for a page; `alt` says in words what it shows."""

    png: bytes
    svg: str
    alt: str

    @property
    def data_uri(self) -> str:
        """The PNG as part of a page that needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


@dataclass(frozen=True)
class Picture:
    """A file's name, a title, the drawing, the same for a phone if there is one, what it leaves out, how to read it."""

    file: str
    title: str
    drawing: Drawing
    narrow: Drawing | None = None
    notes: list[str] = field(default_factory=list)
    explanation: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with sentences, tables and pictures below it; `in_pairs`: pictures side by side where there is room."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    in_pairs: bool = False
    headline: list[str] = field(default_factory=list)
