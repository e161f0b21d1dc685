"""Loading and searching a corpus of millions: times, memory of each process, latencies beside the fastest peers.

    python -m benchmarks.large_corpus load FOLDER [--processes 2]      a BEIR folder, split dev, in processes of its own
    python -m benchmarks.large_corpus vectors OUT --documents N        made vectors, kept as an encoder's are
    python -m benchmarks.large_corpus search OUT [--contender NAME] [--on_disk]    built from these, and searched

Each adds its figures to --json FILE. FOLDER is what benchmarks.synthetic_corpus makes; the vectors follow the laws of
benchmarks.made_vectors. Private memory is what a process holds beside mapped files (RssAnon, Linux), its maximum while
it worked. Latencies are of one query at a time on one thread; queries/s are of all of them in one call.
"""

import argparse
import gc
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix, vstack

from benchmarks import measure
from benchmarks.made_vectors import VOCABULARY, made_documents, made_queries, shares
from benchmarks.search_contenders import columns_of, split_rows
from benchmarks.synthetic_corpus import DOCUMENTS, QUERIES
from retrieval.exact_engine import ExactEngine
from retrieval.exact_index import best
from retrieval.vectors import VectorCache
from sparse_model.query_weights import idf
from sparse_model.tokens import BLOCK

TERMS = 120
AT_ONCE = 2**18
TOP_K = (1000, 10)
OURS = "this toolkit"

Search = Callable[[csr_matrix, int, int], Any]
"""Of queries, k and threads."""
Built = tuple[Search, int, np.ndarray]
"""(the search, bytes of the index, document frequencies)"""


class PrivateMemory:
    """The maximum of this process's private bytes, looked at every half second, over what it was at the start."""

    def __enter__(self) -> "PrivateMemory":
        gc.collect()
        self._done, self.start = threading.Event(), _private()
        self.peak = self.start
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            self.peak = max(self.peak, _private())

    def __exit__(self, *error: Any) -> None:
        self._done.set()
        self._thread.join()
        self.now = _private()
        self.peak = max(self.peak, self.now)


