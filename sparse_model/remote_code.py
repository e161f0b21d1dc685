"""Models whose class is code of their repository, loaded so that what the code computes when it is built is right.

transformers 5 builds models without memory ("meta") and fills in the weights that are stored. What a class of its own
computes in __init__ and does not store (numbered positions, cosines, frequencies) is then whatever the memory held.
Here such a model is built for real from its config, and the stored weights are put into it.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from sparse_model.errors import UserError
from sparse_model.layout import dtype_argument
from sparse_model.pins import Code


def load_model(auto_class: Any, folder: Path, config: Any, dtype: torch.dtype, code: Code) -> tuple[Any, Any]:
    """(the model, transformers' loading info: missing_keys, unexpected_keys, …).

    Args:
        auto_class: the class of transformers that reads it, e.g. AutoModel.

    Raises:
        UserError: if pickled weights hold anything but tensors.
    """
    own = own_class(auto_class, folder, config, code)
    try:
        if own is None:
            return auto_class.from_pretrained(
                folder, config=config, **dtype_argument(dtype), trust_remote_code=False, output_loading_info=True
            )
        model = own._from_config(config, **dtype_argument(dtype))
        return model, _fill(model, _stored(folder))
    except UnpicklingError:  # whose text tells how to read it nonetheless
        raise UserError(
            f"{folder}: its pytorch_model.bin is damaged, or would run a program when it is read: only tensors are. "
            "Fetch it anew, or take a repository with model.safetensors."
        ) from None


def own_class(auto_class: Any, folder: Path, config: Any, code: Code) -> Any:
    """The class that the repository brings for `auto_class`; None: transformers' own is meant."""
    reference = getattr(config, "auto_map", {}).get(auto_class.__name__)
    if not (reference and code.trusted):
        return None
    found = get_class_from_dynamic_module(reference, str(folder), **code.revision)
    # A checkpoint of it names the repository of its code; code that lies beside the weights is saved beside them.
    kinds: list[tuple[Any, str]] = [(found, auto_class.__name__), (type(config), "AutoConfig")]
    for kind, name in kinds:
        kind._auto_class = None if "--" in reference else name
    return found


def is_remote(model: Any) -> bool:
    """Whether its class is code that a repository brought."""
    return type(model).__module__.startswith("transformers_modules")


def _fill(model: Any, tensors: dict[str, Tensor]) -> dict[str, list[str]]:
    """Put tensors in their places; what is tied to one of them is not missing."""
    places, prefix = model.state_dict(keep_vars=True), f"{model.base_model_prefix}."
    named = {_place(name, places, prefix): tensor for name, tensor in tensors.items()}
    model.load_state_dict({name: tensor for name, tensor in named.items() if name in places}, strict=False)
    model.tie_weights()
    filled = {tensor.data_ptr() for name, tensor in model.state_dict().items() if name in named}
    missing = [name for name, weight in model.named_parameters() if weight.data_ptr() not in filled]
    return {"missing_keys": missing, "unexpected_keys": [name for name in named if name not in places]}


def _place(name: str, places: dict[str, Any], prefix: str) -> str:
    """Where a stored tensor belongs: a body may be stored with or without the prefix that a head gives it."""
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return next((other for other in (name, prefix + name, name.removeprefix(prefix)) if other in places), name)


def _stored(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model's files, in however many parts."""
    if files := sorted(folder.glob("model*.safetensors")):
        return {name: tensor for file in files for name, tensor in load_file(file).items()}
    parts = [
        torch.load(file, map_location="cpu", weights_only=True) for file in sorted(folder.glob("pytorch_model*.bin"))
    ]
    return {name: tensor for part in parts for name, tensor in part.items()}
