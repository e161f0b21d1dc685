"""Texts on their way to a tokenizer."""

import re

_HALF_PAIR = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which a JSON file can hold and no tokenizer reads."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)
