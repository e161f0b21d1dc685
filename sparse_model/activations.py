"""Saturations that turn the maximum logit of a vocabulary entry into its weight in a document.

Every one is log1p applied n times to relu(x); `relu` is SPLADE's, `l1_relu` the paper's ℓ0 activation
(arXiv 2504.14839, section 3.2), `l2_relu` and `l3_relu` its ablations.
"""

import torch
from torch import Tensor

# How often log1p is applied. log1p and not log(1 + x): the latter is exactly 0 below about 6e-8.
LOGARITHMS = {"relu": 1, "l1_relu": 2, "l2_relu": 3, "l3_relu": 4}


def activate(logits: Tensor, activation_type: str) -> Tensor:
    """Weights of any shape from maximum logits of the same shape; negative logits give exactly 0.

    Raises:
        KeyError: if `activation_type` is none of `LOGARITHMS`.
    """
    weights = torch.relu(logits)
    for _ in range(LOGARITHMS[activation_type]):
        weights = torch.log1p(weights)
    return weights
