"""NDCG@10 of a checkpoint through every installed program that loads it, on a BEIR folder.

    python -m benchmarks.interop CHECKPOINT BEIR_FOLDER [--documents 1000] [--programs "ONNX, pooled" MTEB]

The programs are those of `python -m sparse_model.verify`, and MTEB. Most give the logits of every token over the whole
vocabulary, which takes them long: --documents keeps the judged documents and the first others.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import sparse_model
from benchmarks import mteb_task
from retrieval.beir_data import BeirData, load_beir
from retrieval.metrics import score_rankings
from retrieval.strings import Ids
from sparse_model.commands import exit_code
from sparse_model.verify.compare import Encoded
from sparse_model.verify.consumers import CONSUMERS, Checkpoint, Unfit


def run(name: str, folder: str, documents: int | None, programs: list[str] | None) -> None:
    """Print a line for each program."""
    data = _part(load_beir(folder, ""), documents)
    print(f"{data.name}: {len(data.texts)} documents, {len(data.queries)} queries", flush=True)
    encoder = sparse_model.load(name)
    start = time.monotonic()
    _show(
        "ours", _ndcg(data, Encoded(encoder.encode_documents(data.texts), encoder.encode_queries(data.queries))), start
    )
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = Checkpoint(Path(name), encoder, [*data.texts, *data.queries], Path(scratch))
        for program, consumer in CONSUMERS.items():
            absent = any(find_spec(package) is None for package in (consumer.package, *consumer.beside))
            if absent or (programs and program not in programs):
                continue
            start = time.monotonic()
            try:
                _show(
                    f"{program} {metadata.version(consumer.package)}", _ndcg(data, consumer.encode(checkpoint)), start
                )
            except Unfit as reason:
                print(f"{program:<36} {reason}")
    if find_spec("mteb") and "MTEB" in (programs or ["MTEB"]):
        start = time.monotonic()
        _show(f"MTEB {metadata.version('mteb')}", mteb_task.ndcg(name, data), start)


def _part(data: BeirData, documents: int | None) -> BeirData:
    """With the judged documents and the first others, in the corpus's order."""
    judged = {document for grades in data.qrels.values() for document in grades}
    rows = sorted(range(len(data.texts)), key=lambda row: (data.doc_ids[row] not in judged, row))
    rows = sorted(rows[: documents or None])
    return replace(data, doc_ids=Ids.of(data.doc_ids.take(rows)), texts=[data.texts[row] for row in rows])


def _ndcg(data: BeirData, encoded: Encoded) -> float:
    """Queries are the last ones where both were encoded of everything."""
    documents_NV, queries_QV = encoded.documents[: len(data.texts)], encoded.queries[-len(data.queries) :]
    scores_QN = (queries_QV @ documents_NV.T).toarray()
    best_QK = np.argsort(-scores_QN, axis=1, kind="stable")[:, :100]
    rankings = {
        query: [(data.doc_ids[n], float(scores_N[n])) for n in best if scores_N[n] > 0]
        for query, scores_N, best in zip(data.query_ids, scores_QN, best_QK, strict=True)
    }
    return score_rankings(data.qrels, rankings, ["nDCG@10"])["ndcg@10"]


def _show(program: str, ndcg: float, start: float) -> None:
    print(f"{program:<36} {ndcg:.4f}  {time.monotonic() - start:5.0f} s", flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interop", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", metavar="CHECKPOINT", help="a folder that `SparseEncoder.save` or train_ir.py wrote")
    parser.add_argument("folder", help="a BEIR folder")
    parser.add_argument("--documents", type=int, help="so many: the judged ones and the first others")
    parser.add_argument("--programs", nargs="+", choices=[*CONSUMERS, "MTEB"], help="some of them")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: run(**vars(arguments)))


if __name__ == "__main__":
    sys.exit(main())
