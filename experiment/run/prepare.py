"""Data preparation: settings to a data set of distillation rows."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from experiment.run.command import logged_to
from experiment.run.done import PREPARED, preparation_inputs, preparation_status
from experiment.run.folder import make_writable
from experiment.run.inputs import require_unchanged
from experiment.run.locks import locked
from experiment.run.models import miner
from experiment.run.prepare_checks import preparation_mistakes, require_room_and_engine
from experiment.run.prepare_estimate import estimate
from experiment.run.stages import Stages
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys, PreparationKeys, RunKeys
from experiment.settings.mistakes import Mistake, as_mistakes, refuse
from experiment.settings.settings import Settings
from mining.candidates import Corpus, corpus_of, totals
from mining.card import About
from mining.dataset import write_rows
from mining.normalise import Normalization
from mining.published_rows import Published
from mining.repair import repair
from mining.rows import Recipe
from mining.scored_pairs import Teacher
from mining.scoring import reader
from mining.teachers import TeacherSpec, try_teachers
from retrieval.beir_data import BeirData, load_beir
from retrieval.dataset_names import dataset_name
from retrieval.distributed import is_main, on_main, world_size
from retrieval.files import move_aside, write_json
from retrieval.fingerprint import hash_of
from sparse_model import SparseEncoder, UserError
from sparse_model.pins import at
from sparse_model.query_weights import write_idf

logger = logging.getLogger(__name__)

MADE_OF = "what the rows are made of"


def prepare(settings: Settings) -> None:
    """Mine, score with every teacher, normalise, and write the data set to output_dir.

    Raises:
        UserError: for everything that cannot be used; RunError: if a teacher's scores are not finite.
    """
    keys = settings.preparation
    settings = settings.with_values(output_dir=settings.prepared_data, split=settings.evaluation.split or "train")
    places = (settings.output_dir, settings.run.overwrite, keys.dataset, settings.evaluation)
    text = "is for train_ir.py; leave it out where data are prepared."
    mistakes = [Mistake("train_file", text, settings.given.get("train_file", ""))] if settings.trains else []
    if keys.source:
        refuse(mistakes + on_main(lambda: preparation_mistakes(*places, teachers=[])))
        _only_texts(keys, _load_data(keys.dataset, settings.evaluation), settings.output_dir, settings.run)
        return
    teachers = [
        replace(t, trust_remote_code=t.trust_remote_code or settings.run.trust_remote_code) for t in keys.teachers
    ]
    mistakes += on_main(lambda: preparation_mistakes(*places, teachers))
    inputs = None if mistakes else on_main(lambda: preparation_inputs(settings))
    is_done = preparation_status(settings.output_dir, inputs).is_done
    if inputs and is_done and not (settings.run.overwrite or settings.run.dry_run):
        logger.info("%s holds these rows already; nothing to do", settings.output_dir)
        return
    now = lambda: inputs and preparation_inputs(settings)  # noqa: E731
    encoder = _checked(mistakes, lambda: miner(settings).load())
    on_main(lambda: require_unchanged(MADE_OF, inputs, now()))
    data = _load_data(keys.dataset, settings.evaluation)
    corpus = corpus_of(data, settings.evaluation.drop_query_id)
    if keys.num_candidates > len(corpus.texts):
        raise UserError(
            f"num_candidates: {keys.num_candidates}, but the corpus of {data.name} has {len(corpus.texts)} documents; "
            "give a smaller number."
        )
    on_main(lambda: try_teachers(teachers, str(encoder.device), corpus.queries, corpus.texts))
    if settings.run.dry_run:
        text, size = on_main(
            lambda: estimate(encoder, teachers, corpus, keys.num_candidates, str(encoder.device), world_size())
        )
        if is_main():
            print(f"{text}\nwrites to {settings.output_dir}")
        on_main(lambda: require_room_and_engine(settings.output_dir, size, settings.evaluation, settings.opensearch))
        return
    with _writing(settings.output_dir, settings.run.overwrite):
        batch_size = settings.value("per_device_eval_batch_size") * 4
        stages = Stages(settings.output_dir / "stages", keys, miner(settings), batch_size, data, corpus)
        _run(stages, encoder, teachers, settings.evaluation, settings.opensearch)
        on_main(lambda: require_unchanged(MADE_OF, inputs, now()))
        on_main(lambda: write_json(settings.output_dir / PREPARED, {"inputs": inputs or preparation_inputs(settings)}))


def _only_texts(keys: PreparationKeys, data: BeirData, output_dir: Path, run: RunKeys) -> None:
    """The last stage alone, for rows of ids that somebody published."""
    published = Published(at(str(keys.source), keys.source_revision, "source_revision"), data)
    # One column of scores is what the teachers' scores became already.
    method: Normalization = keys.normalization if len(published.teachers) > 1 else "none"
    how = Recipe(published.teachers, method, keys.normalization_scope, keys.normalization_batch_size)
    rows = on_main(published.fingerprint)
    about = About(
        dataset=keys.dataset,
        split=data.split,
        miner=f"as in {keys.source}",
        published=True,
        num_candidates=keys.num_candidates,
        hashes={"data": data.fingerprint, "rows": rows},
        notes=tuple(data.notes),
    )
    if run.dry_run:
        if is_main():
            names = ", ".join(teacher.name for teacher in published.teachers)
            print(f"{len(published.queries)} rows of {keys.source} (scores: {names}) to {output_dir}")
        return
    with _writing(output_dir, run.overwrite):
        key = hash_of([rows, data.fingerprint])
        write_rows(published.read, published, how, about, output_dir, output_dir / "stages", key)


@contextmanager
def _writing(output_dir: Path, overwrite: bool) -> Iterator[None]:
    """Around everything that writes to output_dir: one command at a time, none that reads it, logged."""
    with ExitStack() as held:
        if is_main():
            held.enter_context(locked(output_dir))
            held.enter_context(locked(output_dir, purpose="users"))  # a training that reads the rows
        on_main(lambda: open_folder(output_dir, overwrite))
        with logged_to(output_dir / "preparation.log" if is_main() else None):
            yield


def open_folder(output_dir: Path, overwrite: bool) -> None:
    """Make the folder ready to be written to."""
    if overwrite and output_dir.exists():
        move_aside(output_dir)
    make_writable(output_dir)
    # What is written from here on may be other rows than those that the record stands for.
    (output_dir / PREPARED).unlink(missing_ok=True)


def _run(
    stages: Stages,
    encoder: SparseEncoder,
    teachers: list[TeacherSpec],
    evaluation: EvaluationKeys,
    opensearch: OpenSearchKeys,
) -> None:
    """The stages one after the other, and the data set in the folder that theirs lies in."""
    keys, data, corpus, output_dir = stages.keys, stages.data, stages.corpus, stages.folder.parent
    candidates = stages.candidates(encoder, evaluation, opensearch)
    encoder.to("cpu")  # one model at a time on a device
    scores = [stages.scores(teacher, candidates) for teacher in teachers]
    counts = on_main(lambda: totals(candidates))
    about = About(
        dataset=keys.dataset,
        split=data.split,
        miner=stages.miner.path,
        num_candidates=keys.num_candidates,
        hashes={"data": data.fingerprint, **{shards.folder.name: shards.key for shards in (candidates, *scores)}},
        positives_added=counts["positives_added"],
        positives_left_out=counts["positives_left_out"],
        notes=tuple(_notes(data, corpus)),
    )
    key = hash_of([candidates.key, *(shards.key for shards in scores)])
    how = recipe(keys, teachers)
    write_rows(reader(candidates, scores), corpus, how, about, output_dir, stages.folder, key)
    if (table := encoder.idf_V) is not None:
        on_main(lambda: write_idf(output_dir / "idf.json", table, encoder.tokenizer))


def recipe(keys: PreparationKeys, teachers: list[TeacherSpec]) -> Recipe:
    """How the teachers' scores become one."""
    names = [teacher.name for teacher in teachers]
    # Two teachers of one name are told apart by their number.
    distinct = [name if names.count(name) == 1 else f"{name} {i}" for i, name in enumerate(names, start=1)]
    named = tuple(
        Teacher(name, spec.weight, f"{spec.type} {spec.located}") for name, spec in zip(distinct, teachers, strict=True)
    )
    return Recipe(named, keys.normalization, keys.normalization_scope, keys.normalization_batch_size)


def _notes(data: BeirData, corpus: Corpus) -> list[str]:
    lost = f"{corpus.lost_positives} judged positives are not in the corpus." if corpus.lost_positives else ""
    own = f"{len(corpus.own)} queries have no candidate of their own id (drop_query_id)." if corpus.own else ""
    return [*data.notes, *filter(None, (lost, own))]


def _checked(mistakes: list[Mistake], load: Callable[[], SparseEncoder]) -> SparseEncoder:
    """The miner, if nothing is wrong as far as that can be seen before a text is read."""
    try:
        encoder = load()
    except UserError as error:
        mistakes += as_mistakes(error)
    refuse(mistakes)
    return encoder


def _load_data(dataset: str, keys: EvaluationKeys) -> BeirData:
    data = load_beir(dataset, keys.beir_dir, keys.split, repair if dataset_name(dataset) == "msmarco" else None)
    for note in data.notes if is_main() else []:
        logger.warning("%s: %s", data.name, note)
    return data
