"""The training loss of one (gathered) batch: ranking losses plus the weighted sparsity regulariser."""

from dataclasses import dataclass

import torch
from torch import Tensor

from losses import RANKING, decoupled, flops, frequency_penalty, heaviest, known_positives, quadratic


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
    contrastive_temperature: float = 1.0
    flops_d_lambda: float = 1e-3
    flops_d_T: int = 10000
    flops_q_lambda: float | None = None
    flops_q_T: int | None = None
    idf_l1: float = 0.0
    flops_threshold: float | None = None
    pooled: bool = False
    unbiased: bool = False
    df_alpha: float | None = None
    df_beta: float = 10.0
    decouple_activation: bool = False
    elastic_lengths: tuple[int | None, ...] = ()
    elastic_whole_weight: float = 0.5

    def __post_init__(self) -> None:
        for name in self.loss_types:
            if name not in RANKING:
                raise ValueError(f"loss_types: {name} is none of {', '.join(RANKING)}.")

    @property
    def has_chance(self) -> bool:
        """Whether a positive is told from negatives: to match a teacher's scores has no level of chance."""
        return not any(RANKING[name].needs_teacher for name in self.loss_types)

    def __call__(
        self,
        query_QV: Tensor,
        document_NV: Tensor,
        teacher_QN: Tensor,
        document_keys_N: Tensor,
        query_keys_Q: Tensor,
        step: int,
        share_NV: Tensor | None = None,
        frequency_V: Tensor | None = None,
        lambda_d: float | None = None,
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """(the loss, its parts by name: each ranking loss, flops_d and lambda_d, flops_q and lambda_q, idf_l1).

        Without a teacher's scores also chance: the ranking loss of a model that scores all candidates the same. With
        elastic_lengths, ranking losses are of documents cut to this step's length, and whole_<loss> of whole ones.

        Args:
            document_NV: N = Q·G, a query's documents together.
            teacher_QN: scores of a query's own documents, with in-batch negatives of all N; [Q, 0] without a teacher.
            document_keys_N, query_keys_Q: see `losses.known_positives`.
            step: optimizer steps done.
            share_NV: the documents' lexical share: ranking losses see it added, before any cut; FLOPS does not.
            frequency_V: with df_alpha: the share of documents that each token has a weight in.
            lambda_d: λ_d of this step, in place of the schedule's.
        """
        n_queries = len(query_QV)
        document_QGV = document_NV.view(n_queries, len(document_NV) // n_queries, -1)
        positive_Q, excluded_QN = self._candidates(document_keys_N, query_keys_Q)

        def ranking(weights_NV: Tensor) -> dict[str, Tensor]:
            scores_QN = score_rows(query_QV, weights_NV.view_as(document_QGV), self.use_in_batch_negatives)
            given = (teacher_QN, positive_Q, self.temperature, excluded_QN)
            return {name: RANKING[name].function(self._scaled(name, scores_QN), *given) for name in self.loss_types}

        scored_NV = document_NV if share_NV is None else document_NV + share_NV
        parts: dict[str, Tensor | float] = {}
        length = self.elastic_lengths[step % len(self.elastic_lengths)] if self.elastic_lengths else None
        losses = ranking(scored_NV if length is None else heaviest(scored_NV, length))
        parts |= losses
        total = torch.stack(list(losses.values())).sum()
        if length is not None and self.elastic_whole_weight:
            whole = {f"whole_{name}": loss for name, loss in ranking(scored_NV).items()}
            parts |= whole
            total = total + self.elastic_whole_weight * torch.stack(list(whole.values())).sum()
        loss = self.ranking_loss_weight * total
        if self.has_chance:
            parts["chance"] = (~excluded_QN).sum(dim=1).log().mean()
        parts["flops_d"] = self._flops(document_QGV, self.flops_threshold, self._penalty(frequency_V))
        parts["lambda_d"] = quadratic(step, self.flops_d_lambda, self.flops_d_T) if lambda_d is None else lambda_d
        loss = loss + parts["lambda_d"] * parts["flops_d"]
        if self.flops_q_lambda is not None and query_QV.requires_grad:
            parts["flops_q"] = self._flops(query_QV.unsqueeze(1), None)
            parts["lambda_q"] = quadratic(step, self.flops_q_lambda, self.flops_q_T or 1)
            loss = loss + parts["lambda_q"] * parts["flops_q"]
        if self.idf_l1 and query_QV.requires_grad:
            parts["idf_l1"] = query_QV.sum(dim=1).mean()
            loss = loss + self.idf_l1 * parts["idf_l1"]
        return loss, parts

    def _scaled(self, name: str, scores_QN: Tensor) -> Tensor:
        return scores_QN if RANKING[name].needs_teacher else scores_QN / self.contrastive_temperature

    def _candidates(self, document_keys_N: Tensor, query_keys_Q: Tensor) -> tuple[Tensor, Tensor]:
        """(the column of each query's positive among its scores, where a column is no negative)."""
        n_queries = len(query_keys_Q)
        query = torch.arange(n_queries, device=query_keys_Q.device)
        positive_Q = query * (len(document_keys_N) // n_queries)
        known_QN = known_positives(document_keys_N, query_keys_Q, positive_Q)
        if self.use_in_batch_negatives:
            return positive_Q, known_QN
        return torch.zeros_like(positive_Q), known_QN.view(n_queries, n_queries, -1)[query, query]

    def _penalty(self, frequency_V: Tensor | None) -> Tensor | None:
        if self.df_alpha is None or frequency_V is None:
            return None
        return frequency_penalty(frequency_V, self.df_alpha, self.df_beta)

    def _flops(self, weights_QGV: Tensor, threshold: float | None, penalty_V: Tensor | None = None) -> Tensor:
        weights_QGV = decoupled(weights_QGV) if self.decouple_activation else weights_QGV
        return flops(weights_QGV, threshold, self.pooled, self.unbiased, penalty_V)


def score_rows(query_QV: Tensor, document_QGV: Tensor, in_batch: bool) -> Tensor:
    """Dot products of each query with its own documents [Q, G], or with all of the batch [Q, Q·G]."""
    if in_batch:
        return query_QV @ document_QGV.flatten(0, 1).T
    return torch.einsum("qv,qgv->qg", query_QV, document_QGV)
