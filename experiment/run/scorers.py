"""What scores a data set in an evaluation: a model with a search engine, or BM25."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiment.run.engines import MakeEngine, check_engine, open_engines, tokens_of
from experiment.run.kept_vectors import kept_vectors
from experiment.run.models import Chosen, query_weights, said_by
from experiment.settings.engine_rules import keeps_index
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys
from retrieval.asked import AskedShape
from retrieval.beir_data import BeirData
from retrieval.distributed import is_main, on_main
from retrieval.fingerprint import corpus_hash
from retrieval.score_dataset import DatasetScores, score_dataset
from retrieval.shaped import Shape
from sparse_model.pruning import Cut

if TYPE_CHECKING:
    from sparse_model import SparseEncoder


logger = logging.getLogger(__name__)

AUTO = "auto"  # of lexical_share


class Scorer(Protocol):
    """Scores data sets; entered in every process, and left when the last is scored."""

    def load(self) -> None:
        """See now that it can score, and raise what a user can mend."""
        ...

    def score(self, data: BeirData) -> DatasetScores:
        """The scores of a data set."""
        ...

    @property
    def model_says(self) -> dict[str, Any]:
        """Keys of the model with the values that really count; {} as long as no model was needed."""
        ...

    @property
    def query_weights(self) -> str | None:
        """Where queries get their weights from, in words; None without a model."""
        ...

    def __enter__(self) -> "Scorer": ...

    def __exit__(self, *error: Any) -> None: ...


class Bm25Scorer:
    """The baseline."""

    model_says: dict[str, Any] = {}
    query_weights = None

    def __init__(self, evaluation: EvaluationKeys) -> None:
        self._keys = evaluation

    def load(self) -> None:
        """See `Scorer.load`."""

    def score(self, data: BeirData) -> DatasetScores:
        """See `Scorer.score`."""
        from retrieval.bm25 import score_bm25

        keys = self._keys
        return score_bm25(data, keys.top_k, keys.metrics, keys.drop_query_id, keys.passages, keys.bm25_language)

    def __enter__(self) -> "Bm25Scorer":
        return self

    def __exit__(self, *error: Any) -> None:
        return None


class ModelScorer:
    """A model with a search engine, both of them loaded and reached when they are first needed.

    Args:
        batch_size: documents of full length in a batch.
        folders: where what lasts may lie, the run's own folder for it first.
        check: raises if the model's files are no longer those that the results are to be of; called once it is loaded.
        training: see `find_judges`.
    """

    def __init__(
        self,
        model: Chosen,
        evaluation: EvaluationKeys,
        opensearch: OpenSearchKeys,
        batch_size: int,
        folders: Sequence[Path],
        check: Callable[[], None],
        training: Sequence[tuple[Path, str]] = (),
    ) -> None:
        self._model, self._evaluation, self._opensearch = model, evaluation, opensearch
        self._batch_size, self._folders, self._training = batch_size, folders, training
        self._check, self._stack = check, ExitStack()

    @cached_property
    def encoder(self) -> "SparseEncoder":
        """The model."""
        encoder = self._model.load()
        self._told, encoder.cut = encoder.cut, Cut()  # vectors are kept whole, for evaluations with other cuts
        self._files = on_main(self._model.vector_files)
        on_main(self._check)
        return encoder

    @property
    def _shape(self) -> Shape:
        """What becomes of the model's vectors, but for a share that is chosen; its own cut counts here, not earlier."""
        keys, trained = self._evaluation, self.encoder.trained_share  # first: it loads what is told
        share = 0.0 if isinstance(keys.lexical_share, str) else keys.lexical_share
        return AskedShape(Cut(keys.max_active_dims), keys.cut_by, share, keys.lexical_idf).of(self._told, trained)

    @property
    def _facts(self) -> dict[str, Any]:
        """All that decides a document's vector beside its text."""
        return self._model.vector_facts(self.encoder, self._files)

    @cached_property
    def _make_engine(self) -> MakeEngine:
        tokens = lambda: tokens_of(self.encoder)  # noqa: E731
        return self._stack.enter_context(open_engines(self._evaluation, self._opensearch, tokens, self._folders))

    def load(self) -> None:
        """See `Scorer.load`."""
        self.encoder  # noqa: B018 - loads it
        on_main(lambda: check_engine(self._evaluation, self._opensearch))

    @property
    def model_says(self) -> dict[str, Any]:
        """See `Scorer.model_says`."""
        if "encoder" not in self.__dict__:
            return {}
        shape = {"lexical_share": self._shape.lexical_share, "lexical_idf": self._shape.lexical_idf}
        says = said_by(self.encoder) | ({} if self._evaluation.lexical_share == AUTO else shape)
        return says | {"idf_path": self._model.options.get("idf_path")}

    @property
    def query_weights(self) -> str:
        """See `Scorer.query_weights`."""
        return query_weights(self.encoder, self._model.options.get("idf_path"))

    def score(self, data: BeirData) -> DatasetScores:
        """See `Scorer.score`."""
        from sparse_model import corpus_idf

        keys, encoder = self._evaluation, self.encoder
        if encoder.inf_free and self._model.idf_from_corpus:
            encoder.use_idf(corpus_idf(encoder.tokenizer, data.texts, encoder.vocabulary_size, is_main()))
        if is_main() and (cut := encoder.count_cut_queries(data.queries)):
            logger.warning("%s: %d queries are longer than the model reads; their ends are left out", data.name, cut)
        corpus = on_main(lambda: corpus_hash(data.doc_ids, data.texts))
        contents, documents = self._facts | {"corpus": corpus}, len(data.doc_ids)
        shape, why = self._shape, {}
        keep = True if shape.reads_twice or keys.lexical_share == AUTO else keys.keep_vectors
        folder = kept_vectors(self._folders[0], data.name, documents, contents, keep)
        if folder and keys.lexical_share == AUTO:
            from experiment.run.auto_share import choose  # it loads scipy's statistics

            shape, chosen = choose(encoder, shape, data, folder, self._batch_size, self._training)
            why = {"lexical_share": chosen}
        engine = self._make_engine(data.name, documents, contents | shape.facts)
        scores = score_dataset(
            encoder,
            data,
            keys.top_k,
            keys.query_prune,
            self._batch_size,
            engine,
            keys.do_search,
            keys.metrics,
            folder,
            keys.drop_query_id,
            shape,
            keys.passages,
        )
        engine.close(keep=keeps_index(keys, self._opensearch))
        return replace(scores, figures=scores.figures | why)

    def __enter__(self) -> "ModelScorer":
        self._stack.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
