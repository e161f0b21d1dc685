"""Texts or pairs through a model in batches of similar length, and back in their order; models from their folders."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import AutoConfig

from mining.teachers.spec import Progress, TeacherSpec
from sparse_model.errors import UserError
from sparse_model.layout import load_tokenizer
from sparse_model.pins import code_of
from sparse_model.remote_code import load_model
from sparse_model.tensors import check_weights
from sparse_model.tokens import CPU_TOKENS, length_sorted_batches, one_ahead, pad

# Items that are tokenised and sorted by length together.
TOGETHER = 4096

Rows = dict[str, list[list[int]]]
"""input_ids of each item and, where a model tells the parts of a pair by them, token_type_ids"""

T = TypeVar("T")


class Runner:
    """A model with its tokenizer on a device.

    Args:
        auto_class: the class of transformers that reads it, e.g. AutoModel.
        folder: where its weights lie.
        unused: a part of weights' names that a checkpoint may lack, since they are not used.

    Raises:
        UserError: if the model cannot be read, or is incomplete.
    """

    def __init__(
        self, spec: TeacherSpec, auto_class: Any, folder: Any, device: torch.device, unused: str | None = None
    ) -> None:
        self.device = device
        allowed = spec.trust_remote_code, spec.code_revision
        self.tokenizer = load_tokenizer(spec.tokenizer_name or str(folder), f"{spec.name}: tokenizer_name", *allowed)
        # On a CPU more tokens at once would only leave the cache.
        self.max_tokens = spec.max_tokens if device.type != "cpu" else min(spec.max_tokens, CPU_TOKENS)
        try:
            code = code_of(folder, *allowed)
            config = AutoConfig.from_pretrained(folder, trust_remote_code=code.trusted, **code.revision)
            check_weights(config, folder)
            self.model, info = load_model(auto_class, folder, config, spec.dtype_on(device), code)
        except Exception as error:  # whatever a model's files make transformers raise
            raise UserError(
                f"{spec.model_name_or_path} cannot be read as a teacher of type {spec.type}: {error}"
            ) from None
        missing = sorted(name for name in info["missing_keys"] if unused is None or unused not in name)
        if missing:
            raise UserError(
                f"{spec.model_name_or_path} is incomplete for type {spec.type}: it lacks {', '.join(missing[:3])}, "
                "which would start at random."
            )
        self.model.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def run(
        self,
        items: Sequence[T],
        tokenize: Callable[[Sequence[T]], Rows],
        forward: Callable[[dict[str, Tensor]], Tensor],
        progress: Progress,
    ) -> Tensor:
        """`forward` of the padded inputs of each batch, as float32 [n, …] on the device in the order of `items`.

        Batches are cut by length within blocks of consecutive items, so that the same items give the same batches.
        """
        blocks = [items[start : start + TOGETHER] for start in range(0, len(items), TOGETHER)]
        parts, order, done = [], [], 0
        # A trainer's autocast must not reach into the teacher.
        with torch.autocast(self.device.type, enabled=False):
            for rows in one_ahead(tokenize, blocks):
                lengths = [len(row) for row in rows["input_ids"]]
                for batch in length_sorted_batches(lengths, self.max_tokens):
                    parts.append(forward(self._padded(rows, batch)).float())
                    order += [done + row for row in batch]
                    progress(len(batch))
                done += len(lengths)
        return torch.cat(parts)[torch.tensor(order).argsort().to(self.device)]

    def _padded(self, rows: Rows, batch: list[int]) -> dict[str, Tensor]:
        chosen = {name: [values[row] for row in batch] for name, values in rows.items()}
        ids, mask = pad(chosen.pop("input_ids"), self.tokenizer.pad_token_id or 0)
        others = {name: pad(values, 0)[0] for name, values in chosen.items()}
        return {name: t.to(self.device) for name, t in {"input_ids": ids, "attention_mask": mask, **others}.items()}
