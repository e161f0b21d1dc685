"""The tensors of a model's files against what its config.json says, so that none is passed over or made up."""

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparse_model.errors import UserError

# Parts that a masked LM does not have or makes anew: other heads of pretraining, numbered positions.
_NOT_OURS = re.compile("pooler|seq_relationship|sop_classifier|discriminator|position_ids|token_type_ids|inv_freq")
_COUNTS = re.compile("(layers|groups|networks|group_num)$")
_FLOATS_STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
_FLOATS = tuple(_FLOATS_STORED.values())


def check_weights(config: Any, folder: Path) -> None:
    """Look at the tensors of a model before it is built.

    Raises:
        UserError: if there are none, but an ONNX graph (as in a folder for FastEmbed); if its config has more layers
            than there are tensors, or less than none; naming a weight that is no floating-point number: of 8 bits
            without their scale, say, or complex.
    """
    kinds = {file: _kinds(file) for file in (*folder.glob("*.safetensors"), *folder.glob("*.bin"))}
    if not kinds and (graph := next(folder.glob("*.onnx"), None)):
        raise UserError(
            f"model_name_or_path: {folder} holds {graph.name}, a graph for other programs, and no weights that can be "
            "read here: name the checkpoint that it was made of."
        )
    tensors = sum(map(len, kinds.values()))
    for key, value in config.to_dict().items():
        if not _COUNTS.search(key) or not isinstance(value, int):
            continue
        if value < 0 or tensors and value > tensors:
            raise UserError(f"{folder / 'config.json'}: {key}: {value}, but the weights hold {tensors} tensors in all.")
    for file, of_file in kinds.items():
        require_floats(file, {name: kind for name, kind in of_file.items() if not _NOT_OURS.search(name)})


def require_floats(file: Path, kinds: Mapping[str, str]) -> None:
    """UserError for the first tensor of a file that is of none of `_FLOATS`; kinds: each tensor's."""
    for name, kind in kinds.items():
        if kind not in _FLOATS:
            raise UserError(
                f"{file}: {name} is of kind {kind}; weights are of {', '.join(_FLOATS)}. Save the model unquantised."
            )


def _kinds(path: Path) -> dict[str, str]:
    """The kind of each tensor in a file of weights; {} where that cannot be told, and loading will say why."""
    import torch  # slow, and needed only where a model is looked at
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix == ".bin":
            # Nothing is read but names and kinds.
            says = torch.load(path, map_location="meta", mmap=zipfile.is_zipfile(path), weights_only=True)
            tensors = {name: value for name, value in says.items() if isinstance(value, torch.Tensor)}
            return {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
        with safe_open(path, "numpy") as file:
            return {name: _FLOATS_STORED.get(kind := file.get_slice(name).get_dtype(), kind) for name in file.keys()}
    except (OSError, RuntimeError, EOFError, AttributeError, SafetensorError, pickle.UnpicklingError):
        return {}


def unknown_tensors(unexpected: Iterable[str], body: str, new_head: bool) -> list[str]:
    """Of the tensors that found no place, those that another model would need.

    Args:
        body: the prefix of the names of a model without head.
        new_head: the model gets a head at random, so that another one's is not missed.
    """
    ours = (name for name in unexpected if not _NOT_OURS.search(name))
    return sorted(name for name in ours if not new_head or name.startswith(f"{body}."))
