"""How far a run is, and what it would lack if it were started now."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import shorten

import torch
from huggingface_hub import try_to_load_from_cache

from experiment.run import folder as run_folder
from experiment.run.engines import check_engine
from experiment.run.evaluate import evaluation_folder
from experiment.settings.settings import Settings
from experiment.sweep.data import has_training_data, preparations
from experiment.sweep.runs import Run
from retrieval.beir_data import data_files
from retrieval.dataset_names import dataset_name, parse_name, scored_split
from sparse_model.errors import RunError, UserError
from training.step_checkpoints import complete_checkpoints

# Keys that the model says where the config does not: what the run recorded is then no difference.
SAID_BY_THE_MODEL = ("activation_type", "inf_free", "max_seq_length")


def is_trained(run: Run) -> bool:
    """Whether nothing is left to train: finished, to this length, with these keys, and not before its data changed."""
    settings, folder = run.settings, run.folder
    finished = run_folder.read_json(folder / "run.json").get("finished")
    length = {key: settings.value(key) for key in ("max_steps", "num_train_epochs")}
    if finished != length or not (folder / "model.safetensors").is_file() or differing(run):
        return False
    data = Path(str(settings.data.train_file or settings.data.train_file_dir))
    sets = [*data.iterdir()] if settings.data.train_file_dir and data.is_dir() else []
    return _newest([data, *sets]) <= _newest([folder / "run.json"])


def differing(run: Run) -> dict[str, str]:
    """The keys in which the run's folder holds another run, with both values."""
    if not (run.folder / "config.yaml").is_file():
        return {}
    try:
        found = run_folder.differences(run.settings, run.folder)
    except UserError as error:  # damaged: the command that is to go on there says so
        return {"config.yaml": str(error)}
    return {k: v for k, v in found.items() if k in run.settings.given or k not in SAID_BY_THE_MODEL}


def results_folder(run: Run) -> Path:
    """Where the evaluation's results are."""
    try:
        return evaluation_folder(run.scored)
    except UserError:
        return run.folder / "evaluation"


def is_evaluated(run: Run) -> bool:
    """Whether there are results for every data set, none older than the model or the data."""
    settings, folder = run.scored, results_folder(run)
    summary = folder / "summary.json"
    wanted = [dataset_name(name) for name in settings.evaluation.beir_datasets]
    if run_folder.read_json(summary).get("datasets") != wanted or (run.trains and not is_trained(run)):
        return False
    places = [place for name in settings.evaluation.beir_datasets if (place := data_set(settings, name))]
    inputs = [*places, *(place / "qrels" for place in places)]
    model = settings.model.model_name_or_path
    inputs += [run.folder / "model.safetensors"] if run.trains else [Path(model)] if model else []
    is_whole = all((folder / f"{name}.json").is_file() for name in wanted)
    return _newest(inputs) <= _newest([summary]) and is_whole and has_asked_splits(run)


def has_asked_splits(run: Run) -> bool:
    """Whether none of the results is over another split than the config says now."""
    keys, folder = run.scored.evaluation, results_folder(run)
    splits = {dataset_name(name): scored_split(name, keys.split) for name in keys.beir_datasets}
    results = {name: run_folder.read_json(folder / f"{name}.json") for name in splits}
    return all(results[name].get("split", split) == split for name, split in splits.items())


def _newest(paths: Sequence[Path]) -> float:
    """When the youngest of the files, or of those directly in a folder, was written; 0 if there is none."""
    files = [file for path in paths for file in (path.iterdir() if path.is_dir() else [path])]
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def data_set(settings: Settings, name: str) -> Path | None:
    """The folder of a data set; None if it is not on this disk."""
    name, _ = parse_name(name)
    return next((p for p in (Path(settings.evaluation.beir_dir, name), Path(name)) if p.is_dir()), None)


def state(run: Run) -> str:
    """How far a run is, who works on it, or why it stopped."""
    if is_evaluated(run):
        return "evaluated"
    failure = run_folder.read_json(run.folder / run_folder.FAILED)
    if owner := run_folder.holder(sweep_lock(run)) or run_folder.holder(run.folder):
        return f"{_reached(run)}, {owner} is at it"
    if failure:
        return f"{_reached(run)}, failed to {failure.get('step')}: {shorten(str(failure.get('reason')), 120)}"
    return _reached(run)


def _reached(run: Run) -> str:
    if not run.trains:
        return "not evaluated"
    if is_trained(run):
        return "trained"
    if differing(run):
        return f"holds a run with another {', '.join(differing(run))}"
    checkpoints = complete_checkpoints(run.folder) if run.folder.is_dir() else []
    return f"goes on from {checkpoints[-1].name}" if checkpoints else "new"


class Lacking:
    """Says what a run would miss on this machine; each search engine is looked for once."""

    def __init__(self) -> None:
        self._engines: dict[str, str] = {}

    def __call__(self, run: Run) -> Iterator[str]:
        """Of model, training data, data sets, search engine and GPU, what is not here."""
        settings, data = run.settings, run.settings.data
        model = settings.model.model_name_or_path
        idf = None if settings.model.idf_path == "corpus" else settings.model.idf_path
        if not settings.evaluation.baseline:
            if model and not Path(model).exists() and not cached(model, "config.json"):
                yield f"model {model} is not on this disk"
            if idf and not Path(idf).exists() and not cached(idf, "idf.json"):
                yield f"query weights {idf} are not on this disk"
        prepared = preparations(run)
        for config, made in prepared.items():
            yield f"training data {made} is missing; {config} prepares it first (not counted above)"
        if run.trains and not prepared:
            if data.train_file and not has_training_data(data.train_file):
                yield f"training data {data.train_file} is missing"
            if data.train_file_dir and not Path(data.train_file_dir).is_dir():
                yield f"training data {data.train_file_dir} is missing"
        places = {name: data_set(settings, name) for name in settings.evaluation.beir_datasets}
        if absent := [name for name, place in places.items() if not place]:
            yield f"data sets not in {settings.evaluation.beir_dir}: {' '.join(absent)}"
        for name, place in places.items():
            try:
                if place:
                    data_files(place, scored_split(name, settings.evaluation.split))
            except UserError as error:
                yield str(error)
        if problem := self._engine_problem(settings):
            yield f"no search engine: {problem}"
        if settings.value("fp16") and not torch.cuda.is_available():
            yield "no GPU (fp16 runs as float32)"

    def _engine_problem(self, settings: Settings) -> str:
        key = settings.evaluation.engine + settings.opensearch.model_dump_json()
        if key not in self._engines:
            try:
                check_engine(settings)
                self._engines[key] = ""
            except (UserError, RunError) as error:
                self._engines[key] = str(error)
        return self._engines[key]


def sweep_lock(run: Run) -> Path:
    """What a sweep locks while it works on a run; the run's own lock is taken by the commands that it starts."""
    return run.folder.with_name(f"{run.folder.name}.sweep")


def cached(model: str, file: str) -> Path | None:
    """A file of a hub's model; None if it is not on this disk."""
    try:
        found = try_to_load_from_cache(model, file)
    except ValueError:  # not the form of a hub id
        return None
    return Path(found) if isinstance(found, str) else None
