"""The working files of a data preparation; each stage goes on from its own.

    stages/vectors-…/      document vectors of the miner and of each bi-encoder, block by block
    stages/candidates-…/   each query's candidates, shard by shard
    stages/scores-…/       a teacher's scores of them

Each folder's name ends in a hash of all that decides its content: what a changed input does not touch is used again.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from experiment.run.engines import MakeEngine, open_engines, tokens_of
from experiment.run.inputs import require_unchanged
from experiment.run.models import Chosen, model_files
from experiment.settings.engine_rules import keeps_index
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys, PreparationKeys
from mining.candidates import Corpus, Shards, mine
from mining.scoring import score
from mining.teachers import TeacherSpec, load_teacher
from retrieval.beir_data import BeirData
from retrieval.distributed import on_main
from retrieval.engine import Engine
from retrieval.fingerprint import corpus_hash, fingerprint, hash_of
from retrieval.vectors import VectorCache
from sparse_model import SparseEncoder, corpus_idf


class Stages:
    """The working files in `folder`, and how each is made.

    Args:
        miner: the model that finds candidates, and device and batch size of all models.
    """

    def __init__(
        self, folder: Path, keys: PreparationKeys, miner: Chosen, batch_size: int, data: BeirData, corpus: Corpus
    ) -> None:
        self.folder, self.keys, self.miner, self.batch_size = folder, keys, miner, batch_size
        self.data, self.corpus = data, corpus
        self.corpus_hash = on_main(lambda: corpus_hash(data.doc_ids, data.texts))

    def candidates(self, encoder: SparseEncoder, evaluation: EvaluationKeys, opensearch: OpenSearchKeys) -> Shards:
        """Stage 1, whole; encoder: the miner's, evaluation and opensearch: the search engine's keys."""
        keys, model = self.keys, self.miner
        if encoder.inf_free and not model.brings_query_weights:
            table = on_main(lambda: corpus_idf(encoder.tokenizer, self.corpus.texts, encoder.vocabulary_size, True))
            encoder.use_idf(table)
        contents = model.vector_facts(encoder, on_main(model.vector_files)) | {"corpus": self.corpus_hash}
        vector_hash = hash_of(contents)
        facts: dict[str, Any] = {
            "vectors": vector_hash,
            "query weights": None
            if encoder.idf_V is None
            else sha256(encoder.idf_V.cpu().numpy().tobytes()).hexdigest(),
            "data": [self.data.fingerprint, self.data.split],
            "keys": [keys.num_candidates, keys.include_positives, keys.shard_size],
            "engine": [evaluation.engine, evaluation.round_weights],
        }
        if self.corpus.own:  # in the hash of those data sets alone where it changes something
            facts["own documents"] = sorted(self.corpus.own.items())
        vectors = VectorCache(
            self.folder / f"vectors-miner-{vector_hash}",
            self.corpus.texts,
            lambda lists, progress: encoder.encode_blocks(lists, self.batch_size, progress),
        )
        shards = self._shards("candidates", facts)
        with _engines(evaluation, opensearch, encoder, self.folder) as make_engine:
            mine(
                self.corpus,
                encoder.encode_queries,
                vectors,
                lambda: make_engine(self.data.name, len(self.data.doc_ids), contents),
                shards,
                keys.num_candidates,
                keys.include_positives,
            )
        return shards

    def scores(self, teacher: TeacherSpec, candidates: Shards) -> Shards:
        """Stage 2 for one teacher, whole."""
        name, place = teacher.name, torch.device(self.miner.device)
        hashed = lambda: fingerprint(model_files(teacher.located))  # noqa: E731
        files = on_main(hashed)

        def load() -> Any:
            made = load_teacher(teacher, place)
            require_unchanged(f"the teacher {name}", files, hashed())
            return made

        # Without what changes no score: where it lies, how much is done at once, how much it counts afterwards.
        same = replace(
            teacher, model_name_or_path=name, revision=None, batch_size=1, weight=1.0, trust_remote_code=False
        )
        facts = {"teacher": same.facts, "files": files, "dtype": str(teacher.dtype_on(place))}
        vectors = self.folder / f"vectors-{name}-{hash_of(facts | {'corpus': self.corpus_hash})}"
        shards = self._shards(f"scores-{name}", facts | {"candidates": candidates.key})
        score(name, load, self.corpus, candidates, shards, vectors)
        return shards

    def _shards(self, name: str, facts: dict[str, Any]) -> Shards:
        key = hash_of(facts)
        return Shards(self.folder / f"{name}-{key}", key, len(self.corpus.queries), self.keys.shard_size)


@contextmanager
def _engines(
    evaluation: EvaluationKeys, opensearch: OpenSearchKeys, encoder: SparseEncoder, folder: Path
) -> Iterator[MakeEngine]:
    """Yields what makes the search engine, which is reached then only; what is kept of it is as keep_index says."""
    made: list[Engine] = []
    with ExitStack() as stack:

        def make(data_set: str, documents: int, contents: dict[str, Any]) -> Engine:
            engines = stack.enter_context(open_engines(evaluation, opensearch, lambda: tokens_of(encoder), [folder]))
            made.append(engines(data_set, documents, contents))
            return made[-1]

        yield make
        for engine in made:
            engine.close(keep=keeps_index(evaluation, opensearch))
