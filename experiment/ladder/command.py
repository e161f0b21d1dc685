"""train_ir.py where `documents` is given: one command from a folder to a model, its figures and a report."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from experiment.ladder.climb import Climb
from experiment.ladder.judge import Judge
from experiment.ladder.page import as_record, write_page
from experiment.run.command import logged_to
from experiment.run.done import Status, differences, model_problem, planned_length, say_it_is_trained
from experiment.run.evaluate import run_evaluation
from experiment.run.folder import read_yaml
from experiment.run.inputs import training_inputs
from experiment.run.kept_vectors import kept_vectors
from experiment.run.locks import locked
from experiment.run.models import scored_model
from experiment.run.own_documents import described_documents, make_own_documents
from experiment.run.train import clear, train
from experiment.run.train_folder import close_run, open_run
from experiment.settings.mistakes import refuse
from experiment.settings.settings import Settings
from pairs.pseudo import RECORD
from retrieval.distributed import is_main, on_main, world_size
from retrieval.files import read_json
from retrieval.fingerprint import corpus_hash
from retrieval.plain import plain
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)


def train_or_climb(settings: Settings) -> None:
    """Train on rows, or, where documents are given, make everything of them."""
    if settings.data.documents:
        climb(settings)
    else:
        train(settings)


def climb(settings: Settings) -> None:
    """Documents to passages to pseudo-queries to rungs to a checkpoint in output_dir, evaluated and reported.

    Raises:
        UserError: for everything that cannot be used; RunError: if the training collapses or explodes.
    """
    refuse(settings.missing())
    folder = settings.output_dir
    if settings.run.dry_run:
        if is_main():
            print(plain("\n".join(described_documents(settings))))
        return
    on_main(lambda: clear(folder, settings.run.overwrite))
    with _held(settings):
        facts = {"processes": world_size(), **on_main(lambda: training_inputs(settings))}
        status = on_main(lambda: _status(settings, facts))
        if status.is_done:
            say_it_is_trained(folder)
        else:
            run_id = on_main(lambda: _open(settings, status, facts))
            with logged_to(folder / "train.log" if is_main() else None):
                _climb(settings, run_id)
    _evaluate(settings)


@contextmanager
def _held(settings: Settings) -> Iterator[None]:
    with locked(settings.output_dir) if is_main() else nullcontext():
        yield


def _status(settings: Settings, facts: dict[str, Any]) -> Status:
    folder = settings.output_dir
    recorded = read_json(folder / "run.json")
    if not (folder / "pseudo" / RECORD).is_file():
        return Status("fresh")  # documents that gave no queries may have been mended since
    because = differences(settings, read_yaml(folder / "config.yaml"))
    because |= {name: "other before" for name, now in facts.items() if recorded.get(name, now) != now}
    if because:
        return Status("different", because=because)
    is_done = recorded.get("finished") == planned_length(settings.value) and not model_problem(folder)
    return Status("done" if is_done else "goes on")


def _open(settings: Settings, status: Status, facts: dict[str, Any]) -> str:
    written = {key: value for key, value in settings.written().items() if key != "overwrite"}
    written |= {"beir_datasets": settings.evaluation.beir_datasets}
    ours = (settings.output_dir / "run.json").is_file()
    if ours and status.state == "fresh":
        shutil.rmtree(settings.output_dir / "documents", ignore_errors=True)
    return open_run(settings.output_dir, status, settings.resolved(), facts | {"given": written})


def _climb(settings: Settings, run_id: str) -> None:
    folder = settings.output_dir
    about = on_main(lambda: make_own_documents(settings))
    for line in about if is_main() else []:
        logger.info("%s", line)
    climb = Climb(settings)
    climbed = climb.climb()
    record = as_record(climbed, climb.judge.lengths)
    encoder = climbed.best.load()
    encoder.use_idf(climbed.best.table_V)
    encoder.trained_share = climbed.best.share
    if is_main():
        table = write_page(folder / "ladder", record, [*about, kept(record)])
        print(plain(f"{table}\n{kept(record)}"))
        length = planned_length(settings.value)
        encoder.save(folder, run=run_id, finished=length)
        close_run(folder, length)
    _hand_over(settings, climb.judge, climbed.best.files)


def kept(record: dict[str, Any]) -> str:
    """What was kept, in a sentence, and why nothing was tried."""
    if record["at_home"]:
        return (
            "The start model is at home here: the documents lie as near to the texts that its query weights were "
            f"counted on (a shift of {record['shift']:.3f}, below ladder_min_shift) as if they were some of them. "
            "Pseudo-queries do not show what is better there, so that nothing was tried."
        )
    names = [rung["name"] for rung in record["rungs"][1:] if rung["kept"]]
    return f"Kept above the start model: {', '.join(names)}." if names else "Nothing was better than the start model."


def _hand_over(settings: Settings, judge: Judge, files: str) -> None:
    """What the judge encoded is what the evaluation would encode again: the same model, the same corpus."""
    on_main(lambda: None)  # which the main process reaches once the checkpoint is written
    model, data = scored_model(_for_evaluation(settings)), judge.data
    corpus = corpus_hash(data.doc_ids, data.texts)
    contents = model.vector_facts(model.load(), model.vector_files()) | {"corpus": corpus}
    place = settings.output_dir / "evaluation"
    there = kept_vectors(place, data.name, len(data.doc_ids), contents, settings.evaluation.keep_vectors)
    if there and is_main() and not there.exists() and (made := judge.vectors(files)).is_dir():
        there.parent.mkdir(parents=True, exist_ok=True)
        made.rename(there)


def _for_evaluation(settings: Settings) -> Settings:
    """What was typed of the start model is not said of the one that is scored: its checkpoint says its own."""
    given = dict.fromkeys(settings.given, str(settings.output_dir / "config.yaml"))
    return replace(settings.with_values(overwrite=False), given=MappingProxyType(given))


def _evaluate(settings: Settings) -> None:
    """Score what was kept, and BM25, on the queries that chose nothing; then the report."""
    once = _for_evaluation(settings)
    run_evaluation(once)
    values = {"baseline": "bm25", "documents": None, "model_name_or_path": None, "max_active_dims": None}
    folder = str(settings.output_dir / "bm25")
    run_evaluation(replace(once.with_values(output_dir=folder, **values), given=MappingProxyType({})))
    on_main(lambda: _report(settings))


def _report(settings: Settings) -> None:
    folder = settings.output_dir
    try:
        from experiment.report.page import Options, write_report
        from experiment.report.runs import load_runs

        write_report(load_runs([str(folder), str(folder / "bm25")]), Options(folder / "report", "From documents"))
        print(plain(f"the ladder: {folder}/ladder/index.html\nthe report: {folder}/report/index.html"))
    except (ImportError, UserError) as error:
        logger.warning("no report: %s", error)
