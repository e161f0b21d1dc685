"""How far a program's vectors are from ours: of weights, of scores, and whether rankings agree."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags

from sparse_model.encoder import SparseEncoder
from sparse_model.tokens import count_longer
from sparse_model.vocabulary import silent_ids


class Encoded(NamedTuple):
    """Vectors [N, V] of the same texts as documents and as queries."""

    documents: csr_matrix
    queries: csr_matrix


class Difference(NamedTuple):
    """Of a program's vectors from ours."""

    weights: float
    """the largest of a weight in a document or query"""
    scores: float
    """the largest of a score, as a share of the largest score where that is above 1"""
    rankings: bool
    """whether every query ranks the documents alike: none passes another whose score is higher by more than `scores`"""

    def within(self, bound: float, of_scores: float | None = None) -> bool:
        """Whether it is none that matters; of_scores: the bound of scores, where it is another than weights' one."""
        return bool(self.weights <= bound and self.scores <= (of_scores or bound) and self.rankings)


class Comparison:
    """Texts with our vectors of them, for others to be held against.

    Left out is what is known to differ: a document without a token, which is the empty vector here and what the special
    tokens say elsewhere; texts of nothing but spaces, which get no prompt here, where there are prompts; weights of
    special ids, which others' models may give; queries beyond the length at which a program cuts them; documents with
    spaces around where a program takes those off.
    """

    def __init__(self, encoder: SparseEncoder, texts: list[str]) -> None:
        self.texts = texts
        self.ours = Encoded(encoder.encode_documents(texts), encoder.encode_queries(texts))
        room = encoder.max_seq_length - encoder.tokenizer.num_special_tokens_to_add()
        self.has_text = _has_text(encoder, encoder.tokenize_documents(texts))
        asked = encoder.prompts.before("query", texts)
        self.is_short = np.array([not count_longer(encoder.tokenizer, [text], room) for text in asked])
        # Whatever a table makes of a query is alike everywhere.
        self.has_query = encoder.inf_free | _has_text(encoder.query_side, encoder.tokenize_queries(texts))
        if encoder.prompts:
            says_something = np.array([bool(text.strip()) for text in texts])
            self.has_text, self.has_query = self.has_text & says_something, self.has_query & says_something
        self.is_tight = np.array([text == text.strip() for text in texts])
        self.spoken = _spoken(encoder), _spoken(encoder.query_side)

    def difference(self, theirs: Encoded, bound: float, cuts_queries: bool = False, strips: bool = False) -> Difference:
        """How far another program's vectors are from ours; scores within `bound` of each other are ties."""
        read = self.has_text & (self.is_tight | (not strips))
        asked = self.has_query & (self.is_short | (not cuts_queries))
        of_documents, of_queries = self.spoken
        pairs = [
            Encoded((part.documents @ of_documents)[read], (part.queries @ of_queries)[asked])
            for part in (theirs, self.ours)
        ]
        weights = max(_largest(a - b) for a, b in zip(*pairs, strict=True))
        their_scores, our_scores = ((part.queries @ part.documents.T).toarray() for part in pairs)
        unit = max(1.0, float(np.abs(our_scores).max(initial=0.0)))
        scores = float(np.abs(their_scores - our_scores).max(initial=0.0)) / unit
        return Difference(weights, scores, _rank_alike(their_scores, our_scores, 2 * bound * unit))


def _has_text(encoder: SparseEncoder, rows: list[list[int]]) -> np.ndarray:
    frame = set(encoder.frame_ids.tolist())  # type: ignore[operator,union-attr]
    return np.array([not frame.issuperset(row) for row in rows])


def _spoken(encoder: SparseEncoder) -> csr_matrix:
    """[V, V] that leaves special ids out."""
    spoken_V = np.ones(encoder.vocabulary_size, np.float32)
    spoken_V[silent_ids(encoder.tokenizer, encoder.vocabulary_size)] = 0
    return diags(spoken_V, format="csr")


def _largest(matrix: csr_matrix) -> float:
    values = np.abs(matrix.data)
    return float(values.max(initial=0.0)) if np.isfinite(values).all() else float("inf")


def _rank_alike(theirs_QN: np.ndarray, ours_QN: np.ndarray, tie: float) -> bool:
    """Whether our scores, in the order of theirs, never rise by more than a tie."""
    in_their_order = np.take_along_axis(ours_QN, np.argsort(-theirs_QN, axis=1, kind="stable"), axis=1)
    lowest_before = np.minimum.accumulate(in_their_order, axis=1)
    return bool((in_their_order - lowest_before <= tie).all())
