"""What the output layer multiplies: the masked LM's hidden states, without those of padding."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sparse_model.tokens import CPU_TOKENS, length_sorted_batches


def hidden_states(
    mlm: nn.Module, input_ids: Tensor, mask: Tensor, lengths: Sequence[int], piece: int | None = None
) -> tuple[Tensor, list[int]]:
    """([T, D] of the tokens of one row after another, the rows [N] in the order in which they come).

    Args:
        mlm: gives them as its logits (see `heads.open_head`).
        input_ids: [N, L], padded on the right, with its mask and the tokens of each row.
        piece: rows that go through the masked LM at a time, of which nothing is kept but the states: backward runs them
            once more with the same dropout, piece after piece. Gradients are those of all rows at once, memory is that
            of a piece (Gao et al. 2021, arXiv 2101.06983; the vocabulary head's part need not be run again).
    """
    groups = _groups(lengths, input_ids.device.type)
    run: Callable[..., Tensor] = _of_group
    if piece is not None:
        groups = [group[start : start + piece] for group in groups for start in range(0, len(group), piece)]
        run = partial(checkpoint, _of_group, use_reentrant=False)
    states = [run(mlm, input_ids, mask, group, lengths) for group in groups]
    return torch.cat(states), [row for group in groups for row in group]


def _groups(lengths: Sequence[int], device: str) -> list[list[int]]:
    """Rows that go through the masked LM together. On a CPU they are of similar length, so that little of its work is
    on padding, and few, so that what it computes on the way stays in cache and in memory that is used again; a GPU
    would wait for more and smaller kernels.
    """
    if device == "cpu":
        return list(length_sorted_batches(lengths, CPU_TOKENS, shortest=0.7))
    return [list(range(len(lengths)))]


def _of_group(mlm: nn.Module, input_ids: Tensor, mask: Tensor, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
    longest = max(lengths[row] for row in rows)
    if list(rows) != list(range(len(lengths))):
        chosen = torch.tensor(rows).to(input_ids.device)
        input_ids, mask = input_ids[chosen], mask[chosen]
    hidden_NLD = mlm(input_ids=input_ids[:, :longest], attention_mask=mask[:, :longest]).logits
    if all(lengths[row] == longest for row in rows):
        return hidden_NLD.flatten(0, 1)
    tokens = torch.cat([torch.arange(lengths[row]) + n * longest for n, row in enumerate(rows)])
    return hidden_NLD.flatten(0, 1)[tokens.to(hidden_NLD.device)]
