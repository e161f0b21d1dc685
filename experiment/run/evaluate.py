"""One evaluation: each data set's figures and run written as soon as they are there, then the summary.

A rerun computes only what is missing or what an input changed; an old result is moved aside, never overwritten.
"""

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from experiment.run import folder as run_folder
from experiment.run.done import is_result
from experiment.run.engines import MakeEngine, check_engine, open_engines
from experiment.run.models import model_path, scored_model
from experiment.run.results import evaluation_folder, result_inputs
from experiment.settings.engine_rules import keeps_index
from experiment.settings.settings import Settings
from retrieval.beir_data import BeirData, load_beir
from retrieval.bm25 import score_bm25
from retrieval.dataset_names import parse_name
from retrieval.distributed import is_main, on_main
from retrieval.download import NAMES
from retrieval.metrics import DEFAULT_METRICS, QueryFigures, figure_name, per_query
from retrieval.run_file import read_run, write_run
from retrieval.score_dataset import DatasetScores, quality_figures, score_dataset
from sparse_model import SparseEncoder, UserError, corpus_idf

logger = logging.getLogger(__name__)


def run_evaluation(settings: Settings) -> None:
    """Score the model (or the baseline) on every data set of `beir_datasets`.

    Raises:
        UserError: for everything that cannot be used.
    """
    model = None if settings.evaluation.baseline else scored_model(settings)
    encoder = model.load() if model else None
    inputs = on_main(lambda: result_inputs(settings))
    folder = evaluation_folder(settings)
    if settings.run.dry_run:
        _print_plan(settings, folder, encoder)
        return
    with run_folder.locked(folder) if is_main() else nullcontext():
        _evaluate_all(settings, encoder, folder, inputs)


def _evaluate_all(settings: Settings, encoder: SparseEncoder | None, folder: Path, inputs: dict[str, Any]) -> None:
    on_main(lambda: run_folder.make_writable(folder / "runs"))
    on_main(lambda: run_folder.write_atomically(folder / "config.yaml", run_folder.yaml_text(settings.resolved())))
    results = []
    with _opened_when_needed(settings, encoder, folder) as engines:
        for name in settings.evaluation.beir_datasets:
            data = load_beir(name, settings.evaluation.beir_dir, settings.evaluation.split)
            stored = on_main(lambda d=data: _stored(folder, d, inputs, settings))  # type: ignore[misc]
            if stored:
                logger.info("%s: %s is up to date", data.name, folder / f"{data.name}.json")
                results.append(stored)
                continue
            for note in data.notes if is_main() else []:
                logger.warning("%s: %s", data.name, note)
            result = _score(settings, encoder, data, engines)
            if settings.evaluation.do_search:
                write = lambda d=data, r=result: _write(settings, folder, d, r, inputs)  # noqa: E731
                results.append(on_main(write))
    if settings.evaluation.do_search:
        on_main(lambda: _summarise(folder, results, inputs))


@contextmanager
def _opened_when_needed(
    settings: Settings, encoder: SparseEncoder | None, folder: Path
) -> Iterator[Callable[[], MakeEngine]]:
    """Yields a function that starts or reaches the search engine at its first call: what is up to date needs none."""
    opened: list[MakeEngine] = []
    with ExitStack() as stack:

        def engines() -> MakeEngine:
            if not opened and encoder is not None:
                model = scored_model(settings)
                facts = model.vector_facts(encoder, on_main(model.vector_files))
                # A run's evaluations share their indexes, unless they are under way at the same time.
                folders = (settings.output_dir / "evaluation", folder)
                opened.append(stack.enter_context(open_engines(settings, encoder, facts, folders)))
            return opened[0]

        yield engines


def _score(
    settings: Settings, encoder: SparseEncoder | None, data: BeirData, engines: Callable[[], MakeEngine]
) -> DatasetScores:
    keys, batch_size = settings.evaluation, settings.value("per_device_eval_batch_size") * 4
    if encoder is None:
        return score_bm25(data, keys.top_k, keys.metrics)
    if encoder.inf_free and scored_model(settings).idf_from_corpus:
        encoder.use_idf(corpus_idf(encoder.tokenizer, data.texts, encoder.vocabulary_size, is_main()))
    engine = engines()(data)
    options = (keys.top_k, keys.query_prune, batch_size, engine, keys.do_search, keys.metrics)
    result = score_dataset(encoder, data, *options)
    engine.close(keep=keeps_index(keys, settings.opensearch))
    return result


def _stored(folder: Path, data: BeirData, inputs: dict[str, Any], settings: Settings) -> dict[str, Any] | None:
    """The figures on disk if they come from the same inputs (and are wanted); others are moved aside."""
    if not settings.evaluation.do_search:
        return None
    path = folder / f"{data.name}.json"
    stored = run_folder.read_json(path)
    run = folder / "runs" / f"{data.name}.trec.gz"
    if not settings.run.overwrite and is_result(folder, data.name, inputs["config hash"], data.fingerprint):
        return _rescored(folder, data, stored, settings.evaluation.metrics)
    if path.exists():
        aside = run_folder.move_aside(path)
        for old in (run, _per_query_file(folder, data)):
            if old.exists():
                run_folder.move_aside(old)
        logger.info("%s is computed anew; the old one is now %s", path, aside)
    return None


