"""How far a run is, and what it would lack if it were started now."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten

import torch
from huggingface_hub import try_to_load_from_cache

from experiment.run.done import Status, is_evaluated, training_status
from experiment.run.engines import check_engine
from experiment.run.folder import FAILED
from experiment.run.inputs import training_inputs
from experiment.run.locks import Purpose, holder
from experiment.run.results import evaluation_folder
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys
from experiment.settings.missing import making
from experiment.sweep.data import has_training_data, preparations
from experiment.sweep.runs import PlannedRun
from retrieval.beir_data import data_files, local_folder, why_missing
from retrieval.dataset_names import parse_name, scored_split
from retrieval.files import read_json
from sparse_model.errors import RunError, UserError
from sparse_model.pins import at, repository_and_revision

# Whoever holds one of these locks of a run's folder is at work on it.
WORKS: tuple[Purpose, ...] = ("sweep", "writers", "users")


def training(run: PlannedRun) -> Status:
    """How far the run's training is, with its data as they are now; damaged records count as another run."""
    facts = {name: value for name, value in training_inputs(run.settings).items() if value}
    try:
        return training_status(run.settings, facts)
    except UserError as error:  # the command that is to go on there says so
        return Status("different", because={"config.yaml": str(error)})


def is_trained(run: PlannedRun) -> bool:
    """Whether nothing is left to train: finished, to this length, with these keys and these data."""
    return training(run).is_done


def results_folder(run: PlannedRun) -> Path:
    """Where the evaluation's results are; of several, the first one's."""
    try:
        return evaluation_folder(run.scored.one_by_one()[0])
    except UserError:
        return run.folder / "evaluation"


def is_finished(run: PlannedRun) -> bool:
    """Whether nothing is left to do: every data set has results, of the model and the data as they are now."""
    return (is_trained(run) or not run.trains) and is_evaluated(run.scored)


def state(run: PlannedRun) -> str:
    """How far a run is, who works on it, or why it stopped."""
    if is_finished(run):
        return "evaluated"
    failure = read_json(run.folder / FAILED)
    if owner := next(filter(None, (holder(run.folder, purpose) for purpose in WORKS)), None):
        return f"{_reached(run)}, {owner} is at it"
    if failure:
        return f"{_reached(run)}, failed to {failure.get('step')}: {shorten(str(failure.get('reason')), 120)}"
    return _reached(run)


def _reached(run: PlannedRun) -> str:
    if not run.trains:
        return "not evaluated"
    status = training(run)
    if status.is_done:
        return "trained"
    if status.because:
        return f"holds a run with another {', '.join(status.because)}"
    return f"goes on from {status.checkpoint.name}" if status.checkpoint else "new"


class Lacking:
    """Says what a run would miss on this machine; each search engine is looked for once."""

    def __init__(self) -> None:
        self._engines: dict[str, str] = {}

    def __call__(self, run: PlannedRun) -> Iterator[str]:
        """Of model, training data, data sets, search engine and GPU, what is not here."""
        settings, data = run.settings, run.settings.data
        model = settings.model.model_name_or_path
        idf = None if settings.model.idf_path == "corpus" else settings.model.idf_path
        if not settings.evaluation.baseline:
            if model and not Path(model).exists() and not cached(at(model, settings.model.revision), "config.json"):
                yield f"model {model} is not on this disk"
            if idf and not Path(idf).exists() and not cached(at(idf, settings.model.idf_revision), "idf.json"):
                yield f"query weights {idf} are not on this disk"
        makes = lambda key: making(data, settings.given, key)  # noqa: E731
        prepared = preparations(run)
        for config, made in prepared.items():
            yield f"training data {made} is missing; {config} prepares it first (not counted above)"
        if run.trains and not prepared:
            if data.train_file and not has_training_data(data.train_file):
                yield f"training data {data.train_file} is missing{makes('train_file')}"
            if data.train_file_dir and not Path(data.train_file_dir).is_dir():
                yield f"training data {data.train_file_dir} is missing{makes('train_file_dir')}"
        keys = settings.evaluation
        places = {name: local_folder(parse_name(name)[0], keys.beir_dir) for name in keys.beir_datasets}
        if absent := [name for name, place in places.items() if not place]:
            is_downloaded = not any(why_missing(parse_name(name)[0], keys.beir_dir) for name in absent)
            yield f"data sets not in {keys.beir_dir}: {' '.join(absent)}{'' if is_downloaded else makes('beir_dir')}"
        for name, place in places.items():
            try:
                if place:
                    data_files(place, scored_split(name, settings.evaluation.split))
            except UserError as error:
                yield str(error)
        if problem := self._engine_problem(keys, settings.opensearch):
            yield f"no search engine: {problem}"
        if settings.value("fp16") and not torch.cuda.is_available():
            yield "no GPU (fp16 runs as float32)"

    def _engine_problem(self, evaluation: EvaluationKeys, opensearch: OpenSearchKeys) -> str:
        key = evaluation.engine + opensearch.model_dump_json()
        if key not in self._engines:
            try:
                check_engine(evaluation, opensearch)
                self._engines[key] = ""
            except (UserError, RunError) as error:
                self._engines[key] = str(error)
        return self._engines[key]


def cached(model: str, file: str) -> Path | None:
    """A file of a hub's model; None if it is not on this disk."""
    try:
        repository, revision = repository_and_revision(model)
        found = try_to_load_from_cache(repository, file, revision=revision)
    except ValueError:  # not the form of a hub id
        return None
    return Path(found) if isinstance(found, str) else None
