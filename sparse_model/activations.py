"""Saturations that turn the maximum logit of a vocabulary entry into its weight in a document.

Every one is log1p applied n times to relu(x); `relu` is SPLADE's, `l1_relu` the paper's ℓ0 activation
(arXiv 2504.14839, section 3.2), `l2_relu` and `l3_relu` its ablations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


def saturate(logits: Tensor, logarithms: int) -> Tensor:
    """relu, then log1p so many times. log1p and not log(1 + x): the latter is exactly 0 below about 6e-8."""
    weights = logits.relu()
    for _ in range(logarithms):
        weights = weights.log1p()
    return weights


class Activation(NamedTuple):
    """A saturation, and the name that a checkpoint says it by."""

    function: Callable[[Tensor], Tensor]
    """weights of any shape from logits of the same shape; exactly 0 for logits at or below 0, monotonic above"""
    stored_name: str
    """sentence-transformers' own; a name that it lacks makes it refuse the checkpoint instead of scoring it wrongly"""


ACTIVATIONS = {
    "relu": Activation(partial(saturate, logarithms=1), "relu"),
    "l1_relu": Activation(partial(saturate, logarithms=2), "log1p_relu"),
    "l2_relu": Activation(partial(saturate, logarithms=3), "l2_relu"),
    "l3_relu": Activation(partial(saturate, logarithms=4), "l3_relu"),
}


def activate(logits: Tensor, activation_type: str) -> Tensor:
    """Weights of any shape from maximum logits of the same shape; negative logits give exactly 0.

    Raises:
        KeyError: if `activation_type` is none of `ACTIVATIONS`.
    """
    return ACTIVATIONS[activation_type].function(logits)
