"""The config of the made-up model."""

from transformers import PretrainedConfig


class RotaryConfig(PretrainedConfig):
    """A transformer of one layer with rotated positions."""

    model_type = "made_up_rotary"

    def __init__(self, vocab_size: int = 64, hidden_size: int = 16, max_position_embeddings: int = 64, **more: object):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.max_position_embeddings = max_position_embeddings
        super().__init__(**{"tie_word_embeddings": False, **more})