def _private() -> int:
    """Not USS: it counts what this process alone has read of a mapped file so far, which the system may drop."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


def load(folder: Path, processes: int) -> list[dict[str, Any]]:
    """Loads by so many processes, each in three states: no cache, a cache out of memory, a cache in memory."""
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        for state in ("first", "later, not in memory", "later"):
            if state == "later, not in memory":
                _forget([folder / "corpus.jsonl", *Path(cache).rglob("*.arrow")])
            for row in _in_processes(_load, processes, str(folder), cache):
                rows.append({"state": state, "processes": processes, **row})
    return rows


def _load(rank: int, processes: int, folder: str, cache: str, rendezvous: str) -> dict[str, Any]:
    import torch.distributed as dist

    from retrieval.beir_data import load_beir

    os.environ["XDG_CACHE_HOME"] = cache
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=processes)
    started, cpu = time.perf_counter(), time.process_time()
    with PrivateMemory() as memory:
        data = load_beir(folder, "", "dev")
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        sample = np.random.default_rng(rank).integers(0, len(data.texts), 100_000)
        read = sum(map(len, (data.texts[n] for n in sample)))
    dist.barrier()
    return {
        "process": rank,
        "documents": len(data.texts),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "private_bytes_before": memory.start,
        "private_bytes": memory.now,
        "private_bytes_peak": memory.peak,
        "characters_read": read,
    }


def _in_processes(work: Callable[..., dict], processes: int, *arguments: Any) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch, context.Pool(processes) as pool:
        jobs = [(rank, processes, *arguments, f"{scratch}/rendezvous") for rank in range(processes)]
        return pool.starmap(work, jobs, chunksize=1)


def _forget(paths: Iterable[Path]) -> None:
    """Let the system drop what it holds of these files in memory."""
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def kept(folder: Path, documents: int) -> VectorCache:
    """Made vectors of so many documents, by the block; what is missing is made, from the seed of its AT_ONCE."""

    def encode(lists: Iterable[Sequence[Any]], progress: Callable[[int], object]) -> Iterator[csr_matrix]:
        made, start = csr_matrix((0, VOCABULARY)), -1
        for numbers in lists:
            first, count = int(numbers[0]), len(numbers)
            if first // AT_ONCE * AT_ONCE != start:
                start = first // AT_ONCE * AT_ONCE
                rng = np.random.default_rng([0, start])
                made = made_documents(rng, min(AT_ONCE, documents - start), shares(TERMS))
            progress(count)
            yield made[first - start : first - start + count]

    return VectorCache(folder, range(documents), encode)  # type: ignore[arg-type]  # numbers stand for texts


def make_vectors(folder: Path, documents: int) -> list[dict[str, Any]]:
    """Make and keep the vectors."""
    started = time.perf_counter()
    vectors = kept(folder, documents)
    postings = sum(weights.nnz for _, weights in vectors.blocks())
    (folder / "made.json").write_text(json.dumps({"documents": documents, "postings": postings}))
    return [{"documents": documents, "postings": postings, "seconds": time.perf_counter() - started}]


def search(
    folder: Path, contender: str, threads: Sequence[int], n_queries: int, on_disk: bool, checked: int
) -> list[dict[str, Any]]:
    """Build one contender's index from the kept vectors, and time it; of so many queries, compare the hits.

    Args:
        on_disk: whether our index lies on the disk of the vectors, mapped.
    """
    documents = json.loads((folder / "made.json").read_text())["documents"]
    vectors = kept(folder, documents)
    started, cpu = time.perf_counter(), time.process_time()
    with PrivateMemory() as memory:
        run, size, df_V = BUILDS[contender](vectors, documents, folder if on_disk else None)
    built: dict[str, Any] = {"name": contender, "documents": documents, "on_disk": on_disk, "bytes": size}
    built |= {"build_seconds": time.perf_counter() - started, "build_cpu_seconds": time.process_time() - cpu}
    built |= {"private_bytes_peak": memory.peak, "private_bytes": memory.now}
    queries = made_queries(np.random.default_rng(1), df_V, documents, n_queries)
    singles = [queries[q] for q in range(n_queries)]
    scores_NQ = _scores(vectors, queries[:checked]) if checked else None
    rows = []
    for k in TOP_K:
        run(queries[:4], k, 1)
        seconds = [_seconds(run, query, k, 1) for query in singles]
        row = dict(
            zip(("p50_ms", "p90_ms", "p99_ms"), (1e3 * np.percentile(seconds, [50, 90, 99])).tolist(), strict=True)
        )
        for n in threads:
            row[f"queries_per_s_{n}"] = n_queries / _seconds(run, queries, k, n)
        if scores_NQ is not None:
            row["recall"] = _recall(run(queries[:checked], k, 1), scores_NQ, k)
        rows.append({**built, "top_k": k, "queries": n_queries, **row})
    return rows


def _seconds(run: Search, queries: csr_matrix, k: int, threads: int) -> float:
    started = time.perf_counter()
    run(queries, k, threads)
    return time.perf_counter() - started


def _ours(vectors: VectorCache, documents: int, folder: Path | None) -> Built:
    engine = ExactEngine(folder=folder)
    df_V = engine.index([], VOCABULARY, vectors)

    def run(queries: csr_matrix, k: int, threads: int) -> Any:
        torch.set_num_threads(threads)
        return engine.search(queries, k)

    return run, int(engine.measure(csr_matrix((0, VOCABULARY)), 1)["index_bytes"]), df_V


def _splade_index(vectors: VectorCache, documents: int, folder: Path | None) -> Built:
    from splade_index.numba.retrieve_utils import _retrieve_numba_functional as retrieve

    postings = _columns(vectors, documents)

    def run(queries: csr_matrix, k: int, threads: int) -> Any:
        tokens, weights = split_rows(queries.indices, queries), split_rows(queries.data, queries)
        return list(zip(*retrieve(tokens, weights, columns_of(postings), k=k, n_threads=threads), strict=True))

    return run, _bytes(postings), np.diff(postings.indptr)


def _bm25s(vectors: VectorCache, documents: int, folder: Path | None) -> Built:
    """It knows no query weights: the IDF is multiplied into the documents."""
    from bm25s.numba.retrieve_utils import _retrieve_numba_functional as retrieve

    postings = _columns(vectors, documents)
    df_V = np.diff(postings.indptr)
    for token, weight in enumerate(idf(df_V, documents)):
        postings.data[postings.indptr[token] : postings.indptr[token + 1]] *= weight

    def run(queries: csr_matrix, k: int, threads: int) -> Any:
        tokens = split_rows(queries.indices, queries)
        return list(zip(*retrieve(tokens, columns_of(postings), k=k, n_threads=threads), strict=True))

    return run, _bytes(postings), df_V


BUILDS: dict[str, Callable[[VectorCache, int, Path | None], Built]] = {
    OURS: _ours,
    "bm25s": _bm25s,
    "splade-index": _splade_index,
}


def _columns(vectors: VectorCache, documents: int) -> csc_matrix:
    """All vectors by token. Each posting is put where it stays: there is no memory for them twice."""
    df_V = np.zeros(VOCABULARY, np.int64)
    for _, weights in vectors.blocks():
        df_V += np.bincount(weights.indices, minlength=VOCABULARY)
    indptr = np.concatenate([[0], np.cumsum(df_V)])
    numbers, data, places_V = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32), indptr[:-1].copy()
    blocks, start = vectors.blocks(), 0
    while chunk := [weights for _, weights in islice(blocks, AT_ONCE // BLOCK)]:
        part = vstack(chunk).tocsc()
        counts = np.diff(part.indptr)
        places = np.repeat(places_V - part.indptr[:-1], counts) + np.arange(part.nnz)
        numbers[places], data[places] = part.indices + start, part.data
        places_V, start = places_V + counts, start + part.shape[0]
    matrix = csc_matrix((documents, VOCABULARY), dtype=np.float32)
    matrix.indptr, matrix.indices, matrix.data = indptr, numbers, data
    return matrix


def _bytes(postings: csc_matrix) -> int:
    return postings.data.nbytes + postings.indices.nbytes + postings.indptr.nbytes


def _scores(vectors: VectorCache, queries: csr_matrix) -> np.ndarray:
    """float32 [N, Q]: every document's score, by products of whole blocks."""
    dense_VQ = np.ascontiguousarray(queries.T.toarray())
    return np.concatenate([weights @ dense_VQ for _, weights in vectors.blocks()])


