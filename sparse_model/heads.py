"""What a masked LM is made of, looked at in the object itself: its output layer, and how long an input may be."""

from typing import Any

import torch
from torch import Tensor, nn

from sparse_model.errors import UserError
from sparse_model.modes import without_dropout


def pass_through(hidden: Tensor) -> Tensor:
    """Stands in for the masked LM's output layer: its logits are then what that layer would have multiplied."""
    return hidden


def open_head(mlm: Any) -> nn.Linear:
    """The output layer, which the masked LM leaves out from now on: `pass_through` stands in its place.

    Raises:
        UserError: if its logits are not what that layer makes of them: a head with other matrices, or one that works on
            after the layer.
    """
    # Where a model keeps its output bias twice, an older from_pretrained may leave two copies of it.
    mlm.tie_weights()
    output = mlm.get_output_embeddings()
    unlike = UserError(
        f"{type(mlm).__name__}: the logits of its masked-LM head are not the product with one matrix and a bias "
        "(get_output_embeddings): a model with such a head is not supported."
    )
    if not isinstance(output, nn.Linear) or output.bias is None:
        raise unlike
    vars(output).pop("forward", None)  # of an encoder that had this masked LM before
    with torch.no_grad(), without_dropout(mlm):
        inputs = {"input_ids": torch.tensor([[0, 1]], device=output.weight.device)}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        try:
            logits_LV = mlm(**inputs).logits[0]
        except Exception as error:  # whatever sizes in a config that do not fit each other make torch raise
            raise UserError(f"{type(mlm).__name__} cannot be run with what its config.json says: {error}") from None
        output.forward = pass_through  # type: ignore[method-assign,assignment]
        try:
            hidden_LD = mlm(**inputs).logits[0]
        except RuntimeError:  # what follows cannot work on D in place of V
            raise unlike from None
    if hidden_LD.shape[-1] != output.weight.shape[1] or logits_LV.shape[-1] != output.weight.shape[0]:
        raise unlike
    product_LV, ordinary_V = hidden_LD @ output.weight.T, output.bias.abs() < 1000  # sums with larger ones are rough
    difference_LV = (logits_LV - output.bias - product_LV)[:, ordinary_V]
    if difference_LV.numel() and difference_LV.abs().max() > 1e-3 * product_LV.abs().max():
        raise unlike
    return output


def default_length(positions: int | None) -> int:
    """Tokens a text is cut to where nobody says: 512, or as many as there are positions."""
    return min(512, positions or 512)


def longest_input(model: Any) -> int | None:
    """Tokens a model has positions for; None where neither its config nor a table of positions says.

    Some number positions from the one after padding's on, so that a table holds fewer than it has rows.
    """
    said = getattr(model.config, "max_position_embeddings", None)
    found = [said] if isinstance(said, int) and said > 0 else []
    for name, part in model.named_modules():
        if name.rsplit(".", 1)[-1] in ("position_embeddings", "embed_positions") and hasattr(part, "weight"):
            padding = getattr(part, "padding_idx", None)
            found.append(len(part.weight) - (0 if padding is None else padding + 1))
    return min(found, default=None)
