"""The vocabulary head: the maximum over a document's tokens of every vocabulary entry's logit.

`max_logits_dense` is the plain autograd form (holds N × L × V, the tested reference); `max_logits` gives the
same values and gradients document by document and holds one document's L × V at a time. What both rest on: the
maximum passes its gradient to one token only, and the saturation after it passes none to entries at or below
zero, so backward touches the few active (document, vocabulary entry) pairs and nothing else.

Shapes: N documents, L tokens, D hidden size, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor


def max_logits_dense(hidden_NLD: Tensor, mask_NL: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
    """max_i (h_i · W + b) over the tokens i with mask 1, as [N, V]; every document needs at least one token."""
    logits_NLV = hidden_NLD @ weight_VD.T + bias_V
    return logits_NLV.masked_fill(~mask_NL.bool().unsqueeze(-1), float("-inf")).amax(dim=1)


def max_logits(
    hidden_NLD: Tensor,
    mask_NL: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor,
    product_dtype: torch.dtype | None = None,
) -> Tensor:
    """The same values as `max_logits_dense`, a tile of L × V at a time.

    Gradients equal those of the dense form where the maximum is unique; where tokens tie, this form gives the
    whole gradient to one of them (on a CPU the first), `amax` spreads it over all.

    Args:
        hidden_NLD: the inputs of the masked LM's output layer; mask_NL: 1 for tokens that count,
            which stand before the padding;
        weight_VD, bias_V: the output layer, in the dtype of `hidden_NLD`;
        product_dtype: a lower precision for the product h · W of the forward pass (None: the inputs' own).

    Returns:
        [N, V] maximum logits in the inputs' dtype; the bias is added after the maximum.
    """
    # Rounding is monotonic, so adding b after the maximum selects the same value as adding it to every token.
    return _MaxProduct.apply(hidden_NLD, mask_NL, weight_VD, product_dtype or hidden_NLD.dtype) + bias_V


class _MaxProduct(torch.autograd.Function):
    """max_i h_i · W for each document, remembering which token won; backward is a sparse product."""

    @staticmethod
    def forward(ctx: Any, hidden_NLD: Tensor, mask_NL: Tensor, weight_VD: Tensor, dtype: torch.dtype) -> Tensor:
        n_documents, n_tokens, _ = hidden_NLD.shape
        product_NLD, product_DV = hidden_NLD.to(dtype), weight_VD.to(dtype).T
        values_NV = hidden_NLD.new_empty(n_documents, weight_VD.shape[0])
        winners_NV = torch.empty(values_NV.shape, dtype=torch.int32, device=values_NV.device)
        for n, length in enumerate(mask_NL.long().sum(dim=1).tolist()):
            best = (product_NLD[n, :length] @ product_DV).max(dim=0)
            values_NV[n] = best.values
            winners_NV[n] = best.indices + n * n_tokens
        ctx.save_for_backward(hidden_NLD, weight_VD, winners_NV)
        return values_NV

    @staticmethod
    def backward(ctx: Any, grad_NV: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden_NLD, weight_VD, winners_NV = ctx.saved_tensors
        active = grad_NV.nonzero(as_tuple=True)
        grads = grad_NV[active]
        tokens, entries = winners_NV[active].long(), active[1]
        hidden_TD = hidden_NLD.flatten(0, 1)
        grad_hidden = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_hidden = _sparse_product(tokens, entries, grads, weight_VD, len(hidden_TD)).view_as(hidden_NLD)
        if ctx.needs_input_grad[2]:
            grad_weight = _sparse_product(entries, tokens, grads, hidden_TD, len(weight_VD))
        return grad_hidden, None, grad_weight, None


def _sparse_product(rows: Tensor, columns: Tensor, values: Tensor, dense: Tensor, n_rows: int) -> Tensor:
    """Σ over entries of values · dense[column], added up per row: [n_rows, dense.shape[1]]."""
    indices = torch.stack([rows, columns])
    matrix = torch.sparse_coo_tensor(indices, values, (n_rows, len(dense)), check_invariants=False)
    return torch.sparse.mm(matrix, dense)
