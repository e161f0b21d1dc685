"""What quality is weighed against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """A figure of cost: as named in sentences, on an axis, above a panel and in file names."""

    short: str
    axis: str
    panel: str
    file: str


COSTS = {
    "flops": Cost("FLOPS", "FLOPS (expected products per query and document)", "FLOPS", "flops"),
    "d_length": Cost("d_length", "d_length (mean tokens per document)", "d_length (tokens per document)", "length"),
}
"""Figure of a result to what it is called."""
