"""Long documents cut into passages: at headings where they are, else at the ends of sentences."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from mining.documents.markup import Section
from mining.documents.read import Document

# A character of a script that puts no spaces between words counts as one.
_NO_SPACES = "\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{_NO_SPACES}]|[^\s{_NO_SPACES}]+")
# A full stop before white space and what may begin a sentence, but not after a single capital or a usual abbreviation.
SENTENCE_END = re.compile(
    r"(?<!\b[A-Z]\.)(?<!e\.g\.)(?<!i\.e\.)(?<!vs\.)(?<=[.!?])\s+(?=[^a-z\s])|(?<=[。！？])|\s*\n\s*"
)


class Passage(NamedTuple):
    """A part of a document: the heading above its beginning ("" where there is none) and its text."""

    heading: str
    text: str


def count_words(text: str) -> int:
    """Words between spaces; of scripts without spaces, characters."""
    return sum(1 for _ in WORD.finditer(text))


def sentences(text: str) -> list[str]:
    """The sentences of a text, white space folded; a line that ends ends one."""
    return [" ".join(part.split()) for part in SENTENCE_END.split(text) if part and part.strip()]


def passages(document: Document, words: int | None, overlap: int) -> list[Passage]:
    """The document's passages of at most so many words, in its order; one that is short enough stays as it is.

    Sections that fit into one passage stay together; a longer one is cut at the ends of sentences, a longer sentence
    between words. A heading stands in the text of the passage that its section begins in.

    Args:
        words: None: nothing is cut.
        overlap: words of a section that stand in two passages, as far as whole sentences allow; below `words`.
    """
    headings = [section.heading for section in document.sections if section.heading]
    if words is None or count_words(document.text) <= words:
        return [Passage(headings[0] if headings else "", document.text)]
    found: list[Passage] = []
    together: list[Section] = []
    for section in document.sections:
        if together and _length(*together, section) > words:
            found.append(_joined(together))
            together = []
        if _length(section) > words:
            found += (Passage(section.heading, text) for text in _cut(section, words, overlap))
        else:
            together.append(section)
    return found + ([_joined(together)] if together else [])


def _length(*sections: Section) -> int:
    return sum(count_words(part) for section in sections for part in section)


def _joined(sections: list[Section]) -> Passage:
    text = "\n".join(" ".join(part.split()) for section in sections for part in section if part)
    return Passage(next((section.heading for section in sections if section.heading), ""), text)


def _cut(section: Section, words: int, overlap: int) -> Iterator[str]:
    """The texts of a section that is longer than a passage."""
    current: list[str] = []
    pieces = [piece for sentence in sentences("\n".join(section)) for piece in _short(sentence, words)]
    fresh = 0
    for piece in pieces:
        if fresh and sum(map(count_words, [*current, piece])) > words:
            yield " ".join(current)
            current, fresh = _last(current, min(overlap, words - count_words(piece))), 0
        current.append(piece)
        fresh += 1
    yield " ".join(current)


def _short(sentence: str, words: int) -> Iterator[str]:
    """The sentence, or pieces of it of at most so many words."""
    starts = [found.start() for found in WORD.finditer(sentence)][::words]
    for start, stop in zip(starts, [*starts[1:], len(sentence)], strict=True):
        yield sentence[start:stop].strip()


def _last(pieces: list[str], words: int) -> list[str]:
    """The last pieces that have at most so many words together."""
    kept: list[str] = []
    for piece in reversed(pieces):
        if sum(map(count_words, [*kept, piece])) > words:
            break
        kept.insert(0, piece)
    return kept
