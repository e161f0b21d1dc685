"""Which parameters an optimizer gets, with which learning rate and decay."""

from typing import Any

from torch import Tensor

from sparse_model import SparseEncoder


def parameter_groups(
    encoder: SparseEncoder, weight_decay: float, learning_rate: float, idf_lr: float | None, idf_decay: float
) -> list[dict[str, Any]]:
    """Groups of what is trained: no weight decay on biases and normalisation, which are one-dimensional.

    Query weights come last: as a table without decay (see `trained_table`), as a function with idf_decay, since its
    parameters begin at 0, where it gives the weights that it began with.
    """
    named = [(name, p) for name, p in encoder.named_parameters() if p.requires_grad]
    of_queries = [p for name, p in named if name == "idf_V" or name.startswith("query_function.")]
    body = [p for name, p in named if name != "idf_V" and not name.startswith("query_function.")]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in body if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in body if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if of_queries:
        decay = 0.0 if encoder.query_function is None else idf_decay
        rate = learning_rate if idf_lr is None else idf_lr
        groups.append({"params": of_queries, "weight_decay": decay, "lr": rate})
    return groups


def trained_table(encoder: SparseEncoder, idf_decay: float) -> Tensor | None:
    """A copy of the query table that training begins with, where it is to be drawn back to it."""
    table = encoder.idf_V
    return table.detach().clone() if idf_decay and table is not None and table.requires_grad else None
