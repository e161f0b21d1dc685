"""How vectors lie in an index, and how a query asks for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retrieval.opensearch.features import clause, feature_names, sum_of_features

FIELD = "text_sparse"

Query = dict[str, Any]

NO_RANK_FEATURES = "The server does not know rank_features; install its module mapper-extras on every node."


def _features(field: str, names: Sequence[str], tokens: np.ndarray, weights: np.ndarray, hits: int) -> Query:
    return sum_of_features(field, names, tokens, weights)


@dataclass(frozen=True)
class Layout:
    """One way.

    Args:
        mapping: of the field that holds vectors; settings: of the index; keys, settings of `index` itself.
        names: of V tokens in the field.
        query: (field, names, tokens, weights, hits) → what scores by Σ weight × the document's.
        countable: whether `one_token` finds every document with a token.
        needs: what to tell a user whose server does not know the mapping.
        field: its name.
        texts: fields that are analysed beside it; given any, documents keep all they say but their vectors.
    """

    mapping: Mapping[str, Any] = field(default_factory=lambda: {"type": "rank_features"})
    settings: Mapping[str, Any] = field(default_factory=dict)
    names: Callable[[Sequence[str | None]], list[str]] = feature_names
    query: Callable[[str, Sequence[str], np.ndarray, np.ndarray, int], Query] = _features
    countable: bool = True
    needs: str = NO_RANK_FEATURES
    field: str = FIELD
    texts: Sequence[str] = ()

    def mappings(self) -> dict[str, Any]:
        """Of the index."""
        properties = {self.field: self.mapping, "block": {"type": "integer", "index": False}}
        if not self.texts:
            return {"dynamic": "strict", "_source": {"enabled": False}, "properties": properties}
        texts = {name: {"type": "text"} for name in self.texts}
        # What else a document says is kept as it is, whatever it is.
        return {
            "dynamic": "false",
            "_source": {"excludes": [self.field, "block"]},
            "properties": {**properties, **texts},
        }

    def one_token(self, name: str) -> Query:
        """What finds every document with a token."""
        return clause(self.field, name, 1.0)


LAYOUT = Layout()
"""rank_features: exact."""
