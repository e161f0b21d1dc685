"""The highest product of each document's tokens, and its gradients, for all documents at once: what a GPU is given.

The plain form, in operations that every device has and none of which waits for the host; `head_kernel` has the same in
one kernel each.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sparse_model.device import HALVES, sent

# Elements of the product held at a time, beside 13 bytes for each that its maximum needs.
TILE = 1 << 24
# Elements gathered at a time in backward.
GATHERED = 1 << 24


def highest(
    hidden_TD: Tensor, lengths: Sequence[int], weight_VD: Tensor, winners: bool
) -> tuple[Tensor, Tensor | None]:
    """(max over a document's tokens of h · w, the first token it comes from if `winners`), both [N, V].

    The product is in the inputs' precision, its sums and the maximum in float32 or, if wider, the inputs'. NaN wins.
    """
    n_tokens, n_documents, device = len(hidden_TD), len(lengths), hidden_TD.device
    documents_T = sent(torch.from_numpy(np.repeat(np.arange(n_documents), lengths)), device)
    tokens_T1 = torch.arange(n_tokens, dtype=torch.int32, device=device).unsqueeze(1)
    values, tokens = [], []
    for weight_ED in weight_VD.split(max(64, TILE // n_tokens)):
        product_TE = _product(hidden_TD, weight_ED)
        shape, row_TE = (n_documents, len(weight_ED)), documents_T.unsqueeze(1).expand_as(product_TE)
        highest_NE = product_TE.new_full(shape, float("-inf")).scatter_reduce_(0, row_TE, product_TE, "amax")
        values.append(highest_NE)
        if winners:
            # Not "==": NaN has a token too.
            reaches_TE = ~(product_TE < highest_NE[documents_T])
            candidates_TE = torch.where(reaches_TE, tokens_T1, n_tokens)
            nowhere_NE = candidates_TE.new_full(shape, n_tokens)
            tokens.append(nowhere_NE.scatter_reduce_(0, row_TE, candidates_TE, "amin"))
    return torch.cat(values, dim=1), torch.cat(tokens, dim=1) if winners else None


def _product(hidden_TD: Tensor, weight_ED: Tensor) -> Tensor:
    """h · w with sums in float32, where the inputs are halves: on NVIDIA's GPUs by the product that gives them so."""
    if hidden_TD.dtype not in HALVES:
        return torch.mm(hidden_TD, weight_ED.T)
    if hidden_TD.is_cuda and torch.version.cuda and "dtype" in torch.ops.aten.mm.overloads():  # from torch 2.8 on
        return torch.mm(hidden_TD, weight_ED.T, out_dtype=torch.float32)  # type: ignore[call-overload]
    return torch.mm(hidden_TD.float(), weight_ED.T.float())


def row_sums(rows: Tensor, columns: Tensor, values: Tensor, dense: Tensor, n_rows: int) -> Tensor:
    """Σ over entries of values · dense[column], added up per row: [n_rows, dense.shape[1]]."""
    sums = dense.new_zeros(n_rows, dense.shape[1])
    pieces = (part.split(max(1, GATHERED // dense.shape[1])) for part in (rows, columns, values))
    for row, column, value in zip(*pieces, strict=True):
        sums.index_add_(0, row, dense[column] * value.unsqueeze(1))
    return sums
