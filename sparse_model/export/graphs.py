"""The encoder of documents as plain modules of tensors, to be traced: the masked LM's logits, and finished weights."""

import torch
from torch import Tensor, nn

from sparse_model.activations import activate
from sparse_model.encoder import SparseEncoder
from sparse_model.vocabulary import silent_ids


class Logits(nn.Module):
    """Raw logits [N, L, V] (float32) of input_ids and attention_mask [N, L]; the silent ids' are −10,000."""

    weight_VD: Tensor
    bias_V: Tensor

    def __init__(self, encoder: SparseEncoder) -> None:
        super().__init__()
        self.mlm = encoder.mlm
        output = encoder.mlm.get_output_embeddings()  # type: ignore[operator]
        # The masked LM leaves its output layer out (see `heads.open_head`).
        self.register_buffer("weight_VD", output.weight.detach().float())
        self.register_buffer("bias_V", output.bias.detach().float())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden_NLD = self.mlm(input_ids=input_ids, attention_mask=attention_mask).logits.float()
        return nn.functional.linear(hidden_NLD, self.weight_VD, self.bias_V)


class Weights(nn.Module):
    """Weights [N, V] (float32): pooling over what the mask shows, the activation, 0 for silent ids.

    A document of special tokens alone is the empty vector, as `SparseEncoder.document_weights` says.
    """

    spoken_V: Tensor
    frame_ids: Tensor

    def __init__(self, encoder: SparseEncoder) -> None:
        super().__init__()
        self.logits = Logits(encoder)
        self.activation_type = encoder.activation_type
        silent_V = torch.zeros(encoder.vocabulary_size)
        silent_V[silent_ids(encoder.tokenizer, encoder.vocabulary_size)] = 1.0
        self.register_buffer("spoken_V", 1.0 - silent_V, persistent=False)
        self.register_buffer("frame_ids", encoder.frame_ids.clone(), persistent=False)  # type: ignore[operator]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits_NLV = self.logits(input_ids, attention_mask)
        hidden_NL1 = (attention_mask == 0).unsqueeze(2)
        pooled_NV = logits_NLV.masked_fill(hidden_NL1, 0.0).amax(dim=1)  # 0 and below weigh the same: nothing
        is_text_NL = (input_ids.unsqueeze(2) != self.frame_ids).all(dim=2) & (attention_mask != 0)
        return activate(pooled_NV, self.activation_type) * self.spoken_V * is_text_NL.any(dim=1, keepdim=True)


def example(encoder: SparseEncoder) -> tuple[Tensor, Tensor]:
    """input_ids and attention_mask [2, L] to trace with: two documents of different lengths."""
    return encoder.pad(encoder.tokenize_documents(["one two three four five six seven", "one"]))
