"""Queries made of passages alone: what a passage could be asked for, and the passage without what gives it away.

Inverse cloze (a sentence asks for the passage that it is taken from, which mostly loses it): Lee, Chang and Toutanova
2019, arXiv 1906.00300; spans: Gao and Callan 2022, arXiv 2108.05540, and Izacard et al. 2022, arXiv 2112.09118.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mining.documents.passages import SENTENCE_END

WORD = re.compile(r"[^\W_]*[^\W\d_][^\W_]+")
SENTENCE_WORDS = range(4, 41)
SPAN_WORDS = range(3, 9)
KEYWORDS = range(2, 6)
LEFT = 10
"""Words that a passage keeps at least."""
KEPT = 0.1
"""The share of queries whose passage stays whole, so that words that both have count, too."""
COMMON = 0.2
"""A word in more than this share of the passages is no keyword."""


@dataclass(frozen=True)
class Passage:
    """A line of a corpus; `document` is what it is a part of, or itself."""

    name: str
    document: str
    title: str
    heading: str
    text: str

    @property
    def whole(self) -> str:
        """As it is read: title and text."""
        return f"{self.title} {self.text}".strip()

    def without(self, gone: str) -> "Passage":
        """Without these words: as its title, and wherever they stand in its text."""
        if not gone:
            return self
        text = " ".join(part.strip() for part in self.text.split(gone)).strip()
        return replace(self, title="" if self.title == gone else self.title, text=text)


@dataclass(frozen=True)
class Query:
    """What a passage is asked by, and what it loses for it ("": nothing)."""

    text: str
    gone: str = ""


class Rarity:
    """In how many passages of a corpus each word stands; and, where there is a query log, what is asked for there.

    Args:
        log: queries that people asked. Spans and keywords become as long as they are, and a word that stands in n of
            them is drawn as a keyword 1 + n times as often.
    """

    def __init__(self, log: Sequence[str] = ()) -> None:
        self.df: Counter[str] = Counter()
        self.passages = 0
        lengths = sorted(length for query in log if (length := len(query.split())))
        self.span_words: Sequence[int] = [max(length, 2) for length in lengths] or SPAN_WORDS
        self.keywords: Sequence[int] = lengths or KEYWORDS
        self.asked = Counter(word for query in log for word in {*_words(query)})

    def add(self, text: str) -> None:
        """Count a passage."""
        self.df.update({*_words(text)})
        self.passages += 1

    def idf(self, word: str) -> float:
        """ln(N/df); 0 for what is too common to ask by."""
        df = max(self.df[word], 1)
        return math.log(self.passages / df) if df <= max(COMMON * self.passages, 1) else 0.0


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _sentences(text: str) -> list[str]:
    """As they stand in the text, white space between them left out."""
    return [part for part in SENTENCE_END.split(text) if part and part.strip()]


def _asks(words: str, lengths: range) -> bool:
    return len(words.split()) in lengths and WORD.search(words) is not None


def _title(passage: Passage, draw: random.Random, rarity: Rarity) -> Query | None:
    return Query(passage.title, passage.title) if _asks(passage.title, range(1, 41)) else None


def _heading(passage: Passage, draw: random.Random, rarity: Rarity) -> Query | None:
    return Query(passage.heading, passage.heading) if _asks(passage.heading, range(1, 41)) else None


def _first_sentence(passage: Passage, draw: random.Random, rarity: Rarity) -> Query | None:
    fit = [part for part in _sentences(passage.text) if _asks(part, SENTENCE_WORDS)]
    return Query(fit[0], fit[0]) if fit else None


def _cloze(passage: Passage, draw: random.Random, rarity: Rarity) -> Query | None:
    fit = [part for part in _sentences(passage.text) if _asks(part, SENTENCE_WORDS)]
    if not fit:
        return None
    sentence = draw.choice(fit)
    return Query(sentence, sentence)


def _span(passage: Passage, draw: random.Random, rarity: Rarity) -> Query | None:
    words = passage.text.split()
    length = draw.choice(rarity.span_words)
    start = draw.randrange(max(len(words) - length, 0) + 1)
    span = " ".join(words[start : start + length])
    return Query(span) if _asks(span, range(2, len(words) + 1)) else None


def _keywords(passage: Passage, draw: random.Random, rarity: Rarity) -> Query | None:
    """Distinct words, drawn one after another in proportion to how often they stand there × their IDF."""
    counts = Counter(_words(passage.whole))
    left = {
        word: tf * idf * (1 + rarity.asked[word])
        for word, tf in sorted(counts.items())
        if (idf := rarity.idf(word)) > 0
    }
    chosen: list[str] = []
    for _ in range(min(draw.choice(rarity.keywords), len(left))):
        chosen += draw.choices(list(left), list(left.values()))
        del left[chosen[-1]]
    return Query(" ".join(chosen)) if chosen else None


KINDS: Mapping[str, Callable[[Passage, random.Random, Rarity], Query | None]] = {
    "titles": _title,
    "headings": _heading,
    "first_sentences": _first_sentence,
    "cloze": _cloze,
    "spans": _span,
    "keywords": _keywords,
}
LEAVE_WHOLE = ("spans", "keywords")
"""Kinds that take nothing away."""


def drawn(kind: str, passage: Passage, seed: str, rarity: Rarity) -> tuple[Query, Passage] | None:
    """A query of a kind and the passage as it answers it; None where the passage gives none.

    The same passage, kind and seed draw the same query, whatever else the corpus holds (keywords: its IDF apart).
    """
    draw = random.Random(f"{seed}:{kind}:{passage.name}")
    query = KINDS[kind](passage, draw, rarity)
    if query is None:
        return None
    if draw.random() < KEPT:
        query = replace(query, gone="")
    answer = passage.without(query.gone)
    if len(answer.whole.split()) < LEFT:
        return None
    return replace(query, text=" ".join(query.text.split())), answer


def several(
    kinds: list[str], passages: list[Passage], count: int, seed: str, rarity: Rarity
) -> list[tuple[str, Passage, Query]]:
    """At most `count` queries of a document with their kinds and passages, each of another kind, drawn for it.

    Every one leaves the others to be answered: what takes words away comes first, and the others are drawn of the rest.
    """
    draw = random.Random(f"{seed}:{passages[0].document}")
    order = dict.fromkeys(draw.sample(kinds, len(kinds)))
    places = {kind: draw.randrange(len(passages)) for kind in order}
    chosen = [kind for kind, place in places.items() if drawn(kind, passages[place], seed, rarity)][:count]
    found = []
    for kind in sorted(chosen, key=LEAVE_WHOLE.__contains__):
        if made := drawn(kind, passages[places[kind]], seed, rarity):
            found.append((kind, passages[places[kind]], made[0]))
            passages = [passage.without(made[0].gone) for passage in passages]
    return found
