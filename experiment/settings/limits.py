"""Limits of values that no type says: numbers are finite and of a sensible size, however deep they stand in a value.

They hold for every key, ours and the Trainer's, so that no run finds out later.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from experiment.settings import trainer_keys
from experiment.settings.keys import GROUP_OF

# No number is larger: what a seed of numpy can be.
LARGEST = 2**32 - 1
# A part of a path that is longer cannot be a file's name.
LONGEST_NAME = 255

# The Trainer's own numbers are 0 or more, or -1 where that is the default; these have other bounds.
LEAST = dict.fromkeys(
    "per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps dataloader_prefetch_factor "
    "eval_accumulation_steps torch_empty_cache_steps ddp_bucket_cap_mb ddp_timeout".split(),
    1,
)
MOST = {"dataloader_num_workers": 256}
BELOW_1 = ("adam_beta1", "adam_beta2")


def key_faults(key: str, value: Any) -> Iterator[str]:
    """What is wrong with a key's value beside its type: a sentence each."""
    yield from faults(value)
    if key not in GROUP_OF:
        yield from _trainer_faults(key, value)
    elif value == "":
        yield "is empty; null for none."


def _trainer_faults(name: str, value: Any) -> Iterator[str]:
    """What is wrong with the number that a field of the Trainer's has; nothing with another value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    default = trainer_keys.literal_default_of(name)
    least = LEAST.get(name, min(0, default) if isinstance(default, int | float) else 0)
    if value < least:
        yield f"{value} is too small; {least} or more."
    if value > MOST.get(name, math.inf):
        yield f"{value} is too large; {MOST[name]} or less."
    if name in BELOW_1 and not 0 <= value < 1:
        yield f"{value} is not in [0, 1)."


def faults(value: Any) -> Iterator[str]:
    """What is wrong with the numbers and words in a value: a sentence each."""
    if isinstance(value, float) and not math.isfinite(value):
        yield "is not finite."
    elif isinstance(value, int | float) and abs(value) > LARGEST:
        yield f"{float(value):.4g} is too large; at most {LARGEST} in size."
    elif isinstance(value, str):
        if "\0" in value:
            yield "holds a character 0."
        if any(len(part.encode(errors="replace")) > LONGEST_NAME for word in value.split() for part in word.split("/")):
            yield f"{value[:20]}… is too long for a name; {LONGEST_NAME} bytes at most."
    for part in _parts(value):
        yield from faults(part)


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, BaseModel):
        return list(dict(value).values())
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple) else []
