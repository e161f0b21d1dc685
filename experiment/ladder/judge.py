"""What a rung gives: NDCG@10 of each held-out query at each length, and whether that is better than before."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from retrieval.beir_data import BeirData
from retrieval.bm25 import score_bm25
from retrieval.distributed import broadcast, on_main
from retrieval.files import read_json, write_json
from retrieval.fingerprint import hash_of
from retrieval.metrics import PRIMARY
from retrieval.passages import Passages
from retrieval.score_dataset import DatasetScores, score_dataset
from retrieval.shaped import Shape
from retrieval.significance import Comparison, compare
from retrieval.strings import Ordered
from retrieval.vectors import VectorCache
from sparse_model import SparseEncoder
from sparse_model.lexical import TrainedShare
from sparse_model.pruning import Cut

LEVEL = 0.05
TOLERATED = 0.005
"""So much of its NDCG@10 a rung may lose at one length if it wins over all of them together."""


@dataclass(frozen=True)
class Judged:
    """NDCG@10 [L, Q] of each held-out query at each length, and the tokens a document has then [L]."""

    ndcg_LQ: np.ndarray
    d_length_L: list[float]

    @property
    def mean_L(self) -> np.ndarray:
        """NDCG@10 at each length."""
        return self.ndcg_LQ.mean(axis=1)


@dataclass(frozen=True)
class Verdict:
    """Whether a rung is kept, the comparison that says so, and why in a sentence."""

    kept: bool
    result: Comparison
    p: float
    why: str


def verdict(
    new: Judged, old: Judged, lengths: Sequence[int | None], documents_Q: np.ndarray, tries: int = 1
) -> Verdict:
    """Kept: a query's mean over the lengths rises (paired t-test, p < LEVEL), and no length loses above TOLERATED.

    Queries of one document are no evidence each on its own: what is tested is the sum over a document's queries, over
    how many a document has on average, whose mean is the queries'.

    Args:
        documents_Q: the number of the document that each query asks for.
        tries: among so many the new one was chosen by the same queries; p is multiplied by it (Bonferroni).
    """
    gain_L = new.mean_L - old.mean_L
    sums = np.bincount(documents_Q, (new.ndcg_LQ - old.ndcg_LQ).mean(axis=0))
    result = compare([sums * len(sums) / len(documents_Q)])
    if result is None:
        raise ValueError("queries of at least two documents are needed")
    p = min(1.0, result.p * tries)
    lost = [
        f"{gain:+.4f} at {named(length)}" for length, gain in zip(lengths, gain_L, strict=True) if gain < -TOLERATED
    ]
    if result.mean <= 0:
        return Verdict(False, result, p, "not better than before")
    if p >= LEVEL:
        return Verdict(False, result, p, "not told apart from chance")
    if lost:
        return Verdict(False, result, p, f"loses too much: {', '.join(lost)}")
    return Verdict(True, result, p, "better")


def named(length: int | None) -> str:
    """A length for people."""
    return "all" if length is None else str(length)


class Judge:
    """Scores models on the held-out queries; what was scored once stays in a folder.

    Args:
        data: the held-out queries and the corpus that they are asked of.
        folder: where figures and vectors are kept.
    """

    def __init__(
        self, data: BeirData, lengths: Sequence[int | None], folder: Path, passages: Passages, batch_size: int
    ) -> None:
        self.data, self.lengths, self._folder = data, list(lengths), folder
        self._passages, self._batch_size = passages, batch_size
        _, self._documents_Q = np.unique([min(data.qrels[name]) for name in data.query_ids], return_inverse=True)

    def verdict(self, new: Judged, old: Judged, tries: int = 1) -> Verdict:
        """See `verdict`."""
        return verdict(new, old, self.lengths, self._documents_Q, tries)

    def bm25(self, language: str | None = "english") -> Judged:
        """BM25 of a language, the same at every length."""
        score = lambda _: score_bm25(self.data, 100, passages=self._passages, language=language)  # noqa: E731
        return self._kept("bm25", [language], lambda: self._each(score))

    def model(
        self, label: str, files: str, encoder: Callable[[], SparseEncoder], table_V: Tensor, share: TrainedShare
    ) -> Judged:
        """A model with these query weights and this lexical share.

        Args:
            label: a plain file name. files: a hash of the model. encoder: loads it, if it is needed.
        """

        def score() -> Judged:
            model = encoder()
            model.use_idf(table_V)
            return self._each(lambda length: self._scored(model, files, Shape(Cut(length), **asdict(share))))

        return self._kept(label, [files, hash_of(table_V.tolist()), asdict(share)], score)

    def vectors(self, files: str) -> Path:
        """Where the corpus' vectors of a model are kept; files: a hash of the model."""
        return self._folder / f"vectors-{hash_of([self.data.fingerprint, files])}"

    def vector_cache(self, files: str, encoder: SparseEncoder) -> VectorCache:
        """All of them, by id descending. To be called in every process."""
        texts = Ordered(self.data.texts, self.data.doc_ids.order)
        encode = lambda lists, progress: encoder.encode_blocks(lists, self._batch_size, progress)  # noqa: E731
        vectors = VectorCache(self.vectors(files), texts, encode)
        vectors.ensure(np.arange(len(texts)))
        return vectors

    def _scored(self, model: SparseEncoder, files: str, shape: Shape) -> DatasetScores:
        return score_dataset(
            model,
            self.data,
            top_k=100,
            batch_size=self._batch_size,
            metrics=("nDCG@10",),
            vectors_folder=self.vectors(files),
            shape=shape,
            passages=self._passages,
        )

    def _each(self, score: Callable[[int | None], DatasetScores]) -> Judged:
        found = [score(length) for length in self.lengths]
        values = broadcast([[row[PRIMARY] for row in scores.per_query.values()] for scores in found])
        return Judged(np.array(values), [float(scores.figures["d_length"]) for scores in found])

    def _kept(self, label: str, made_of: list, score: Callable[[], Judged]) -> Judged:
        path = self._folder / f"{label}.json"
        facts = hash_of([self.data.fingerprint, self.lengths, self._passages, *made_of])
        stored = on_main(lambda: read_json(path))
        if stored.get("made of") != facts:
            judged = score()
            stored = {"made of": facts, "d_length": judged.d_length_L, "ndcg@10": judged.ndcg_LQ.tolist()}
            on_main(lambda: write_json(path, stored))
        return Judged(np.array(stored["ndcg@10"]), list(stored["d_length"]))
