"""The last rung's rows with hard negatives: passages that the best model so far finds beside a query's own."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from mining.neighbours import neighbours
from retrieval.beir_data import BeirData
from retrieval.shaped import Shape, shaper_of
from retrieval.strings import Ordered
from retrieval.vectors import VectorCache
from sparse_model import SparseEncoder
from sparse_model.lexical import TrainedShare


def rows_with_negatives(
    rows: list[dict[str, Any]],
    data: BeirData,
    encoder: SparseEncoder,
    vectors: VectorCache,
    share: TrainedShare,
    count: int,
) -> Iterator[dict[str, Any]]:
    """The rows whose passages are searched and have neighbours, with at most `count` of these as negs.

    Args:
        rows: of `pairs.pseudo`. data: what is searched; negatives are of documents with rows, never of held-out ones.
        encoder: with its query weights. vectors: its, of data's texts by id descending.
    """
    order = data.doc_ids.order
    names, texts = [*Ordered(data.doc_ids, order)], [*Ordered(data.texts, order)]
    documents = np.array([data.passage_of.get(name, name) for name in names])
    place_of = {name: place for place, name in enumerate(names)}
    rows = [row for row in rows if row["passage"] in place_of]
    own = np.array([place_of[row["passage"]] for row in rows])
    places = np.flatnonzero(np.isin(documents, documents[own]))
    weights_NV, counts_NV = vectors.rows(places), encoder.count_tokens([texts[place] for place in places])
    passages_NV = shaper_of(Shape(**asdict(share)), weights_NV, counts_NV)(weights_NV, counts_NV)
    queries_QV = encoder.encode_queries([row["query"] for row in rows])
    found = neighbours(queries_QV, passages_NV, np.searchsorted(places, own), documents[places], count)
    for row, near in zip(rows, found, strict=True):
        if len(near):
            yield row | {"negs": [texts[place] for place in places[near]]}
