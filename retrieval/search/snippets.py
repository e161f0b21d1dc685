"""The part of a document that shows best why it was found, with the words marked that share a token with the query."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from retrieval.search.index import Hit, Match

LENGTH = 240
"""Characters of a snippet, about."""
READ = 2**15
"""So many characters of a long document are looked at, white space counted once (of at most eight times as many)."""

Piece = tuple[str, bool]
"""Text, and whether it is marked."""


def snippet(hit: Hit, tokenizer: Any, length: int = LENGTH) -> list[Piece]:
    """The passage of about `length` characters whose marked words add most to the score, as pieces in order.

    Words that are marked hold a token that the query has; what the model added itself stands in no word.
    """
    text = re.sub(r"\s+", " ", hit.document.text[: 8 * READ]).strip()[:READ]
    marks = _marks(text, hit.matches, tokenizer)
    start = _best_start(marks, len(text), length)
    stop = min(len(text), start + length)
    start, stop = _at_words(text, start, stop)
    pieces: list[Piece] = [("… ", False)] if start else []
    at = start
    for begin, end, _ in marks:
        if begin >= at and end <= stop:
            pieces += [(text[at:begin], False), (text[begin:end], True)]
            at = end
    pieces += [(text[at:stop], False)] + ([(" …", False)] if stop < len(text) else [])
    return [piece for piece in pieces if piece[0]]


def _marks(text: str, matches: Sequence[Match], tokenizer: Any) -> list[tuple[int, int, Match]]:
    """(begin, end, match) of each word with a token that counts, in order."""
    by_id = {match.id: match for match in matches}
    encoding = tokenizer(text, add_special_tokens=False, verbose=False).encodings[0]
    marks: dict[tuple[int, int], Match] = {}
    for n, token in enumerate(encoding.ids):
        if token in by_id:
            word = encoding.token_to_word(n)
            span = encoding.offsets[n] if word is None else encoding.word_to_chars(word)
            begin, end = span
            begin += len(text[begin:end]) - len(text[begin:end].lstrip())  # byte-level words begin with their space
            best = marks.get((begin, end))
            if begin < end and (best is None or by_id[token].product > best.product):
                marks[begin, end] = by_id[token]
    return [(begin, end, match) for (begin, end), match in sorted(marks.items(), key=lambda item: item[0])]


def _best_start(marks: Sequence[tuple[int, int, Match]], size: int, length: int) -> int:
    """Where the window begins in which distinct tokens add most to the score, with a little before the first."""
    best, start, ends = 0.0, 0, [end for _, end, _ in marks]
    for n, (begin, _, _) in enumerate(marks):
        stop = bisect_right(ends, begin + length * 3 // 4)
        inside = {match.id: match.product for _, _, match in marks[n:stop]}
        if sum(inside.values()) > best:
            best, start = sum(inside.values()), begin
    return max(0, min(start - length // 4, size - length))


def _at_words(text: str, start: int, stop: int) -> tuple[int, int]:
    """The same, not within a word."""
    if start and (space := text.find(" ", start, start + 30)) >= 0:
        start = space + 1
    if stop < len(text) and (space := text.rfind(" ", stop - 30, stop)) > start:
        stop = space
    return start, stop
