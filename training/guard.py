"""Ends a run that learns nothing although its figures are finite: steps that clipping makes zero, a loss at chance."""

from typing import Any

import torch
from torch import Tensor

from sparse_model import RunError

# Steps one after another whose gradient is not finite, until the run ends. A scaler of fp16 begins at 2^16 and halves
# with each of them, which it leaves out: down to 1 that is how it finds its scale.
BAD_STEPS, BAD_STEPS_OF_A_SCALER = 5, 20
# Batches one after another without a negative, until the run ends.
LONE_BATCHES = 20
# A loss is at chance if its mean over a block of steps is that close to it, and stays there if that many blocks are.
NEAR_CHANCE, BLOCKS = 0.02, 6


class Guard:
    """Counts on the device; looks (one synchronisation) when checked."""

    def __init__(self) -> None:
        self._step = -1
        self._bad_steps: Tensor | int = 0
        self._lone_batches: Tensor | int = 0
        self._excess: list[Tensor] = []
        self._chance: Tensor | None = None
        self._blocks = 0

    def add_step(self, step: int, grad_norm: Any) -> None:
        """The norm of an optimizer step's gradient, before clipping; a step that was added already is left out."""
        if step == self._step:
            return
        self._step = step
        is_bad = ~torch.as_tensor(grad_norm).isfinite()
        self._bad_steps = (self._bad_steps + 1) * is_bad

    def add_ranking(self, loss: Tensor, chance: Tensor) -> None:
        """A (micro-)batch's ranking loss, and its value where all candidates score the same."""
        self._chance = chance.detach()
        self._lone_batches = (self._lone_batches + 1) * (self._chance == 0)
        self._excess.append((loss.detach() - self._chance) / self._chance.clamp(min=1e-9))

    def check(self, has_scaler: bool) -> None:
        """Stop a run whose steps are zero.

        Raises:
            RunError: if the last steps all had a gradient that is not finite, or the last batches no negative.
        """
        if int(self._bad_steps) >= (BAD_STEPS_OF_A_SCALER if has_scaler else BAD_STEPS):
            raise RunError(
                f"the gradient's norm was not finite in each of the last {int(self._bad_steps)} steps: clipping makes "
                "such a step zero, and nothing is learnt. Lower flops_d_lambda, score_scale or learning_rate, or use "
                "bf16 instead of fp16; the last checkpoint is unharmed."
            )
        if int(self._lone_batches) >= LONE_BATCHES:
            raise RunError(
                "no query has a document to rank its positive against: all others of its row are left out, since they "
                "are positives of the same query. Give rows with other negs, or more queries."
            )

    def end_block(self, counts: bool) -> None:
        """Stop a run that stays at chance, to be called after a block of steps.

        Args:
            counts: whether the block was one of learning, and not of the warm-up.

        Raises:
            RunError: if the ranking loss of the last blocks was that of a model which cannot tell documents apart.
        """
        if not self._excess or self._chance is None:
            return
        is_near = abs(torch.stack(self._excess).mean().item()) <= NEAR_CHANCE
        self._blocks = self._blocks + 1 if is_near and counts else 0
        self._excess.clear()
        if self._blocks < BLOCKS:
            return
        raise RunError(
            f"the ranking loss stays at chance ({self._chance.item():.3f}, the logarithm of the number of candidates): "
            "nothing is learnt. Look at the rows (does pos answer its query?), the query weights (idf_path) and, in "
            "metrics.jsonl, d_length; raise learning_rate, or lower flops_d_lambda. Not counted is the warm-up: a run "
            "that needs longer to begin gets it with more warmup_steps."
        )
