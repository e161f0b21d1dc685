"""Training pairs from a BEIR folder's judgements, or with negatives from a prepared data set.

    python -m pairs.beir scifact --beir_dir data/beir --split train --output data/scifact/train.jsonl
    python -m pairs.beir data/scifact_ft --negatives 8 --output data/scifact/mined.jsonl

One row for each judged document with a grade above 0, `data_type: posnegs`: {query, pos}, to be trained with in-batch
negatives, or {query, pos, negs} where the data set is one that data_preparation.py wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from retrieval.files import write_atomically
from sparse_model.commands import exit_code
from sparse_model.errors import UserError

if TYPE_CHECKING:  # what reads data is imported when there is something to read: --help answers at once
    from retrieval.beir_data import BeirData


def pairs(data: BeirData) -> Iterator[dict[str, Any]]:
    """Rows {query, pos}, queries in the data set's order; absent and empty documents are left out.

    A document that was cut is its passages one after another.
    """
    cut: dict[str, list[str]] = {}
    for passage, document in data.passage_of.items():
        cut.setdefault(document, []).append(passage)
    for query_id, query in zip(data.query_ids, data.queries, strict=True):
        relevant = [doc for doc, grade in data.qrels[query_id].items() if grade > 0]
        for doc in relevant:
            places = data.doc_ids.positions([doc, *cut.get(doc, [])]).tolist()
            if text := " ".join(data.texts[place] for place in places if place >= 0).strip():
                yield {"query": query, "pos": text}


def mined_pairs(rows: Iterable[dict[str, Any]], negatives: int) -> Iterator[dict[str, Any]]:
    """Rows {query, pos, negs} of prepared rows: negs are that many unjudged documents, evenly spread over the ranks."""
    for row in rows:
        unjudged = [doc for doc, judged in zip(row["docs"], row["labels"], strict=True) if not judged]
        negs = unjudged[:: max(1, len(unjudged) // negatives)][:negatives]
        for doc, judged in zip(row["docs"], row["labels"], strict=True):
            if judged and doc and negs:
                yield {"query": row["query"], "pos": doc, "negs": negs}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", help="a name (downloaded if absent), a BEIR folder, or a prepared data set's folder")
    parser.add_argument("--beir_dir", default="data/beir", help="folder of BEIR data sets")
    parser.add_argument("--split", default="train", help="the judgements to take")
    parser.add_argument("--negatives", type=int, default=8, help="of a prepared data set: negatives a row")
    parser.add_argument("--output", required=True, help="the .jsonl file to write")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: _make(arguments))


def _make(arguments: argparse.Namespace) -> None:
    rows = tqdm(_rows(arguments), "pairs", unit="pair", disable=None)
    lines = [json.dumps(row) + "\n" for row in rows]
    if not lines:
        raise UserError(f"{arguments.dataset}: split {arguments.split} has no positive judgement of a document.")
    _write(Path(arguments.output), "".join(lines))
    print(f"{arguments.output}: {len(lines)} pairs")


def _write(output: Path, text: str) -> None:
    """Write the file, unless it holds something else already."""
    if output.exists() and output.read_text(encoding="utf-8") != text:
        raise UserError(f"--output {output}: is there already and holds something else; name another file.")
    write_atomically(output, text)


def _rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a data set of either kind."""
    from retrieval.beir_data import load_beir
    from retrieval.row_files import read_rows

    if not Path(arguments.dataset, "state.json").is_file():
        return pairs(load_beir(arguments.dataset, arguments.beir_dir, arguments.split))
    if arguments.negatives < 1:
        raise UserError("--negatives: 1 or more.")
    rows = read_rows(Path(arguments.dataset))
    if "labels" not in rows.column_names:
        raise UserError(f"{arguments.dataset}: has no column labels; data_preparation.py writes one.")
    return mined_pairs(rows.select_columns(["query", "docs", "labels"]), arguments.negatives)


if __name__ == "__main__":
    sys.exit(main())
