"""How far documents lie from the texts that a model's query weights were counted on."""

import numpy as np
from scipy.spatial.distance import jensenshannon

COMMON = 200
"""Tokens that texts have whatever they are about. Rarer ones tell topics apart, of which documents may have few."""
DRAWS = 5
"""Samples that say what chance alone makes of as many occurrences."""


def shift(source_V: np.ndarray, documents_V: np.ndarray, n_documents: int) -> float:
    """Jensen-Shannon divergence in bits of two corpora's document frequencies, less what chance makes of it.

    Of the COMMON tokens that most texts of the source have. Frequencies are read off IDF tables, ln((N + 1) / (df +
    0.5)), as shares of all pairs of a document and a token. A few documents are apart from any corpus, even their own:
    the same divergence of samples of the source, with as many pairs, is what that is worth.

    Args:
        source_V: [V] the IDF of the texts behind the query weights, of however many; 0, or 1 as tables give it to what
            was never seen: left out.
        documents_V: [V] the documents' own IDF. n_documents: how many they are.

    Returns:
        about 0 for documents of the source, up to 1 where the tables share no token.
    """
    known = np.flatnonzero((source_V != 0) & (source_V != 1) & (documents_V != 0))
    common = known[np.argsort(source_V[known], kind="stable")[:COMMON]]
    source = np.exp(-source_V[common].astype(np.float64))
    pairs = np.maximum(np.rint((n_documents + 1) * np.exp(-documents_V[common].astype(np.float64)) - 0.5), 0)
    if not source.any() or not pairs.any():
        return 1.0
    samples = np.random.default_rng(0).multinomial(int(pairs.sum()), source / source.sum(), DRAWS)
    chance = np.mean([_divergence(source, sample) for sample in samples])
    return max(0.0, float(_divergence(source, pairs) - chance))


def _divergence(one: np.ndarray, other: np.ndarray) -> float:
    return float(jensenshannon(one, other, base=2) ** 2)
