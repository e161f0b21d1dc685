"""Rankings of documents from those of their passages, as `mining.documents` cuts them."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, TypeAlias

from retrieval.beir_data import BeirData

Passages: TypeAlias = Literal["best", "sum"]
"""A document's score: its best passage's (MaxP, Dai and Callan 2019, arXiv 1905.09217), or the sum over those found."""

MOST_HITS = 10_000
"""Passages that a query finds at most: what OpenSearch returns at most, too."""


def depth(data: BeirData, top_k: int) -> int:
    """Hits to search for, so that so many documents are among them and one more (the query's own may be left out)."""
    if not data.passage_of:
        return top_k + 1
    longest = max(Counter(data.passage_of.values()).values())
    return max(top_k + 1, min((top_k + 1) * longest, MOST_HITS))


def by_document(hits: Iterable[tuple[str, float]], data: BeirData, passages: Passages) -> list[tuple[str, float]]:
    """(document, score) of (passage, score), best first; equal scores by id, descending."""
    scores: dict[str, float] = {}
    for passage, score in hits:
        document = data.passage_of.get(passage, passage)
        if document not in scores:
            scores[document] = score
        elif passages == "sum":
            scores[document] += score
        else:
            scores[document] = max(scores[document], score)
    return sorted(scores.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)
