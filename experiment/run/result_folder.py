"""The files of an evaluation: each data set's figures, its run, the figures of each query, and the summary."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiment.run.done import is_result
from experiment.run.folder import command_line, git_commit, versions
from experiment.run.results import metrics_of
from retrieval.averages import by_whole, macro_means, whole_queries
from retrieval.beir_data import BeirData
from retrieval.files import move_aside, read_json, write_atomically, write_json
from retrieval.fingerprint import hash_of
from retrieval.metrics import QueryFigures, figure_name, per_query
from retrieval.run_file import read_run, write_run
from retrieval.score_dataset import DatasetScores, loss_names, quality_figures
from retrieval.tables import csv_table, text_table
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

Record = dict[str, Any]
"""What <dataset>.json holds."""


class ResultFolder:
    """The results of one evaluation; every method is for the main process alone.

    Args:
        inputs: what they belong to beside the data: "model" and "config hash".
    """

    def __init__(self, path: Path, inputs: Mapping[str, Any]) -> None:
        self.path, self.inputs = path, inputs

    def has_inputs_of(self, names: Sequence[str]) -> bool:
        """Whether every data set has a result of these inputs, over whichever data."""
        return all(is_result(self.path, name, self.inputs["config hash"], None) for name in names)

    def stored(self, data: BeirData, metrics: Sequence[str]) -> Record | None:
        """The data set's figures if they are there and belong to these inputs, with the metrics that are asked for."""
        if not is_result(self.path, data.name, self.inputs["config hash"], data.fingerprint):
            return None
        try:
            return self._with_metrics(data, read_json(self._figures(data)), metrics)
        except UserError as error:  # of the run's file
            logger.warning("%s; %s is computed anew", error, data.name)
            return None

    def move_aside(self, data: BeirData) -> None:
        """Keep what is there of the data set under other names."""
        if self._figures(data).exists():
            aside = move_aside(self._figures(data))
            for old in (self._run(data), self._queries(data)):
                if old.exists():
                    move_aside(old)
            logger.info("%s is computed anew; the old one is now %s", self._figures(data), aside)

    def write(self, data: BeirData, scores: DatasetScores, facts: Mapping[str, Any]) -> Record:
        """File a data set's scores; facts: what else its figures are of."""
        record = {**scores.figures, **self.inputs, "data hash": data.fingerprint, **facts}
        record |= {"versions": versions(), "git commit": git_commit(), "command": command_line()}
        write_run(self._run(data), scores.rankings)
        _write_queries(self._queries(data), scores.per_query, record["metrics"])
        # Last, so that its existence means that the data set is done.
        write_json(self._figures(data), record)
        quality = ", ".join(f"{name} {record[name]:.4f}" for name in record["metrics"][:2])
        costs = f"FLOPS {record['flops']:.3f}, {record['d_length']:.1f} tokens a document"
        logger.info("%s: %s, %s", data.name, quality, costs)
        return record

    def summarise(self, records: Sequence[Record]) -> str:
        """Write summary.json (macro averages, and which data sets they are over) and summary.csv; a table to print."""
        wholes = by_whole(records)
        means, data_sets = macro_means(wholes), [record["dataset"] for record in wholes]
        made = [self._write_whole(record) for record in wholes if "parts" in record]
        before = read_json(self.path / "summary.json").get("datasets", [])
        if not set(before) <= set(data_sets):
            for old in (self.path / "summary.json", self.path / "summary.csv"):
                if old.exists():
                    move_aside(old)
        write_atomically(self.path / "summary.csv", _csv([*records, *made], means, len(wholes)))
        # Last: by it a sweep sees that the evaluation is done.
        write_json(self.path / "summary.json", {"datasets": data_sets, "figures": means, **self.inputs})
        return _table([*records, *made], means)

    def _write_whole(self, record: Record) -> Record:
        """File the mean over a data set's parts beside them."""
        parts = record["parts"]
        queries = whole_queries({label: read_json(self.path / "runs" / f"{label}.per_query.json") for label in parts})
        write_atomically(self.path / "runs" / f"{record['dataset']}.per_query.json", json.dumps(queries) + "\n")
        hashes = [read_json(self.path / f"{label}.json")["data hash"] for label in parts]
        write_json(self.path / f"{record['dataset']}.json", record | {"data hash": hash_of(hashes)[:16]})
        return record

    def _with_metrics(self, data: BeirData, stored: Record, metrics: Sequence[str]) -> Record:
        """The stored figures; where other metrics are asked for, those are computed from the run that lies there."""
        names = list(map(figure_name, metrics))
        before = metrics_of(stored)
        if names == before and set(names) <= read_json(self._queries(data)).keys():
            return stored
        values = per_query(data.qrels, read_run(self._run(data)), metrics)
        _write_queries(self._queries(data), values, names)
        if names == before:
            return stored
        of_before = {name for metric in before for name in (metric, *loss_names(metric))}
        rest = {key: value for key, value in stored.items() if key not in of_before | {"metrics"}}
        record = quality_figures(data, values, metrics) | rest
        write_json(self._figures(data), record)
        logger.info("%s: %s from the stored run", data.name, ", ".join(names))
        if of_before & stored.keys() - {*before}:
            logger.info("%s: what an exact search would find by them is told with overwrite=true", data.name)
        return record

    def _figures(self, data: BeirData) -> Path:
        return self.path / f"{data.name}.json"

    def _run(self, data: BeirData) -> Path:
        return self.path / "runs" / f"{data.name}.trec.gz"

    def _queries(self, data: BeirData) -> Path:
        return self.path / "runs" / f"{data.name}.per_query.json"


def _write_queries(path: Path, values: QueryFigures, names: Sequence[str]) -> None:
    """The figures of every judged query, which paired tests need: {figure: {query id: value}}."""
    by_name = {name: {qid: round(figures[name], 6) for qid, figures in values.items()} for name in names}
    write_atomically(path, json.dumps(by_name) + "\n")


def _csv(records: Sequence[Record], means: dict[str, float], n_data_sets: int) -> str:
    """A row for each data set, and one of averages."""
    rows = [*records, {"dataset": f"average of {n_data_sets}", **means}]
    return csv_table(["dataset", "split", "queries", "documents", *means], rows, line_end="\r\n")


def _table(records: Sequence[Record], means: dict[str, float]) -> str:
    columns = [*metrics_of(records[0]), "flops", "q_length", "d_length"]
    rows = [*records, *([{"dataset": "average", **means}] if len(records) > 1 else [])]
    lines = [[str(row["dataset"]), *(f"{row[name]:.4f}" for name in columns)] for row in rows]
    return text_table([["", *columns], *lines])
