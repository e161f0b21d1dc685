"""One evaluation: each data set's figures and run written as soon as they are there, then the summary.

A rerun computes only what is missing or what an input changed; an old result is moved aside, never overwritten.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from experiment.run.done import require_own_model
from experiment.run.engines import check_engine
from experiment.run.folder import make_writable, read_yaml, yaml_text
from experiment.run.inputs import require_unchanged
from experiment.run.locks import locked
from experiment.run.models import scored_model
from experiment.run.own_documents import make_own_documents
from experiment.run.result_folder import Record, ResultFolder
from experiment.run.results import evaluation_folder, recorded_inputs
from experiment.run.scorers import Bm25Scorer, ModelScorer, Scorer
from experiment.settings.keys import OURS, EvaluationKeys, effect
from experiment.settings.missing import require_data_sets
from experiment.settings.settings import Settings
from retrieval.beir_data import load_beir
from retrieval.dataset_names import archive_of, dataset_name, folder_name, is_named, parse_name
from retrieval.distributed import is_main, on_main
from retrieval.download import NAMES, is_beir_folder
from retrieval.files import write_atomically
from retrieval.metrics import beyond
from retrieval.plain import plain
from sparse_model.card import write_card
from sparse_model.errors import UserError
from sparse_model.manifest import MANIFEST
from training.files import training_files

logger = logging.getLogger(__name__)


def run_evaluation(settings: Settings) -> None:
    """Score the model (or the baseline) on every data set of `beir_datasets`, for each value of a key that has several.

    Raises:
        UserError: for everything that cannot be used.
    """
    if settings.data.documents:
        on_main(lambda: make_own_documents(settings))
    require_data_sets(settings.evaluation, settings.data, settings.given)
    with ExitStack() as held:
        # From before its model and its records are read.
        if is_main() and settings.output_dir.is_dir() and not settings.run.dry_run:
            held.enter_context(locked(settings.output_dir, purpose="users", shared=True))
        for single in settings.one_by_one():
            _run_evaluation(single)


def _run_evaluation(settings: Settings) -> None:
    keys, folder = settings.evaluation, evaluation_folder(settings)
    if not keys.baseline:
        on_main(lambda: require_own_model(settings))
    inputs = on_main(lambda: recorded_inputs(settings, folder))
    same = lambda: require_unchanged("the model", inputs, recorded_inputs(settings, folder))  # noqa: E731
    if short := beyond(keys.metrics, keys.top_k):
        logger.warning("top_k: %s: of the %d hits alone that a query keeps", ", ".join(short), keys.top_k)
    # A run's evaluations share their vectors and indexes; a private node serves one that is under way at a time.
    folders = (settings.output_dir / "evaluation", folder)
    batch_size = settings.value("per_device_eval_batch_size") * 4
    scorer: Scorer = (
        Bm25Scorer(keys)
        if keys.baseline
        else ModelScorer(scored_model(settings), keys, settings.opensearch, batch_size, folders, same, _rows(settings))
    )
    results = ResultFolder(folder, inputs)
    if settings.run.dry_run:
        scorer.load()
        _print_plan(keys, _what(results, scorer), folder, lambda: check_engine(keys, settings.opensearch))
        return
    if (usual := settings.usual_output_dir) != settings.output_dir:
        logger.warning("%s holds something else; results go to %s", usual, settings.output_dir)
    if settings.run.overwrite or not keys.do_search or not on_main(lambda: _has_all(results, keys)):
        scorer.load()  # before anything is written
    if is_main() and (absent := _to_download(keys)):
        listed = f"{len(absent)} data sets" if len(absent) > 1 else "a data set"
        logger.info(
            "%s will be downloaded into %s: %s (beir_datasets names others)", listed, keys.beir_dir, ", ".join(absent)
        )
    with _writing(settings.output_dir, folder) if is_main() else nullcontext(), scorer:
        on_main(lambda: make_writable(folder / "runs"))
        says = on_main(lambda: {} if keys.baseline else scorer.model_says or _said_before(folder))
        config = yaml_text(settings.with_values(**says).resolved())
        on_main(lambda: write_atomically(folder / "config.yaml", config))
        facts = {"seed": settings.value("seed")}
        found = [_evaluate(name, keys, scorer, results, facts, settings.run.overwrite) for name in keys.beir_datasets]
    if keys.do_search:
        table = on_main(lambda: results.summarise([record for record in found if record]))
        if is_main() and not keys.baseline and (settings.output_dir / MANIFEST).is_file():
            write_card(settings.output_dir)
        if is_main():
            print(f"{table}\nwritten to {folder}")


def _rows(settings: Settings) -> list[tuple[Path, str]]:
    """The training files that the config names, as far as they are there, each with its column of queries."""
    data = settings.data
    (query,) = data.columns.get("query", ["query"])
    with suppress(UserError):
        files = training_files(data.train_file, data.train_file_dir) if settings.trains else []
        return [(path, query) for path in files]
    return []


def _to_download(keys: EvaluationKeys) -> list[str]:
    """The data sets that are not here and can be had."""
    names = dict.fromkeys(archive_of(parse_name(name)[0]) for name in keys.beir_datasets)
    known = [name for name in names if name in NAMES or is_named(name)]
    return [name for name in known if not is_beir_folder(Path(keys.beir_dir, folder_name(name)))]


@contextmanager
def _writing(output_dir: Path, folder: Path) -> Iterator[None]:
    """Around everything that is written: this evaluation's folder is its own, and nobody moves what it lies in."""
    with locked(output_dir, purpose="users", shared=True), locked(folder):
        yield


