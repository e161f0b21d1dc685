"""The training loss of one (gathered) batch: ranking losses plus the weighted sparsity regulariser."""

from dataclasses import dataclass

import torch
from torch import Tensor

from losses import RANKING, decoupled, flops, quadratic, same_text


@dataclass(frozen=True)
class Objective:
    """total = ranking_loss_weight × Σ ranking + λ_d(step)·FLOPS_d (+ λ_q(step)·FLOPS_q); see the keys' --help.

    Args:
        loss_types: keys of `losses.RANKING`; any other is a ValueError.
    """

    loss_types: tuple[str, ...] = ("kldiv",)
    ranking_loss_weight: float = 1.0
    use_in_batch_negatives: bool = False
    temperature: float = 1.0
    flops_d_lambda: float = 1e-3
    flops_d_T: int = 10000
    flops_q_lambda: float | None = None
    flops_q_T: int | None = None
    flops_threshold: float | None = None
    pooled: bool = False
    decouple_activation: bool = False

    def __post_init__(self) -> None:
        for name in self.loss_types:
            if name not in RANKING:
                raise ValueError(f"loss_types: {name} is none of {', '.join(RANKING)}.")

    def __call__(
        self, query_QV: Tensor, document_NV: Tensor, teacher_QN: Tensor, document_keys_N: Tensor, step: int
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """(the loss, its parts by name: each ranking loss, flops_d and lambda_d, flops_q and lambda_q).

        Args:
            document_NV: N = Q·G, a query's documents together.
            teacher_QN: scores of a query's own documents, with in-batch negatives of all N; [Q, 0] without a teacher.
            step: optimizer steps done.
        """
        n_queries = len(query_QV)
        group = len(document_NV) // n_queries
        document_QGV = document_NV.view(n_queries, group, -1)
        parts: dict[str, Tensor | float] = {}
        for name in self.loss_types:
            parts[name] = self._ranking(name, query_QV, document_QGV, teacher_QN, document_keys_N)
        loss = self.ranking_loss_weight * torch.stack([torch.as_tensor(part) for part in parts.values()]).sum()
        parts["flops_d"] = self._flops(document_QGV, self.flops_threshold)
        parts["lambda_d"] = quadratic(step, self.flops_d_lambda, self.flops_d_T)
        loss = loss + parts["lambda_d"] * parts["flops_d"]
        if self.flops_q_lambda is not None and query_QV.requires_grad:
            parts["flops_q"] = self._flops(query_QV.unsqueeze(1), None)
            parts["lambda_q"] = quadratic(step, self.flops_q_lambda, self.flops_q_T or 1)
            loss = loss + parts["lambda_q"] * parts["flops_q"]
        return loss, parts

    def _ranking(self, name: str, query_QV: Tensor, document_QGV: Tensor, teacher_QN: Tensor, keys_N: Tensor) -> Tensor:
        n_queries, group, _ = document_QGV.shape
        positive_Q = torch.zeros(n_queries, dtype=torch.long, device=query_QV.device)
        excluded_QN = None
        if self.use_in_batch_negatives:
            positive_Q = group * torch.arange(n_queries, device=query_QV.device)
            excluded_QN = same_text(keys_N, positive_Q)
        scores_QN = score_rows(query_QV, document_QGV, self.use_in_batch_negatives)
        return RANKING[name].function(scores_QN, teacher_QN, positive_Q, self.temperature, excluded_QN)

    def _flops(self, weights_QGV: Tensor, threshold: float | None) -> Tensor:
        weights_QGV = decoupled(weights_QGV) if self.decouple_activation else weights_QGV
        return flops(weights_QGV, threshold, self.pooled)


def score_rows(query_QV: Tensor, document_QGV: Tensor, in_batch: bool) -> Tensor:
    """Dot products of each query with its own documents [Q, G], or with all of the batch [Q, Q·G]."""
    if in_batch:
        return query_QV @ document_QGV.flatten(0, 1).T
    return torch.einsum("qv,qgv->qg", query_QV, document_QGV)
