"""Data preparation: settings to a data set of distillation rows, stage by stage; each goes on from its files.

    stages/vectors-…/      document vectors of the miner and of each bi-encoder, block by block
    stages/candidates-…/   each query's candidates, shard by shard
    stages/scores-…/       a teacher's scores of them

Each folder's name ends in a hash of all that decides its content: what a changed input does not touch is used again.
"""

import errno
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from experiment import run_folder
from experiment.command import logged_to
from experiment.engines import corpus_hash, keeps_index, open_engines
from experiment.estimate import estimate
from experiment.models import brings_idf, device, load_miner, model_files, set_precision, vector_facts, vector_files
from experiment.settings import Settings
from mining.candidates import Corpus, Shards, corpus_of, mine, totals
from mining.card import About
from mining.dataset import write_rows
from mining.pairs import Teacher
from mining.repair import repair
from mining.rows import Recipe
from mining.scoring import reader, score
from mining.teachers import TeacherSpec, check_teacher, load_teacher
from mining.vectors import VectorCache
from retrieval.beir_data import BeirData, load_beir
from retrieval.distributed import is_main, on_main
from retrieval.engine import Engine
from retrieval.fingerprint import fingerprint, hash_of
from retrieval.opensearch.engine import OpenSearchEngine
from sparse_model import RunError, SparseEncoder, UserError, corpus_idf
from sparse_model.query_weights import write_idf

logger = logging.getLogger(__name__)


def prepare(settings: Settings) -> None:
    """Mine, score with every teacher, normalise, and write the data set to output_dir.

    Raises:
        UserError: for everything that cannot be used; RunError: if a teacher's scores are not finite.
    """
    keys = settings.preparation
    settings.run.output_dir = settings.run.output_dir or f"data/{Path(keys.dataset).name}_ft"
    settings.evaluation.split = settings.evaluation.split or "train"
    teachers = [teacher_spec(settings, number) for number in range(len(keys.teachers))]
    on_main(lambda: _check(settings, teachers))
    data = _load_data(settings)
    corpus = corpus_of(data)
    if keys.num_candidates > len(corpus.texts):
        raise UserError(
            f"num_candidates: {keys.num_candidates}, but the corpus of {data.name} has {len(corpus.texts)} documents; "
            "give a smaller number."
        )
    encoder = load_miner(settings)
    set_precision(settings, encoder)
    if settings.run.dry_run:
        text = on_main(lambda: estimate(settings, encoder, teachers, corpus, device(settings)))
        if is_main():
            print(text)
        return
    with run_folder.locked(settings.output_dir) if is_main() else nullcontext():
        on_main(lambda: run_folder.make_writable(settings.output_dir))
        with logged_to(settings.output_dir / "preparation.log" if is_main() else None), _full_disk(settings):
            _run(settings, encoder, teachers, data, corpus)


def _run(
    settings: Settings, encoder: SparseEncoder, teachers: list[TeacherSpec], data: BeirData, corpus: Corpus
) -> None:
    stages = Stages(settings, data, corpus)
    candidates = stages.candidates(encoder)
    scores = [stages.scores(teacher, candidates) for teacher in teachers]
    counts = on_main(lambda: totals(candidates))
    about = About(
        dataset=settings.preparation.dataset,
        split=data.split,
        miner=str(settings.model.model_name_or_path),
        num_candidates=settings.preparation.num_candidates,
        hashes={"data": data.fingerprint, **{shards.folder.name: shards.key for shards in (candidates, *scores)}},
        positives_added=counts["positives_added"],
        positives_left_out=counts["positives_left_out"],
        notes=tuple(_notes(data, corpus)),
    )
    key = hash_of([candidates.key, *(shards.key for shards in scores)])
    how = recipe(settings, teachers)
    write_rows(reader(candidates, scores), corpus, how, about, settings.output_dir, stages.folder, key)
    if encoder.idf_V is not None:
        on_main(lambda: write_idf(settings.output_dir / "idf.json", encoder.idf_V, encoder.tokenizer))


