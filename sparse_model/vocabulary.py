"""Which of a model's ids stand for tokens: vocabularies are padded, and trimmed ones have gaps."""

import copy
import json
from collections.abc import Sequence
from typing import Any

from sparse_model.errors import UserError


def tokens_by_id(tokenizer: Any, size: int) -> list[str | None]:
    """The token of each of the model's ids; None for one that stands for none."""
    return tokenizer.convert_ids_to_tokens(list(range(size)))


def highest_id(tokenizer: Any) -> int:
    """The highest id of a token; −1 if there is none."""
    return max(tokenizer.get_vocab().values(), default=-1)


def require_ids_below(size: int, tokenizer: Any, frame: Sequence[int] = ()) -> None:
    """Raise a UserError if the tokenizer has, or frames texts with, an id that a model of V = size knows nothing of."""
    if (highest := max((highest_id(tokenizer), *frame))) >= size:
        raise UserError(
            f"tokenizer_name: its ids go up to {highest}, and the model's V is {size}: it is "
            "another model's tokenizer, or names a token that the model does not have."
        )


def silent_ids(tokenizer: Any, size: int) -> list[int]:
    """The ids that weigh nothing: special tokens, and what stands for no token, which no query can have either."""
    return [*tokenizer.all_special_ids, *(i for i, token in enumerate(tokens_by_id(tokenizer, size)) if token is None)]


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
