"""Query weights as a function of tokens' input embeddings, while they are trained (Li-LSR, arXiv 2505.01452).

What a checkpoint holds is the table that comes of it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


class QueryFunction(nn.Module):
    """w_j = softplus(softplus⁻¹(start_j) + a · e_j + b): e_j is the token's input embedding, a and b begin at 0.

    So it begins at the start's weights, never falls below 0, and what is learnt of one token moves those that are like
    it. A token of weight 0 keeps it.

    Args:
        start_V: weights to begin with, >= 0.
        width: entries of an embedding.
    """

    def __init__(self, start_V: Tensor, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        start_V = start_V.detach().float()
        self.start_V: Tensor
        self.register_buffer("start_V", start_V + torch.log(-torch.expm1(-start_V)))

    def forward(self, embeddings_VD: Tensor) -> Tensor:
        """Weights [V] of the tokens of these embeddings, float32; no gradient goes to the embeddings."""
        with torch.autocast(embeddings_VD.device.type, enabled=False):
            return softplus(self.start_V + self.linear(embeddings_VD.detach().float()).squeeze(1))
