"""What the Python API takes where it asks for texts."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

from sparse_model.errors import UserError


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts of a list, an array, a generator, …, as a list.

    Raises:
        UserError: for one text in place of several, for what has no order, and for an entry that is no string.
    """
    require_several(texts)
    found: list[Any] = list(texts)
    for position, text in enumerate(found):
        if not isinstance(text, str):
            raise UserError(
                f"text {position} is a {type(text).__name__}, not a string: {str(text)[:60]}. Leave it out, or make a "
                "text of it."
            )
    return [str(text) for text in found]  # numpy has a string type of its own


def require_several(texts: Any) -> None:
    """UserError for one text in place of several, and for what has no order; the texts are not looked at yet."""
    one = isinstance(texts, (str, bytes)) or getattr(texts, "ndim", 1) == 0
    if one or isinstance(texts, (Mapping, Set)) or not isinstance(texts, Iterable):
        raise UserError(f"a list of texts is needed, not a {type(texts).__name__}; of one text, a list of it: [text].")
