"""How sure a distribution of target scores is."""

from collections.abc import Sequence

import numpy as np


def largest_probability(scores: Sequence[float], temperature: float = 1.0) -> float:
    """max softmax(scores / temperature): 1 / n where n scores are the same, near 1 where one stands out."""
    scaled = np.asarray(scores, dtype=np.float64) / temperature
    return float(1 / np.exp(scaled - scaled.max()).sum())