class Stages:
    """The working files below output_dir, and how each is made."""

    def __init__(self, settings: Settings, data: BeirData, corpus: Corpus) -> None:
        self.settings, self.data, self.corpus = settings, data, corpus
        self.folder = settings.output_dir / "stages"
        self.corpus_hash = on_main(lambda: corpus_hash(data.doc_ids, data.texts))

    def candidates(self, encoder: SparseEncoder) -> Shards:
        """Stage 1, whole."""
        settings, keys = self.settings, self.settings.preparation
        if encoder.inf_free and not brings_idf(settings):
            table = on_main(lambda: corpus_idf(encoder.tokenizer, self.corpus.texts, encoder.vocabulary_size, True))
            encoder.use_idf(table)
        files = on_main(lambda: vector_files(settings))
        vector_hash = hash_of(vector_facts(settings, encoder, files) | {"corpus": self.corpus_hash})
        facts = {
            "vectors": vector_hash,
            "query weights": None if encoder.idf_V is None else sha256(encoder.idf_V.cpu().numpy()).hexdigest(),
            "data": [self.data.fingerprint, self.data.split],
            "keys": [keys.num_candidates, keys.include_positives, keys.shard_size],
            "engine": [settings.evaluation.engine, settings.evaluation.round_weights],
        }
        batch_size = settings.value("per_device_eval_batch_size") * 4
        vectors = VectorCache(
            self.folder / f"vectors-miner-{vector_hash}",
            self.corpus.texts,
            lambda blocks: encoder.encode_blocks(blocks, batch_size),
        )
        shards = self._shards("candidates", facts)
        with _engine(settings, encoder, files, self.data, self.folder) as open_engine:
            mine(
                self.corpus,
                encoder.encode_queries,
                vectors,
                open_engine,
                shards,
                keys.num_candidates,
                keys.include_positives,
            )
        return shards

    def scores(self, teacher: TeacherSpec, candidates: Shards) -> Shards:
        """Stage 2 for one teacher, whole."""
        name = teacher.name
        files = on_main(lambda: fingerprint(model_files(teacher.model_name_or_path)))
        # What changes no score: how much is done at once, and how much it counts afterwards.
        facts: dict[str, Any] = {"teacher": vars(replace(teacher, batch_size=1, weight=1.0)), "files": files}
        vectors = self.folder / f"vectors-{name}-{hash_of(facts | {'corpus': self.corpus_hash})}"
        shards = self._shards(f"scores-{name}", facts | {"candidates": candidates.key})
        score(name, lambda: load_teacher(teacher, device(self.settings)), self.corpus, candidates, shards, vectors)
        return shards

    def _shards(self, name: str, facts: dict[str, Any]) -> Shards:
        key = hash_of(facts)
        size = self.settings.preparation.shard_size
        return Shards(self.folder / f"{name}-{key}", key, len(self.corpus.queries), size)


def teacher_spec(settings: Settings, number: int) -> TeacherSpec:
    """One of the teachers, with what the other keys say of all."""
    keys = settings.preparation
    spec = TeacherSpec(**keys.teachers[number].model_dump())
    return replace(spec, trust_remote_code=spec.trust_remote_code or keys.trust_remote_code)


def recipe(settings: Settings, teachers: list[TeacherSpec]) -> Recipe:
    """How the teachers' scores become one."""
    keys = settings.preparation
    names = [teacher.name for teacher in teachers]
    # Two teachers of one name are told apart by their number.
    distinct = [name if names.count(name) == 1 else f"{name} {i}" for i, name in enumerate(names, start=1)]
    named = tuple(Teacher(name, spec.weight, f"{spec.type} {spec.model_name_or_path}") for name, spec in zip(distinct, teachers, strict=True))
    return Recipe(named, keys.normalization, keys.normalization_scope, keys.normalization_batch_size)


def _notes(data: BeirData, corpus: Corpus) -> list[str]:
    lost = f"{corpus.lost_positives} judged positives are not in the corpus." if corpus.lost_positives else ""
    return [*data.notes, *([lost] if lost else [])]


def _check(settings: Settings, teachers: list[TeacherSpec]) -> None:
    """Everything that can be seen to be wrong before a text is read."""
    found = []
    if not settings.model.model_name_or_path:
        found.append("model_name_or_path: missing; name the encoder that mines the candidates (folder or hub id).")
    for number, teacher in enumerate(teachers, start=1):
        try:
            check_teacher(teacher, f"teachers: {number}")
        except UserError as error:
            found.append(str(error))
    if found:
        raise UserError("\n".join(found))


def _load_data(settings: Settings) -> BeirData:
    keys = settings.evaluation
    data = load_beir(settings.preparation.dataset, keys.beir_dir, keys.split)
    for note in data.notes if is_main() else []:
        logger.warning("%s: %s", data.name, note)
    if data.name != "msmarco":
        return data
    texts, repaired = repair(data.texts)
    logger.info("%s: characters that were encoded twice repaired in %d passages", data.name, repaired)
    return replace(data, texts=texts)


@contextmanager
def _engine(
    settings: Settings, encoder: SparseEncoder, files: str, data: BeirData, folder: Path
) -> Iterator[Callable[[], Engine]]:
    """Yields what opens the search engine when it is first needed; what is kept of it is as keep_index says."""
    opened: list[Engine] = []
    with ExitStack() as stack:

        def open_engine() -> Engine:
            opened.append(stack.enter_context(open_engines(settings, encoder, files, folder))(data))
            return opened[0]

        yield open_engine
        for engine in opened:
            if isinstance(engine, OpenSearchEngine) and not keeps_index(settings):
                engine.delete()


@contextmanager
def _full_disk(settings: Settings) -> Iterator[None]:
    """Say what to do where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(
            f"output_dir: the disk of {settings.output_dir} is full; free some, or move the folder to a larger one. "
            "The same command goes on from what is there."
        ) from None
