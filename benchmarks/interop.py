"""NDCG@10 of a checkpoint through every installed program that loads it, on a BEIR folder.

    python -m benchmarks.interop CHECKPOINT BEIR_FOLDER [--documents 1000]

The programs are those of `python -m sparse_model.verify`. Most give the logits of every token over the whole
vocabulary, which takes them long: --documents keeps the judged documents and the first others.
"""

import argparse
import sys
import tempfile
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import sparse_model
from retrieval.beir_data import BeirData, load_beir
from retrieval.metrics import score_rankings
from sparse_model.commands import exit_code
from sparse_model.verify.compare import Encoded
from sparse_model.verify.consumers import CONSUMERS, Checkpoint, Unfit


def run(name: str, folder: str, documents: int | None) -> None:
    """Print a line for each program."""
    data = load_beir(folder, "")
    rows = _kept(data, documents)
    texts = [data.texts[row] for row in rows]
    print(f"{data.name}: {len(rows)} documents, {len(data.queries)} queries", flush=True)
    encoder = sparse_model.load(name)
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Checkpoint(Path(name), encoder, [*texts, *data.queries], Path(scratch))
        start = time.monotonic()
        ours = Encoded(encoder.encode_documents(texts), encoder.encode_queries(data.queries))
        _show("ours", _ndcg(data, rows, ours), start)
        for program, consumer in CONSUMERS.items():
            if any(find_spec(package) is None for package in (consumer.package, *consumer.beside)):
                continue
            start = time.monotonic()
            try:
                documents_NV, queries_NV = consumer.encode(checkpoint)
            except Unfit as reason:
                print(f"{program:<24} {reason}")
                continue
            theirs = Encoded(documents_NV[: len(texts)], queries_NV[len(texts) :])
            _show(f"{program} {metadata.version(consumer.package)}", _ndcg(data, rows, theirs), start)


def _kept(data: BeirData, documents: int | None) -> list[int]:
    """Rows of the judged documents and of the first others, in the corpus's order."""
    judged = {document for grades in data.qrels.values() for document in grades}
    rows = sorted(range(len(data.texts)), key=lambda row: (data.doc_ids[row] not in judged, row))
    return sorted(rows[: documents or None])


def _ndcg(data: BeirData, rows: list[int], encoded: Encoded) -> float:
    scores_QN = (encoded.queries @ encoded.documents.T).toarray()
    best_QK = np.argsort(-scores_QN, axis=1, kind="stable")[:, :100]
    rankings = {
        query: [(data.doc_ids[rows[n]], float(scores_N[n])) for n in best if scores_N[n] > 0]
        for query, scores_N, best in zip(data.query_ids, scores_QN, best_QK, strict=True)
    }
    return score_rankings(data.qrels, rankings, ["nDCG@10"])["ndcg@10"]


def _show(program: str, ndcg: float, start: float) -> None:
    print(f"{program:<36} {ndcg:.4f}  {time.monotonic() - start:5.0f} s", flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interop", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", help="a folder that `SparseEncoder.save` or train_ir.py wrote")
    parser.add_argument("folder", help="a BEIR folder")
    parser.add_argument("--documents", type=int, help="so many: the judged ones and the first others")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: run(arguments.checkpoint, arguments.folder, arguments.documents))


if __name__ == "__main__":
    sys.exit(main())
