"""Which of a model's ids stand for tokens: vocabularies are padded, and trimmed ones have gaps."""

import copy
import json
from typing import Any


def tokens_by_id(tokenizer: Any, size: int) -> list[str | None]:
    """The token of each of the model's ids; None for one that stands for none."""
    return tokenizer.convert_ids_to_tokens(list(range(size)))


def highest_id(tokenizer: Any) -> int:
    """The highest id of a token; −1 if there is none."""
    return max(tokenizer.get_vocab().values(), default=-1)


def with_every_id(tokenizer: Any, size: int) -> Any:
    """A copy that neither cuts nor pads and has a token for each of the model's ids.

    sentence-transformers wants both sides of a pair to have the same length, which it takes for the number of tokens.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    end = highest_id(tokenizer) + 1
    gaps = [i for i, token in enumerate(tokens_by_id(tokenizer, end)) if token is None]
    if gaps:
        # Added tokens are numbered from the end on: only a model's own vocabulary can take an id below it.
        says = json.loads(tokenizer.backend_tokenizer.to_str())
        if not isinstance(says["model"]["vocab"], dict):
            return tokenizer
        from tokenizers import Tokenizer  # here, so that a vocabulary is looked at without it

        says["model"]["vocab"] |= {f"[filler{i}]": i for i in gaps}
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(says))
    tokenizer.add_tokens([f"[filler{i}]" for i in range(end, size)])
    return tokenizer
