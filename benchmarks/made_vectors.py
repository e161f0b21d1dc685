"""Documents and queries of made-up weights, by laws fitted to real ones.

Vectors are synthetic, by laws fitted to splade-tiny's over trec-dl-mini (30,005 MS MARCO passages, cut to 128 tokens;
queries weighed by the corpus's IDF). The share of documents with the r-th most frequent token is
∝ (r + 0.382)^-0.435 · exp(-r / 5002); its logarithm is off by 0.07 over ranks 1 to 8000 (root mean square):

    rank       1       10      100     1000    5000    10000
    measured   0.555   0.234   0.091   0.027   0.0064  0.0016
    law        0.592   0.246   0.090   0.028   0.0062  0.0017

That is 131 terms a document; SciFact's abstracts have 248 and follow exponent 0.596, offset 20.1 and range 3215. The
weights are gamma distributed with mean 0.66 and deviation 0.56. For the tokens of queries see QUERY_RANKS. A real query
and a passage share 0.48 tokens on average; the same figure of the synthetic ones is printed.
"""

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from sparse_model.query_weights import idf

VOCABULARY = 30522
# Of 97 real queries' tokens, the share up to each rank of document frequency; uniform in log rank in between.
QUERY_RANKS = {1: 0.0, 10: 0.079, 30: 0.127, 100: 0.194, 300: 0.266, 1000: 0.408, 3000: 0.622, 10000: 0.836, 30522: 1.0}


def synthetic(n_documents: int, terms: int, n_queries: int, seed: int = 0) -> tuple[csr_matrix, csr_matrix]:
    """Documents [N, V] of about `terms` tokens, and queries [Q, V] of 6 to 12 distinct ones weighed by their IDF."""
    rng = np.random.default_rng(seed)
    documents = made_documents(rng, n_documents, shares(terms))
    df_V = np.bincount(documents.indices, minlength=VOCABULARY)
    return documents, made_queries(rng, df_V, n_documents, n_queries)


def shares(terms: int) -> np.ndarray:
    """[V] the share of documents of about so many tokens that have each, by the law."""
    ranks = np.arange(1, VOCABULARY + 1)
    law = (ranks + 0.382) ** -0.435 * np.exp(-ranks / 5002)
    return np.minimum(0.9, law * (terms / law.sum()))


def made_documents(rng: np.random.Generator, n_documents: int, share_V: np.ndarray) -> csr_matrix:
    """Document weights [N, V]."""
    positions = [_bernoulli(rng, n_documents, share) for share in share_V]
    indptr = np.concatenate([[0], np.cumsum([len(p) for p in positions])])
    indices = np.concatenate(positions)
    weights = rng.standard_gamma(1.394, len(indices), dtype=np.float32) * np.float32(0.475)
    return csc_matrix((weights, indices, indptr), shape=(n_documents, VOCABULARY)).tocsr()


def made_queries(rng: np.random.Generator, df_V: np.ndarray, n_documents: int, n_queries: int) -> csr_matrix:
    """Query weights [Q, V], IDF over documents of these frequencies."""
    lengths = rng.integers(6, 13, n_queries)
    # Drawn with spares, so that enough distinct tokens are left.
    draws = np.exp(np.interp(rng.random((n_queries, 60)), list(QUERY_RANKS.values()), np.log(list(QUERY_RANKS))))
    tokens = [list(dict.fromkeys(row))[:length] for row, length in zip(draws.astype(int) - 1, lengths, strict=True)]
    flat = np.concatenate(tokens)
    query_indptr = np.concatenate([[0], np.cumsum([len(row) for row in tokens])])
    queries = csr_matrix((idf(df_V, n_documents)[flat], flat, query_indptr), shape=(n_queries, VOCABULARY))
    return queries.sorted_indices()


def _bernoulli(rng: np.random.Generator, n: int, share: float) -> np.ndarray:
    """Each of 0 … n - 1 with the same probability, ascending, by the gaps in between."""
    expected = n * share
    gaps = rng.geometric(share, int(expected + 6 * np.sqrt(expected) + 10))
    positions = np.cumsum(gaps) - 1
    return positions[positions < n].astype(np.int32)
