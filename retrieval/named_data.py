"""Data sets of the Hugging Face hub (hub:owner/name) and of ir_datasets (irds:ID), written as BEIR folders."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from retrieval.dataset_names import IRDS
from retrieval.hub_data import hub_folder, hub_name
from sparse_model.errors import UserError

IRDS_SPLIT = "test"  # an id of ir_datasets names one set of judgements


def malformed(name: str) -> str | None:
    """What is wrong with a data set's name; None: nothing that can be told without a look at its source."""
    try:
        if not name.startswith(IRDS) and hub_name(name).config:
            return f"{name}: a data set to evaluate on is hub:owner/name, without a configuration."
    except UserError as error:
        return str(error)
    return f"{name}: give irds: and an id of ir_datasets." if name == IRDS else None


def write_named(name: str, target: Path) -> None:
    """Write the data set that has this name into an empty folder.

    Raises:
        UserError: if it is not known there, cannot be reached, or holds something else.
    """
    (_write_irds if name.startswith(IRDS) else _write_hub)(name, target)


def write_records(path: Path, records: Iterable[dict[str, str]]) -> None:
    """A BEIR folder's corpus.jsonl or queries.jsonl."""
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_qrels(path: Path, judgements: Iterable[tuple[str, str, int]]) -> None:
    """A BEIR folder's qrels/<split>.tsv."""
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(("query-id", "corpus-id", "score"))
        rows.writerows(judgements)


def _write_hub(name: str, target: Path) -> None:
    """Configurations corpus and queries, and judgements in qrels or default, a file for each split, as MTEB's sets."""
    from retrieval.row_files import splits_on_hub  # slow to import, and rarely needed

    folder = hub_folder(name)
    found = {}
    for config in ("corpus", "queries", "qrels", "default"):
        try:
            found[config] = splits_on_hub(folder, config)
        except (OSError, ValueError):  # of a configuration that is not there
            continue
    judged = found.get("qrels") or found.get("default")
    try:
        if judged is None:
            raise KeyError("qrels or default")
        for config in ("corpus", "queries"):
            rows = (row for split in found[config].values() for row in split)
            write_records(target / f"{config}.jsonl", map(_record, rows))
        for split, rows in judged.items():
            triples = ((row["query-id"], row["corpus-id"], int(row.get("score", 1))) for row in rows)
            write_qrels(target / "qrels" / f"{split}.tsv", triples)
    except KeyError as error:
        raise UserError(
            f"{name}: no {error.args[0]} in it. A data set on the hub to evaluate on has configurations corpus and "
            "queries (_id, title, text) and judgements in qrels or default (query-id, corpus-id, score)."
        ) from None


def _record(row: dict[str, Any]) -> dict[str, str]:
    name = row["_id"] if "_id" in row else row["id"]
    return {"_id": str(name), **({"title": row["title"]} if row.get("title") else {}), "text": row["text"] or ""}


def _write_irds(name: str, target: Path) -> None:
    try:
        ir_datasets = importlib.import_module("ir_datasets")
    except ImportError:
        raise UserError(f"{name}: needs the package ir_datasets: pip install 'ir_datasets>=0.5.6'") from None
    try:
        data = ir_datasets.load(name.removeprefix(IRDS))
    except KeyError:
        raise UserError(
            f"{name}: ir_datasets knows no such data set; its ids stand at https://ir-datasets.com"
        ) from None
    if not (data.has_docs() and data.has_queries() and data.has_qrels()):
        raise UserError(f"{name}: has not all of documents, queries and judgements; one of its parts may have them.")
    try:
        write_records(target / "corpus.jsonl", tqdm(_irds_documents(data), desc=name, total=data.docs_count()))
        queries = ({"_id": query.query_id, "text": query.default_text()} for query in data.queries_iter())
        write_records(target / "queries.jsonl", queries)
        triples = ((judged.query_id, judged.doc_id, judged.relevance) for judged in data.qrels_iter())
        write_qrels(target / "qrels" / f"{IRDS_SPLIT}.tsv", triples)
    except RuntimeError as error:  # what ir_datasets raises when none of its sources answers
        raise ConnectionError(error.args[0] if error.args else error) from error


def _irds_documents(data: Any) -> Iterator[dict[str, str]]:
    """Title and text where there are both, else the text that ir_datasets takes for the document's."""
    for document in data.docs_iter():
        if hasattr(document, "title") and hasattr(document, "text"):
            yield {"_id": document.doc_id, "title": document.title or "", "text": document.text or ""}
        else:
            yield {"_id": document.doc_id, "text": document.default_text()}