def _has_all(results: ResultFolder, keys: EvaluationKeys) -> bool:
    return results.has_inputs_of([dataset_name(name) for name in keys.beir_datasets])


def _said_before(folder: Path) -> dict[str, Any]:
    """The keys that a checkpoint tells, as recorded when the folder's results were made."""
    before = read_yaml(folder / "config.yaml")
    return {key: before[key] for key in OURS if effect(key).told and key in before}


def _evaluate(
    name: str, keys: EvaluationKeys, scorer: Scorer, results: ResultFolder, facts: Mapping[str, Any], overwrite: bool
) -> Record | None:
    """A data set's figures, from the disk if they are there; None if documents are only to be indexed."""
    data = load_beir(name, keys.beir_dir, keys.split)
    if keys.do_search:
        stored = None if overwrite else on_main(lambda: results.stored(data, keys.metrics))
        if stored:
            logger.info("%s: %s is up to date", data.name, results.path / f"{data.name}.json")
            return stored
        on_main(lambda: results.move_aside(data))
    for note in data.notes if is_main() else []:
        logger.warning("%s: %s", data.name, note)
    scores = scorer.score(data)
    if not keys.do_search:
        return None
    scored = {"scored": scorer.model_says} if scorer.model_says else {}
    return on_main(lambda: results.write(data, scores, {**facts, **scored}))


def _what(results: ResultFolder, scorer: Scorer) -> str:
    """What is scored, as lines of the plan say it."""
    activation = scorer.model_says.get("activation_type")
    model = f"{results.inputs['model']} ({activation})" if activation else str(results.inputs["model"])
    return model if scorer.query_weights is None else f"{model}\nqueries     {scorer.query_weights}"


def _print_plan(keys: EvaluationKeys, what: str, folder: Path, engine: Callable[[], str]) -> None:
    """Print what would be done.

    Raises:
        UserError: everything that is missing.
    """
    lines, missing, absent = [f"scores      {what}", f"writes      {folder}"], [], _to_download(keys)
    for name in keys.beir_datasets:
        known = archive_of(parse_name(name)[0])
        if known in absent:
            missing.append(f"{known}: not in {keys.beir_dir}; it will be downloaded when this is run.")
            continue
        try:
            data = load_beir(name, keys.beir_dir, keys.split)
            counts = f"{len(data.queries)} queries, {len(data.doc_ids)} documents"
            lines.append(f"data set    {name}: {counts}, split {data.split}")
        except UserError as error:
            missing.append(str(error))
    if not keys.baseline:
        try:
            lines.append(f"searches    {on_main(engine)}")
        except UserError as error:
            missing.append(str(error))
    if is_main():
        print(plain("\n".join(lines)))
    if missing:
        raise UserError("\n".join(dict.fromkeys(missing)))
