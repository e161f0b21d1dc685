"""Texts that programs disagree on, if on any."""

from pathlib import Path

from sparse_model.errors import UserError

_WORDS = "river stone light paper engine winter garden signal copper harbour market letter"

TEXTS = (
    "Aspirin inhibits the synthesis of prostaglandins.",
    "What is the weather like in New York today?",
    "",
    " \t\n ",
    "?!,;:-()",
    ".",
    "...",
    "e.g. 3.14, v2.0.1, U.S.A. and file.tar.gz",
    " ".join(_WORDS.split() * 834),
    "😀 👩‍👩‍👧 🇫🇷 thumbs 👍🏽 up",
    "مرحبا بالعالم",
    "שלום עולם, mixed with English",
    "日本語のテキスト 中文 한국어",
    "naïve café Ünïcödé ﬁ ½ ①",
    "a literal [SEP] and [CLS] [MASK] [PAD] [UNK] </s> <s> <pad> <mask>",
    "null\x00 bell\x07 escape\x1b[31m delete\x7f soft\u00adhyphen zero\u200bwidth \ufeffmark",
    "UPPER CASE TEXT ABOUT NASA AND THE WHO",
    "upper case text about nasa and the who",
    "donaudampfschifffahrtsgesellschaftskapitän" * 4,
    "x" * 300,
    "line one\nline two\r\nline three\ttabbed",
    "  leading and trailing spaces  ",
    "the the the the the",
)
"""a sentence, no words, punctuation, dots, 10,000 words, emoji, right to left, special tokens, control characters, …"""


def read_texts(path: Path) -> list[str]:
    """The lines of a file; an empty line is an empty text.

    Raises:
        UserError: if it holds no text that can be read.
    """
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"--texts {path} cannot be read: {error}") from None
    if not texts:
        raise UserError(f"--texts {path} holds no line.")
    return texts
