"""NDCG@10 of a checkpoint through every installed program that loads it or searches its vectors, on a BEIR folder.

    python -m benchmarks.interop CHECKPOINT BEIR_FOLDER OUT.json [--documents 1000] [--programs "ONNX, pooled" MTEB]

The programs are those of `python -m sparse_model.verify`, MTEB, and engines (`interop_engines`) that search our
vectors. Each is a line of OUT.json as soon as it is done: the same command goes on with those that are missing, and
with other versions of those that are there. Most programs give the logits of every token over the whole vocabulary,
which takes them long: --documents keeps the judged documents and the first others.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import sparse_model
from benchmarks import mteb_task
from benchmarks.interop_engines import ENGINES, Hits
from retrieval.beir_data import BeirData, load_beir
from retrieval.files import read_json, write_json
from retrieval.metrics import score_rankings
from retrieval.strings import Ids
from sparse_model.commands import exit_code
from sparse_model.errors import UserError
from sparse_model.verify.compare import Encoded
from sparse_model.verify.consumers import CONSUMERS, Checkpoint, Unfit

OURS, MTEB, HITS = "ours", "MTEB", 100
PROGRAMS = [OURS, *CONSUMERS, MTEB, *ENGINES]


def run(name: str, folder: str, out: Path, documents: int | None, programs: list[str] | None) -> None:
    """Print a line for each program, and keep it.

    Raises:
        UserError: if `out` holds figures of another checkpoint or of other documents.
    """
    data = _part(load_beir(folder, ""), documents)
    of = {"checkpoint": str(Path(name).resolve()), "data": data.fingerprint, "documents": len(data.texts)}
    found = read_json(out) or {"of": of, "programs": {}}
    if found["of"] != of:
        raise UserError(f"{out} holds figures of {found['of']}, not of {of}; name another file.")
    print(f"{data.name}: {len(data.texts)} documents, {len(data.queries)} queries", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for program, score in _programs(name, data, Path(scratch)):
            if program not in found["programs"] and (not programs or program.rpartition(" ")[0] in programs):
                start = time.monotonic()
                try:
                    found["programs"][program] = {"ndcg@10": score(), "seconds": time.monotonic() - start}
                except Unfit as reason:
                    found["programs"][program] = {"unfit": str(reason)}
                write_json(out, found)
            if program in found["programs"]:
                print(_line(program, **found["programs"][program]), flush=True)


def _programs(name: str, data: BeirData, scratch: Path) -> Iterator[tuple[str, Callable[[], float]]]:
    """(name and version, what gives its NDCG@10) of each that is installed."""
    encoder = sparse_model.load(name)
    ours: list[Encoded] = []

    def vectors() -> Encoded:
        if not ours:
            ours.append(Encoded(encoder.encode_documents(data.texts), encoder.encode_queries(data.queries)))
        return ours[0]

    yield f"{OURS} {metadata.version('sparse-retrieval-l0')}", lambda: _ndcg(data, exact(vectors()))
    checkpoint = Checkpoint(Path(name), encoder, [*data.texts, *data.queries], scratch)
    for program, consumer in CONSUMERS.items():
        if all(find_spec(package) for package in (consumer.package, *consumer.beside)):
            encode = consumer.encode
            version = metadata.version(consumer.package)
            yield f"{program} {version}", lambda encode=encode: _ndcg(data, exact(encode(checkpoint), data))  # type: ignore[misc]
    if find_spec("mteb"):
        yield f"{MTEB} {metadata.version('mteb')}", lambda: mteb_task.ndcg(name, data)
    for program, engine in ENGINES.items():
        if find_spec(engine.package):
            search = engine.search
            version = metadata.version(engine.pip)
            yield f"{program} {version}", lambda search=search: _ndcg(data, search(vectors(), HITS, scratch))  # type: ignore[misc]


def exact(encoded: Encoded, data: BeirData | None = None) -> Hits:
    """The best of all products; with data, its documents are the first rows and its queries the last."""
    documents_NV, queries_QV = encoded
    if data:
        documents_NV, queries_QV = documents_NV[: len(data.texts)], queries_QV[-len(data.queries) :]
    scores_QN = (queries_QV @ documents_NV.T).toarray()
    best_QK = np.argsort(-scores_QN, axis=1, kind="stable")[:, :HITS]
    return [[(n, float(row[n])) for n in best if row[n] > 0] for row, best in zip(scores_QN, best_QK, strict=True)]


def _part(data: BeirData, documents: int | None) -> BeirData:
    """With the judged documents and the first others, in the corpus's order."""
    judged = {document for grades in data.qrels.values() for document in grades}
    rows = sorted(range(len(data.texts)), key=lambda row: (data.doc_ids[row] not in judged, row))
    rows = sorted(rows[: documents or None])
    return replace(data, doc_ids=Ids.of(data.doc_ids.take(rows)), texts=[data.texts[row] for row in rows])


def _ndcg(data: BeirData, hits: Hits) -> float:
    rankings = {
        query: [(data.doc_ids[n], score) for n, score in found]
        for query, found in zip(data.query_ids, hits, strict=True)
    }
    return score_rankings(data.qrels, rankings, ["nDCG@10"])["ndcg@10"]


def _line(program: str, **found: float | str) -> str:
    if "unfit" in found:
        return f"{program:<36} {found['unfit']}"
    return f"{program:<36} {found['ndcg@10']:.4f}  {found['seconds']:5.0f} s"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interop", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", metavar="CHECKPOINT", help="a folder that `SparseEncoder.save` or train_ir.py wrote")
    parser.add_argument("folder", help="a BEIR folder")
    parser.add_argument("out", type=Path, help="a JSON file, which is gone on with")
    parser.add_argument("--documents", type=int, help="so many: the judged ones and the first others")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, help="some of them")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: run(**vars(arguments)))


if __name__ == "__main__":
    sys.exit(main())