def _recall(hits: Any, scores_NQ: np.ndarray, k: int) -> float:
    """The share of each query's k best documents that are among the hits, mean over queries."""
    best_of = [best(scores_N, k)[0] for scores_N in scores_NQ.T]
    return float(np.mean([np.isin(found, list(hit[0])).mean() for found, hit in zip(best_of, hits, strict=True)]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large_corpus", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("step", choices=("load", "vectors", "search"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--contender", choices=tuple(BUILDS), default=OURS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--on_disk", action="store_true", help="our index on the disk, mapped")
    parser.add_argument("--checked", type=int, default=20, help="queries whose hits are compared with all scores")
    parser.add_argument("--json", type=Path, help="file to add the figures to")
    asked = parser.parse_args(arguments)
    steps: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "load": lambda: load(asked.folder, asked.processes),
        "vectors": lambda: make_vectors(asked.folder, asked.documents),
        "search": lambda: search(
            asked.folder, asked.contender, asked.threads, asked.queries, asked.on_disk, asked.checked
        ),
    }
    rows = steps[asked.step]()
    for row in rows:
        print(json.dumps(row))
    if asked.json:
        before = json.loads(asked.json.read_text()) if asked.json.exists() else {}
        before |= {"machine": measure.machine(), "versions": measure.versions()}
        before[asked.step] = before.get(asked.step, []) + rows
        asked.json.write_text(json.dumps(before, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
