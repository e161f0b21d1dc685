"""Repair of texts that were encoded twice: UTF-8 once read as Latin-1 or Windows-1252 ("itâ€™s" for "it’s").

MS MARCO has many such passages. ftfy decides what they were meant to be; it is asked only about texts that hold what
a character of several bytes looks like after such a reading, so that millions of clean texts cost little.
"""

import re

from ftfy import fix_encoding

# A first byte (C2 to F4) and a following one (80 to BF), as Latin-1 or Windows-1252 shows them.
_SUSPICIOUS = re.compile("[\u00c2-\u00f4][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")


def repair(text: str) -> str:
    """The text, mended if it is damaged."""
    return fix_encoding(text) if not text.isascii() and _SUSPICIOUS.search(text) else text