def _rescored(folder: Path, data: BeirData, stored: dict[str, Any], metrics: list[str]) -> dict[str, Any]:
    """The stored figures; where other metrics are asked for, those are computed from the run that lies there."""
    names = list(map(figure_name, metrics))
    before = stored.get("metrics", list(map(figure_name, DEFAULT_METRICS)))
    if names == before and set(names) <= run_folder.read_json(_per_query_file(folder, data)).keys():
        return stored
    values = per_query(data.qrels, read_run(folder / "runs" / f"{data.name}.trec.gz"), metrics)
    _write_per_query(_per_query_file(folder, data), values, names)
    if names == before:
        return stored
    rest = {key: value for key, value in stored.items() if key not in (*before, "metrics")}
    record = quality_figures(data, values, metrics) | rest
    run_folder.write_json(folder / f"{data.name}.json", record)
    logger.info("%s: %s from the stored run", data.name, ", ".join(names))
    return record


def _write(
    settings: Settings, folder: Path, data: BeirData, result: DatasetScores, inputs: dict[str, Any]
) -> dict[str, Any]:
    record = dict(result.figures) | inputs | {"data hash": data.fingerprint, "seed": settings.value("seed")}
    record |= {"versions": run_folder.versions(), "git commit": run_folder.git_commit()}
    record["command"] = run_folder.command_line()
    write_run(folder / "runs" / f"{data.name}.trec.gz", result.rankings)
    _write_per_query(_per_query_file(folder, data), result.per_query, record["metrics"])
    # Last, so that its existence means that the data set is done.
    run_folder.write_json(folder / f"{data.name}.json", record)
    quality = ", ".join(f"{name} {record[name]:.4f}" for name in record["metrics"][:2])
    logger.info("%s: %s, FLOPS %.3f, %.1f tokens a document", data.name, quality, record["flops"], record["d_length"])
    return record


def _per_query_file(folder: Path, data: BeirData) -> Path:
    return folder / "runs" / f"{data.name}.per_query.json"


def _write_per_query(path: Path, values: QueryFigures, names: list[str]) -> None:
    """The figures of every judged query, which paired tests need: {figure: {query id: value}}."""
    by_name = {name: {qid: round(figures[name], 6) for qid, figures in values.items()} for name in names}
    run_folder.write_atomically(path, json.dumps(by_name) + "\n")


def _summarise(folder: Path, results: list[dict[str, Any]], inputs: dict[str, Any]) -> None:
    """summary.json (macro averages and which data sets they are over) and summary.csv (a row each)."""
    everywhere = set.intersection(*(set(result) for result in results))
    names = [key for key, value in results[0].items() if isinstance(value, float) or key == "index_bytes"]
    names = [name for name in names if name in everywhere]
    means = {name: sum(float(result[name]) for result in results) / len(results) for name in names}
    data_sets = [result["dataset"] for result in results]
    before = run_folder.read_json(folder / "summary.json").get("datasets", [])
    if not set(before) <= set(data_sets):
        for name in ("summary.json", "summary.csv"):
            run_folder.move_aside(folder / name)
    run_folder.write_json(folder / "summary.json", {"datasets": data_sets, "figures": means, **inputs})
    buffer = io.StringIO()
    table = csv.DictWriter(buffer, ["dataset", "split", "queries", "documents", *names], extrasaction="ignore")
    table.writeheader()
    table.writerows([*results, {"dataset": f"average of {len(results)}", **means}])
    run_folder.write_atomically(folder / "summary.csv", buffer.getvalue())
    print(_table(results, means))
    print(f"written to {folder}")


def _table(results: list[dict[str, Any]], means: dict[str, float]) -> str:
    columns = [*results[0].get("metrics", map(figure_name, DEFAULT_METRICS)), "flops", "q_length", "d_length"]
    rows = [*results, *([{"dataset": "average", **means}] if len(results) > 1 else [])]
    width = max(len(row["dataset"]) for row in [*rows, {"dataset": "average"}])
    lines = [" ".join([" " * width, *(f"{name:>8}" for name in columns)])]
    for row in rows:
        figures = (f"{row[name]:>{max(len(name), 8)}.4f}" for name in columns)
        lines.append(" ".join([f"{row['dataset']:<{width}}", *figures]))
    return "\n".join(lines)


def _print_plan(settings: Settings, folder: Path, encoder: SparseEncoder | None) -> None:
    what = f"{model_path(settings)} ({encoder.activation_type})" if encoder else settings.evaluation.baseline
    lines, missing = [f"scores      {what}", f"writes      {folder}"], []
    for name in settings.evaluation.beir_datasets:
        known, _ = parse_name(name)
        if known in NAMES and not Path(settings.evaluation.beir_dir, known).is_dir():
            missing.append(f"{known}: not in {settings.evaluation.beir_dir}; it will be downloaded when this is run.")
            continue
        try:
            data = load_beir(name, settings.evaluation.beir_dir, settings.evaluation.split)
            counts = f"{len(data.queries)} queries, {len(data.doc_ids)} documents"
            lines.append(f"data set    {name}: {counts}, split {data.split}")
        except UserError as error:
            missing.append(str(error))
    if encoder:
        try:
            lines.append(f"searches    {on_main(lambda: check_engine(settings))}")
        except UserError as error:
            missing.append(str(error))
    if is_main():
        print("\n".join(lines))
    if missing:
        raise UserError("\n".join(missing))
