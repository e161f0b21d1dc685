"""The final weights as means of several models': of the last checkpoints, and of the model that was started from."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import TrainingArguments

from sparse_model import SparseEncoder, UserError
from sparse_model.checkpoint import load_weights

Weights = dict[str, Tensor]
"""Trained parameters by name."""


def trained_weights(encoder: SparseEncoder) -> Weights:
    """A copy of all that training changes, on the CPU."""
    return {name: p.detach().cpu().clone() for name, p in encoder.named_parameters() if p.requires_grad}


def require_checkpoints(wanted: int, steps: int, args: TrainingArguments) -> None:
    """See that a run of so many steps leaves as many checkpoints as are to be averaged, where they come by steps.

    Raises:
        UserError: if it does not.
    """
    every = args.save_steps if args.save_steps >= 1 else max(1, math.ceil(steps * args.save_steps))
    saved = math.ceil(steps / every)
    if wanted > 1 and args.save_strategy == "steps" and saved < wanted:
        raise UserError(
            f"average_last: {wanted} checkpoints, but {steps} steps leave {saved}; lower save_steps ({every:g} now)."
        )


def mean_of_checkpoints(encoder: SparseEncoder, folders: Iterable[Path]) -> None:
    """Give the encoder the mean of the checkpoints' weights (Izmailov et al. 2018, arXiv 1803.05407)."""
    found = []
    for folder in folders:
        load_weights(encoder, folder)
        found.append(trained_weights(encoder))
    _set(encoder, {name: torch.stack([one[name].double() for one in found]).mean(dim=0) for name in found[0]})


def mix_with_start(encoder: SparseEncoder, start: Mapping[str, Tensor], share: float) -> None:
    """Give the encoder (1 - share) × its weights + share × the start's (Wortsman et al. 2022, arXiv 2109.01903)."""
    ours = trained_weights(encoder)
    _set(encoder, {name: (1 - share) * ours[name].double() + share * start[name].double() for name in ours})


@torch.no_grad()
def _set(encoder: SparseEncoder, weights: Mapping[str, Tensor]) -> None:
    for name, parameter in encoder.named_parameters():
        if name in weights:
            parameter.copy_(weights[name])
