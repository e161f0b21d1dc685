"""How every picture looks, and how a figure becomes bytes: a PNG, and an SVG for a page, with notes to hover over.

Everything draws on its own Figure (no pyplot, no global state), so the same input gives the same bytes. What differs
in colour also differs in shape or line style: the pictures survive a black and white printer.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from experiment.report.parts import Drawing
from retrieval.drawing import STYLE as DRAWING_STYLE
from retrieval.drawing import png

STYLE: Any = DRAWING_STYLE | {"svg.fonttype": "none"}  # letters stay text, which keeps a page small
MARKERS = "osD^vP*XhpH<>"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C6D00", "#56B4E9", "#444444", "#7B3294")  # after Okabe, Ito
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)), (0, (1, 1)))
NARROW = 4.2  # inches: letters are as large on a phone as in its text
LOG_SPAN = 10.0  # an axis is logarithmic once its largest value is this many times its smallest
HOVER = "hover-"


class Notes:
    """Notes on parts of a figure, shown when the pointer rests on them."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> str:
        """The `gid` for the artist that the note belongs to."""
        self.texts.append(text)
        return f"{HOVER}{len(self.texts) - 1}"


def look(index: int) -> dict[str, Any]:
    """Marker, colour and line style of the family with that number."""
    return {
        "marker": MARKERS[index % len(MARKERS)],
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
    }


def dark(colour: str) -> str:
    """A colour as that of letters: the light ones could not be read."""
    return to_hex(tuple(0.65 * part for part in to_rgb(colour)))  # type: ignore[arg-type]


def wants_log(values: Sequence[float]) -> bool:
    """Whether values span so much that an axis had better be logarithmic."""
    return bool(values) and min(values) > 0 and max(values) >= LOG_SPAN * min(values)


def make_log(axes: Axes, direction: Literal["x", "y"]) -> None:
    """A logarithmic axis with numbers one can read off: 0.5, 1, 2, 5, … while they are few."""
    (axes.set_xscale if direction == "x" else axes.set_yscale)("log", nonpositive="mask")
    axis = axes.xaxis if direction == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def shorten(name: str, length: int) -> str:
    """Long names lose their middle: both ends tell sweeps apart."""
    return name if len(name) <= length else f"{name[: length // 2 - 1]}…{name[-(length // 2) :]}"


def lay_out(figure: Figure) -> None:
    """Places the axes between what stands around them; from then on they stay there."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")


def draw(figure: Figure, name: str, alt: str, notes: Notes | None = None, narrow: bool = False) -> Drawing:
    """The finished figure; `name` keeps its SVG's ids apart from those of other pictures on the page.

    A narrow one stands on a page only; with notes it has no PNG.
    """
    lay_out(figure)
    if notes is None:
        return Drawing(png(figure), "", alt)
    picture, name = (b"", f"{name}-narrow") if narrow else (png(figure), name)
    svg = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(svg, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return Drawing(picture, _for_page(svg.getvalue(), name, alt, notes), alt)


def _for_page(svg: bytes, name: str, alt: str, notes: Notes) -> str:
    """The SVG as an element of an HTML page: without namespaces and unused ids, scalable, with alt text and notes."""
    root = ElementTree.fromstring(svg)
    used = set(re.findall(rb'(?:url\(|href=")#([^)"]+)', svg))
    prefix = re.sub(r"\W+", "-", name)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            if key == "id" and value.startswith(HOVER):
                title = ElementTree.Element("title")
                title.text = notes.texts[int(value.removeprefix(HOVER))]
                element.insert(0, title)
            elif key != "id" or value.encode() in used:
                value = f"{prefix}-{value}" if key == "id" else re.sub(r"(^|\()#", rf"\1#{prefix}-", value)
                plain = key.rpartition("}")[2]
                element.attrib[plain] = value.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    for parent in root.iter():
        for child in [child for child in parent if child.tag == "metadata"]:
            parent.remove(child)
    width = float(root.attrib.pop("width").removesuffix("pt"))
    for key in ("height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": alt, "style": f"max-width: {width / 72:g}in"}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
