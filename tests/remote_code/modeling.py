"""The made-up model, of the pattern of gte-large's: buffers that __init__ fills and no file holds."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput

from .configuration import RotaryConfig


class Rotary(nn.Module):
    """Cosines and sines of positions, computed once."""

    def __init__(self, dims: int, positions: int) -> None:
        super().__init__()
        frequencies = 1 / (10_000 ** (torch.arange(0, dims, 2).float() / dims))
        self.register_buffer("inv_freq", frequencies, persistent=False)
        angles = torch.outer(torch.arange(positions).float(), frequencies).repeat(1, 2)
        self.register_buffer("cos_cached", angles.cos(), persistent=False)
        self.register_buffer("sin_cached", angles.sin(), persistent=False)

    def forward(self, states: Tensor, positions: Tensor) -> Tensor:
        """Each position's states, turned by its angle."""
        half = states.shape[-1] // 2
        turned = torch.cat([-states[..., half:], states[..., :half]], dim=-1)
        return states * self.cos_cached[positions] + turned * self.sin_cached[positions]


class RotaryPreTrainedModel(PreTrainedModel):
    """What both models share."""

    config_class = RotaryConfig
    base_model_prefix = "made_up"

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(std=0.5)


class RotaryModel(RotaryPreTrainedModel):
    """Attention over rotated embeddings."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.register_buffer("position_ids", torch.arange(config.max_position_embeddings), persistent=False)
        self.rotary = Rotary(config.hidden_size, config.max_position_embeddings)
        self.LayerNorm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutput:
        """Hidden states [N, L, D]."""
        states = self.embeddings(input_ids)
        turned = self.rotary(states, self.position_ids[: input_ids.shape[1]])
        scores = turned @ turned.transpose(1, 2)
        if attention_mask is not None:
            scores = scores.masked_fill(attention_mask[:, None] == 0, torch.finfo(scores.dtype).min)
        return BaseModelOutput(last_hidden_state=self.LayerNorm(states + scores.softmax(dim=-1) @ states))


class RotaryForMaskedLM(RotaryPreTrainedModel):
    """With a head of its own."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__(config)
        self.made_up = RotaryModel(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        return self.decoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> MaskedLMOutput:
        """Logits [N, L, V]."""
        return MaskedLMOutput(logits=self.decoder(self.made_up(input_ids, attention_mask)[0]))
