"""In what share of documents each token has a weight, as training goes: what DF-FLOPS goes by."""

from typing import Any

import torch
from torch import Tensor

# Batches over which the moving average forgets (arXiv 2505.15070 counts anew over every 100).
BATCHES = 100


class DocumentFrequencies:
    """A moving average over batches, of equal weight as long as there were fewer than BATCHES."""

    def __init__(self) -> None:
        self._frequency_V: Tensor | None = None
        self._batches = 0

    def updated(self, document_NV: Tensor) -> Tensor:
        """The shares [V] with one more (gathered) batch of documents [N, V] in them."""
        batch_V = (document_NV.detach() > 0).float().mean(dim=0)
        self._batches += 1
        if self._frequency_V is None:
            self._frequency_V = batch_V
        else:
            before_V = self._frequency_V.to(batch_V.device)
            self._frequency_V = torch.lerp(before_V, batch_V, 1 / min(self._batches, BATCHES))
        return self._frequency_V

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {"frequency_V": self._frequency_V, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._frequency_V, self._batches = state["frequency_V"], state["batches"]
