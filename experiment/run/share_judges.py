"""Queries that judge a lexical share, other ones than are scored.

Those of the data set's train split that the model was not trained on; where they are too few, the first sentences of
documents, which are then mostly read without them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pairs.pseudo_queries import Passage, Rarity, drawn
from retrieval.beir_data import BeirData, judged_queries
from retrieval.row_files import read_rows
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

MOST_QUERIES, FEWEST_QUERIES = 1000, 50


@dataclass(frozen=True)
class Judges:
    """Queries with the documents that answer them."""

    source: str
    queries: list[str]
    grades: list[dict[int, int]]
    """of each query: a document's place in the corpus to its grade"""
    rest: dict[int, str]
    """what is read of a document that its query was taken from"""


def find_judges(data: BeirData, places: Mapping[str, int], training: Sequence[tuple[Path, str]]) -> Judges:
    """The judges of a data set.

    Args:
        places: of the lines of the corpus that are searched; every passage of a document answers what that answers.
        training: the files of the rows that the model was trained on, as far as that is known, and where each has its
            queries.
    """
    found: list[tuple[str, dict[int, int]]] = []
    of_document: dict[str, list[int]] = {}
    for line, place in places.items():
        of_document.setdefault(data.passage_of.get(line, line), []).append(place)
    try:
        queries, qrels = judged_queries(data.folder, "train")
        seen = {*data.queries, *(query for path, column in training for query in read_rows(path)[column])}
        for qid in (qid for qid, text in queries.items() if text and text not in seen and qid in qrels):
            grades = {place: grade for doc, grade in qrels[qid].items() for place in of_document.get(doc, [])}
            if any(grade > 0 for grade in grades.values()):
                found.append((queries[qid], grades))
    except UserError as error:
        logger.info("%s: no training queries judge a lexical share: %s", data.name, error)
    if len(found) >= FEWEST_QUERIES:
        source = "queries of the train split" + (" that were not trained on" if training else "")
        found = _spread(found)
        return Judges(source, [query for query, _ in found], [grades for _, grades in found], {})
    texts = dict(zip(data.doc_ids, data.texts, strict=True))
    passages = [(place, Passage(doc, doc, title="", heading="", text=texts[doc])) for doc, place in places.items()]
    drew = ((place, drawn("first_sentences", passage, seed="", rarity=Rarity())) for place, passage in passages)
    made = _spread([(place, query.text, answer.whole) for place, found in drew if found for query, answer in [found]])
    rest = {place: text for place, _, text in made}
    return Judges("first sentences", [query for _, query, _ in made], [{place: 1} for place in rest], rest)


def _spread(items: list[Any]) -> list[Any]:
    """MOST_QUERIES of them, or all."""
    return [items[int(i)] for i in np.linspace(0, len(items) - 1, min(MOST_QUERIES, len(items)))]
