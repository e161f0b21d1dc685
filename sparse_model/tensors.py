"""The tensors of a model's files against what its config.json says, so that none is passed over or made up."""

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sparse_model.errors import UserError

# Parts that a masked LM does not have or makes anew: other heads of pretraining, numbered positions.
_NOT_OURS = re.compile("pooler|seq_relationship|sop_classifier|discriminator|position_ids|token_type_ids|inv_freq")
_COUNTS = re.compile("(layers|groups|networks|group_num)$")


def check_layers(config: Any, folder: Path) -> None:
    """Refuse a config of more layers than the weights have tensors, or of less than none, before they are built.

    Raises:
        UserError: naming the key.
    """
    tensors = sum(map(_tensors, [*folder.glob("*.safetensors"), *folder.glob("*.bin")]))
    for key, value in config.to_dict().items():
        if not _COUNTS.search(key) or not isinstance(value, int):
            continue
        if value < 0 or tensors and value > tensors:
            raise UserError(f"{folder / 'config.json'}: {key}: {value}, but the weights hold {tensors} tensors in all.")


def _tensors(path: Path) -> int:
    """How many tensors a file holds, or a few more; 0 where that cannot be told, and loading will say why."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".bin":
            return len(zipfile.ZipFile(path).namelist())
        with safe_open(path, "numpy") as file:
            return len(file.keys())
    except (OSError, SafetensorError, zipfile.BadZipFile):
        return 0


def unknown_tensors(unexpected: Iterable[str], body: str, new_head: bool) -> list[str]:
    """Of the tensors that found no place, those that another model would need.

    Args:
        body: the prefix of the names of a model without head.
        new_head: the model gets a head at random, so that another one's is not missed.
    """
    ours = (name for name in unexpected if not _NOT_OURS.search(name))
    return sorted(name for name in ours if not new_head or name.startswith(f"{body}."))
