"""What is logged: the loss, its parts and what the representations look like, averaged since the last log."""

from typing import Any

import torch
from torch import Tensor

from sparse_model import RunError


class StepStatistics:
    """Collects detached tensors step by step; reads them (one synchronisation) when drained or checked."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}
        self._lengths: list[Tensor] = []
        self._used_V: Tensor | None = None

    def add(self, parts: dict[str, Tensor | float], document_NV: Tensor) -> None:
        """One (micro-)batch: the loss's parts by name and the documents' weights [N, V]."""
        active_NV = document_NV.detach() > 0
        for name, value in parts.items():
            value = value.detach().float() if isinstance(value, Tensor) else torch.tensor(float(value))
            self._parts.setdefault(name, []).append(value)
        self._lengths.append(active_NV.sum(dim=1))
        used_V = active_NV.any(dim=0)
        self._used_V = used_V if self._used_V is None else self._used_V.to(used_V.device) | used_V

    def check(self) -> None:
        """Stop a run that cannot recover.

        Raises:
            RunError: if a part of the loss is NaN or infinite, or all documents since the last log are empty.
        """
        for name, values in self._parts.items():
            if not torch.stack(_on_one_device(values)).isfinite().all():
                raise RunError(
                    f"the run exploded: {name} is not finite. A lower learning_rate, more warmup_steps or "
                    "max_grad_norm: 1.0 usually mends it; the last checkpoint is unharmed."
                )
        if self._lengths and not torch.cat(_on_one_device(self._lengths)).any():
            raise RunError(
                "the representations collapsed: every document since the last log is empty. Lower flops_d_lambda, "
                "raise flops_d_T, or set flops_threshold; the last checkpoint is unharmed."
            )

    def drain(self) -> dict[str, float]:
        """Means of the parts; d_length (mean, 5th, 50th, 95th percentile), empty_documents and unused_tokens
        (shares of documents and of the vocabulary) since the last call."""
        if not self._lengths or self._used_V is None:
            return {}
        lengths = torch.cat(_on_one_device(self._lengths)).float()
        percentiles = torch.quantile(lengths[:1_000_000], torch.tensor([0.05, 0.5, 0.95], device=lengths.device))
        logs = {name: torch.stack(_on_one_device(values)).mean().item() for name, values in self._parts.items()}
        logs["d_length"] = lengths.mean().item()
        logs |= dict(zip(("d_length_p5", "d_length_p50", "d_length_p95"), percentiles.tolist(), strict=True))
        logs["empty_documents"] = (lengths == 0).float().mean().item()
        logs["unused_tokens"] = 1.0 - self._used_V.float().mean().item()
        self._reset()
        return logs

    def state_dict(self) -> dict[str, Any]:
        """What was collected since the last log, so that a resumed run logs the averages of one that went on."""
        return {"parts": self._parts, "lengths": self._lengths, "used_V": self._used_V}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, on whatever device it lies."""
        self._parts, self._lengths, self._used_V = state["parts"], state["lengths"], state["used_V"]


def _on_one_device(values: list[Tensor]) -> list[Tensor]:
    """As they are but for those of an earlier process, which were read from a checkpoint."""
    return [value.to(values[-1].device) for value in values]
