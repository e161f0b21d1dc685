"""Teachers that score a batch while the student learns from it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from losses import ensemble
from training.gather import gather
from training.objective import score_rows

Encode = Callable[[Sequence[str], str], Tensor]
"""(texts, "query" or "document") -> float32 [n, ·] on the device, without gradient; scores are dot products"""


@torch.no_grad()
def teacher_scores(
    teachers: Sequence[Encode], queries: Sequence[str], documents: Sequence[str], in_batch: bool, scale: float
) -> Tensor:
    """The teachers' scores of the gathered batch, as `losses.ensemble` makes one of them.

    Each process encodes its own texts only.

    Args:
        queries: Q of this process; documents: its Q·G, a query's together.
        in_batch: score all documents of the gathered batch for each query, normalised over its row; else a query's
            own G, normalised over all pairs of the gathered batch.

    Returns:
        Over the queries of all processes, [Q, Q·G] in-batch, else [Q, G].
    """
    group = len(documents) // len(queries)
    scores = []
    for encode in teachers:
        query_QV, document_NV = gather(encode(queries, "query")), gather(encode(documents, "document"))
        scores.append(score_rows(query_QV, document_NV.unflatten(0, (-1, group)), in_batch))
    return ensemble(scores, scale, by_query=in_batch)
