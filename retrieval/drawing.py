"""What the pictures of the reports and of data cards share.

Each is drawn on its own Figure (no pyplot, no global state), so the same input gives the same bytes.
"""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

STYLE: Any = {  # Any: matplotlib types its keys one by one
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so every machine draws the same letters
    "font.size": 11,
    "text.parse_math": False,  # a name may hold dollars
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "figure.facecolor": "white",
}
DPI = 120


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure's bytes, without the metadata that would differ from one installation to the next.

    The canvas is asked itself: `savefig` draws everything twice, once for the layout alone.
    """
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
