"""What a page is made of: sections of sentences, tables and pictures."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Cell:
    """A value as shown; `exact` is unrounded, `detail` what it is made of, `links` are (text, address).

    A marked value stands out: the best of its column, or clearly better or worse than what it is compared with.
    """

    text: str = ""
    exact: str = ""
    detail: str = ""
    mark: Literal["", "best", "worse"] = ""
    links: tuple[tuple[str, str], ...] = ()


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
class Section:
    """A heading with sentences, tables and pictures below it; `in_pairs`: pictures side by side where there is room."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    in_pairs: bool = False
