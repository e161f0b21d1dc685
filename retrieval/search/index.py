"""A search index on the disk: opened at once, searched without a model, each hit explained.

    index.json          the model, what the corpus was, the parts; written last, it makes the rest count
    query/              the tokenizer, and weights.safetensors, the query table (siamese models: none)
    shape.safetensors   what the corpus told about itself (see `retrieval.shaped.Shaper`)
    parts/N/            documents that were indexed together (see `retrieval.search.part`)

>>> from retrieval.search.index import SearchIndex
>>> [(hit.document.id, hit.score) for hit in SearchIndex("output/search/x").search("does aspirin help", 10)]
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retrieval.arrays import read_arrays
from retrieval.files import read_json
from retrieval.search.part import Document, Part
from sparse_model.errors import UserError
from sparse_model.layout import load_tokenizer
from sparse_model.prompts import Prompts
from sparse_model.tokens import query_ids

RECORD, QUERY, TABLE, SHAPE, PARTS = "index.json", "query", "weights.safetensors", "shape.safetensors", "parts"
FORMAT = 1
KEYS = {"checkpoint", "siamese", "made_of", "corpus", "documents", "passages", "parts"}
MOST = 10_000
"""Hits that can be asked for."""
PASSAGES_A_DOCUMENT = 5


@dataclass(frozen=True)
class Match:
    """A token that a query and a document share."""

    id: int
    token: str
    query_weight: float
    document_weight: float

    @property
    def product(self) -> float:
        """What it adds to the score."""
        return self.query_weight * self.document_weight


@dataclass(frozen=True)
class Hit:
    """A document that was found, with what it scores by, largest product first."""

    document: Document
    score: float
    matches: list[Match]


class SearchIndex:
    """The index in a folder.

    Args:
        encode: the query [1, V] of a text, for models whose queries need one; None: the table's.

    Raises:
        UserError: if there is no whole index, or its queries need a model and no `encode` is given.
    """

    def __init__(self, folder: Path | str, encode: Callable[[str], csr_matrix] | None = None) -> None:
        self.folder = Path(folder)
        self.record = record_of(self.folder)
        if not self.record:
            raise UserError(f"{folder} holds no search index; give a corpus, or the folder of an index.")
        self.tokenizer = load_tokenizer(str(self.folder / QUERY), "index")
        self._encode = encode
        if not encode and self.record["siamese"]:
            raise UserError(
                f"{folder}: its queries go through a model; name the checkpoint {self.record['checkpoint']}."
            )
        self.parts = open_parts(self.folder, self.record)

    def __len__(self) -> int:
        return sum(len(part) - len(part.removed) for part in self.parts)

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """The best k documents, best first; of a document that was cut into passages its best one.

        Raises:
            UserError: k is not between 1 and MOST.
        """
        check_k(k)
        vector = self.encode(query)
        depth = min(MOST, k * PASSAGES_A_DOCUMENT) if self.record["passages"] else k
        found = [
            (-score, n, position) for n, part in enumerate(self.parts) for score, position in part.best(vector, depth)
        ]
        hits: dict[str, Hit] = {}
        for negative, n, position in sorted(found):
            document = self.parts[n].document(position)
            if (name := document.parent or document.id) not in hits:
                hits[name] = Hit(document, -negative, self._matches(vector, self.parts[n], position))
            if len(hits) == k:
                break
        return list(hits.values())

    def encode(self, query: str) -> csr_matrix:
        """The query's weights [1, V], float32."""
        if self._encode:
            return self._encode(query)
        prompts = Prompts(query=self.record.get("query_prompt", ""))  # an older index says none
        [ids] = query_ids(self.tokenizer, prompts.before("query", [query]))
        kept = np.array([i for i in ids if self._table[i] > 0], dtype=np.int64)
        return csr_matrix((self._table[kept], kept, [0, len(kept)]), shape=(1, len(self._table)))

    @cached_property
    def _table(self) -> np.ndarray:
        arrays = read_arrays(self.folder / QUERY / TABLE)
        if arrays is None:
            raise UserError(
                f"{self.folder / QUERY / TABLE} is damaged; remove {self.folder}, and build the index again."
            )
        return arrays["weight"]

    def _matches(self, vector: csr_matrix, part: Part, position: int) -> list[Match]:
        weights = part.index.weights_of(position, vector.indices)
        tokens = self.tokenizer.convert_ids_to_tokens(vector.indices.tolist())
        rows = zip(vector.indices.tolist(), tokens, vector.data.tolist(), weights.tolist(), strict=True)
        return sorted((Match(*row) for row in rows if row[3] > 0), key=lambda match: (-match.product, match.id))


def check_k(k: int) -> None:
    """UserError if so many hits cannot be asked for."""
    if not 1 <= k <= MOST:
        raise UserError(f"k: {k}; from 1 to {MOST}.")


def record_of(folder: Path) -> dict[str, Any]:
    """What an index says of itself; {}: there is none.

    Raises:
        UserError: if it was written by a later version, or is damaged.
    """
    record = read_json(folder / RECORD)
    if record and record.get("format") != FORMAT:
        raise UserError(f"{folder / RECORD}: format {record.get('format')} is not read here; build the index again.")
    if record and not record.keys() >= KEYS:
        raise UserError(f"{folder / RECORD} is damaged; remove {folder}, and build the index again.")
    return record


def open_parts(folder: Path, record: dict[str, Any]) -> list[Part]:
    """The parts that a record lists."""
    return [Part(folder / PARTS / part["name"], np.array(part["removed"], np.int64)) for part in record["parts"]]
