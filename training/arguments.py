"""TrainingArguments for this machine: what it cannot do is said once and recorded, not stumbled over."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from sparse_model import UserError


def build_arguments(output_dir: Path, given: dict[str, Any]) -> tuple[TrainingArguments, list[str]]:
    """(arguments, what was changed and why) from the given fields.

    Raises:
        UserError: for combinations that TrainingArguments itself refuses.
    """
    fields, notes = dict(given), []
    if not torch.cuda.is_available():
        fields["use_cpu"] = True
        for key in ("fp16", "fp16_full_eval"):
            if fields.get(key):
                fields[key] = False
                notes.append(f"{key}: there is no GPU, float32 is used instead")
        if fields.get("bf16"):
            notes.append("bf16: there is no GPU, CPU autocast is used")
    elif "dataloader_num_workers" not in fields:
        # On a CPU tokenisation is 2 % of a step and another process would only take the cores from it.
        fields["dataloader_num_workers"] = 1
        notes.append("dataloader_num_workers: 1, so that the GPU does not wait for tokenisation")
    if os.environ.get("WORLD_SIZE", "1") == "1" and fields.pop("ddp_backend", None):
        notes.append("ddp_backend: there is one process, which needs none")
    fields["remove_unused_columns"] = False
    fields.setdefault("ddp_find_unused_parameters", False)
    if fields.get("gradient_checkpointing"):
        fields.setdefault("gradient_checkpointing_kwargs", {"use_reentrant": False})  # works under DDP everywhere
    try:
        arguments = TrainingArguments(output_dir=str(output_dir), **fields)
    except _REFUSALS as error:
        alone = [name for name in given if _refusal({"use_cpu": fields.get("use_cpu", False), name: fields[name]})]
        raise UserError(f"{', '.join(alone) or 'training keys'}: {error}") from None
    try:
        get_reporting_integration_callbacks(arguments.report_to)
    except ValueError as error:
        raise UserError(f"report_to: {error}") from None
    return arguments, notes


# What TrainingArguments raises for values that it cannot use.
_REFUSALS = (ValueError, ImportError, TypeError, OSError, KeyError, AttributeError, RuntimeError)


def _refusal(fields: dict[str, Any]) -> bool:
    """Whether these are refused without the others."""
    try:
        TrainingArguments(output_dir="unused", **fields)
    except _REFUSALS:
        return True
    return False
