"""What a number may be, wherever it comes from: a config's key, a checkpoint, an argument in Python. Loads nothing."""

from numbers import Integral, Real
from typing import Any

from sparse_model.errors import UserError

# A share of the largest weight is at least this, and less than that.
SHARE_FROM, SHARE_BELOW = 0, 1
# Tokens of the shortest text, where nothing is known of a tokenizer's special tokens.
SHORTEST = 1
# A query weight above this, or one below zero, is no weight: IDF of 10⁹ documents ends at 21.
MAX_WEIGHT = 1e6
# Times BM25's weights: above this, learned weights would count for nothing.
MAX_LEXICAL_SHARE = 1000


def share(value: Any, name: str) -> float | None:
    """A share of the largest weight, or None.

    Raises:
        UserError: if it is no number from 0 to below 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not SHARE_FROM <= float(value) < SHARE_BELOW:
        raise UserError(f"{name}: {value!r} is no share of the largest weight; give a number from 0 to below 1.")
    return float(value)


def lexical_share(value: Any, name: str) -> float | None:
    """How much of BM25's weights is added to the learned ones, or None.

    Raises:
        UserError: if it is no number from 0 to MAX_LEXICAL_SHARE.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= MAX_LEXICAL_SHARE:
        raise UserError(f"{name}: {value!r} is no lexical share; give a number from 0 to {MAX_LEXICAL_SHARE}.")
    return float(value)


def whole(value: Any, name: str) -> int:
    """A number of things, at least one.

    Raises:
        UserError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise UserError(f"{name}: {value!r} is no whole number from 1 on.")
    return int(value)


def length(value: Any, name: str, framed: int, positions: int | None) -> int:
    """Tokens that a text is cut to.

    Args:
        name: the key, or the file and key, that says it.
        framed: special tokens around a text.
        positions: tokens that the model has positions for; None: any number.

    Raises:
        UserError: if it is no whole number, or a text of that length cannot be.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UserError(f"{name}: {value!r} is no number of tokens.")
    tokens = int(value)
    if tokens < framed + SHORTEST:
        raise UserError(
            f"{name}: {tokens} leaves no room beside {framed} special tokens; give {framed + SHORTEST} or more."
        )
    if positions is not None and tokens > positions:
        remedy = f"give {name}: {positions} or less."
        raise UserError(f"{name}: {tokens}, but the model has positions for {positions} tokens; {remedy}")
    return tokens
