"""Exact search beside its peers, on one machine and the same vectors.

    python -m benchmarks.search [--documents 100000] [--terms 120] [--queries 500] [--top_k 1000 10] [--rounds 5]
        [--threads 2] [--all] [--json FILE]
    python -m benchmarks.search --growth [--json FILE]         our engine from 10,000 to 1,000,000 documents

The peers are those of benchmarks.search_contenders, the vectors those of benchmarks.made_vectors.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from benchmarks import measure
from benchmarks.made_vectors import VOCABULARY, synthetic
from benchmarks.search_contenders import CONTENDERS, SLOW_TO_BUILD, Rows, Search, ours
from retrieval.exact_index import ExactIndex
from retrieval.tables import text_table

GROWTH = (10_000, 30_000, 100_000, 300_000, 1_000_000)
# Of each contender in each round: fast ones repeat all queries, slow ones are given fewer, but at least FEWEST.
SECONDS_A_ROUND = 0.4
FEWEST = 20
# A contender that has taken this long at one k is left out of further rounds.
ENOUGH_SECONDS = 10.0


def check(name: str, exact: bool, theirs: Rows, reference: Rows) -> float:
    """The share of the reference's documents that theirs holds, mean over queries.

    Raises:
        AssertionError: an exact contender's scores differ by more than rounding.
    """
    shares = []
    for (positions, scores), (expected, expected_scores) in zip(theirs, reference, strict=True):
        if exact:
            ranked = np.sort(np.asarray(scores, dtype=np.float32))[::-1][: len(expected_scores)]
            np.testing.assert_allclose(ranked, expected_scores, rtol=1e-4, err_msg=name)
        shares.append(len(np.intersect1d(positions, expected)) / max(1, len(expected)))
    return float(np.mean(shares))


def run(
    documents: int = 100_000,
    terms: int = 120,
    queries: int = 500,
    top_k: Sequence[int] = (1000, 10),
    rounds: int = 5,
    threads: int | None = None,
    slow: bool = False,
) -> dict[str, Any]:
    """{machine, versions, settings, rows}: all contenders in turn, `rounds` times.

    slow: also those whose index takes minutes.

    Raises:
        AssertionError: an exact contender's scores are not ours.
    """
    threads = threads or torch.get_num_threads()
    document_weights, query_weights = synthetic(documents, terms, queries)
    df_V = np.bincount(document_weights.indices, minlength=VOCABULARY)
    settings = {"documents": documents, "postings": document_weights.nnz, "queries": queries, "threads": threads}
    settings["shared_tokens"] = float(df_V[query_weights.indices].sum() / documents / queries)
    built: dict[str, Search] = {}
    about: dict[str, dict[str, Any]] = {}
    ours(document_weights[:1], threads, "")  # compiles what building needs
    with tempfile.TemporaryDirectory() as scratch:
        for name, (build, exact, package) in CONTENDERS.items():
            folder = os.path.join(scratch, str(len(about)))
            os.mkdir(folder)
            about[name] = {"name": name, "exact": exact}
            if name in SLOW_TO_BUILD and not slow:
                about[name]["missing"] = "left out, its index takes minutes: --all"
                continue
            started = time.perf_counter()
            try:
                built[name], size = build(document_weights, threads, folder)
            except ImportError:
                about[name]["missing"] = f"not installed: pip install {package}"
                continue
            about[name]["build_seconds"] = time.perf_counter() - started
            about[name]["bytes"] = size
            about[name]["bytes_ratio"] = size / (8 * document_weights.nnz) if size else None
        rows: list[dict[str, Any]] = []
        for k in top_k:
            rows += _timed(built, about, query_weights, min(k, documents), rounds)
    return {"machine": measure.machine(), "versions": measure.versions(), "settings": settings, "rows": rows}


def _timed(built: dict[str, Search], about: dict[str, dict], queries: csr_matrix, k: int, rounds: int) -> list[dict]:
    """A row for each contender at one k; contenders that are slow get the first queries only."""
    n = queries.shape[0]
    shares, counts, repeats, reference = {}, {}, {}, None
    for name, search in built.items():
        # The first call may compile; the second tells how many queries fit a round.
        search(queries[:4], k)
        seconds_a_query = _seconds(search, queries[:FEWEST], k)
        counts[name] = min(n, max(FEWEST, int(SECONDS_A_ROUND / seconds_a_query)))
        repeats[name] = max(1, round(SECONDS_A_ROUND / seconds_a_query / counts[name]))
        theirs = search(queries if reference is None else queries[: counts[name]], k)
        reference = reference or theirs
        shares[name] = check(name, about[name]["exact"], theirs, reference[: counts[name]])
    seconds: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(rounds):
        for name, search in built.items():
            if sum(seconds[name]) * counts[name] * repeats[name] < ENOUGH_SECONDS:
                seconds[name].append(_seconds(search, queries[: counts[name]], k, repeats[name]))
    first = np.median(seconds[next(iter(built))])
    return [
        about[name]
        if name not in built
        else {
            **about[name],
            "top_k": k,
            "recall": shares[name],
            "queries": counts[name],
            "queries_per_s": float(1 / np.median(seconds[name])),
            "slowest": 1 / max(seconds[name]),
            "fastest": 1 / min(seconds[name]),
            "ms_per_query": float(1e3 * np.median(seconds[name])),
            "times_ours": float(np.median(seconds[name]) / first),
        }
        for name in about
    ]


def _seconds(search: Search, queries: csr_matrix, k: int, repeats: int = 1) -> float:
    """For one query."""
    started = time.perf_counter()
    for _ in range(repeats):
        search(queries, k)
    return (time.perf_counter() - started) / repeats / queries.shape[0]


def run_growth(
    sizes: Sequence[int] = GROWTH,
    terms: int = 120,
    queries: int = 300,
    top_k: Sequence[int] = (1000, 10),
    rounds: int = 3,
    threads: int | None = None,
) -> dict[str, Any]:
    """Our engine over corpora of several sizes: rows, and the exponent of each time as a power of the size."""
    threads = threads or torch.get_num_threads()
    ours(csr_matrix(np.eye(2, dtype=np.float32)), threads, "")  # compiles what building needs
    rows = []
    for size in sizes:
        documents, weights = synthetic(size, terms, queries)
        started = time.perf_counter()
        index = ExactIndex(documents)
        row: dict[str, Any] = {"documents": size, "postings": documents.nnz}
        row["build_seconds"] = time.perf_counter() - started
        row["bytes"] = index.nbytes + index.table_nbytes
        row["bytes_ratio"] = row["bytes"] / (8 * documents.nnz)
        del documents
        for k in top_k:
            _seconds(index.search, weights, k)
            seconds = [_seconds(index.search, weights, k) for _ in range(rounds)]
            row[f"ms_per_query@{k}"] = float(1e3 * np.median(seconds))
            row[f"queries_per_s@{k}"] = float(1 / np.median(seconds))
        rows.append(row)
    timed = ["build_seconds", *(f"ms_per_query@{k}" for k in top_k)]
    log_n = np.log([row["documents"] for row in rows])
    exponents = {key: float(np.polyfit(log_n, np.log([row[key] for row in rows]), 1)[0]) for key in timed}
    settings = {"terms": terms, "queries": queries, "threads": threads}
    return {
        "machine": measure.machine(),
        "versions": measure.versions(),
        "settings": settings,
        "rows": rows,
        "exponents": exponents,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of `run` as text: median and range of queries/s, time against ours, building, bytes against postings'."""
    heads = "top_k,contender,queries/s,slowest,fastest,ms/query,× ours,recall,build s,bytes/(8 B)".split(",")
    absent = dict.fromkeys(f"{row['name']}: {row['missing']}" for row in rows if "missing" in row)
    return "\n".join([text_table([heads, *(_cells(row) for row in rows if "missing" not in row)], "><>"), *absent])


def _cells(row: dict[str, Any]) -> list[str]:
    speeds = [f"{row[key]:,.0f}" for key in ("queries_per_s", "slowest", "fastest")]
    times = [f"{row['ms_per_query']:.3f}", f"{row['times_ours']:.1f}", f"{row['recall']:.3f}"]
    size = "?" if row["bytes_ratio"] is None else f"{row['bytes_ratio']:.2f}"
    return [str(row["top_k"]), row["name"], *speeds, *times, f"{row['build_seconds']:.2f}", size]


def growth_table(result: dict[str, Any]) -> str:
    """Rows of `run_growth` as text, and the exponents."""
    rows, exponents = result["rows"], result["exponents"]
    keys = [key for key in rows[0] if key.startswith("queries_per_s")]
    cells = [["documents", "postings", "build s", "MB", "bytes/(8 B)", *keys]]
    for row in rows:
        size = [f"{row['build_seconds']:.2f}", f"{row['bytes'] / 1e6:.0f}", f"{row['bytes_ratio']:.2f}"]
        speeds = [f"{row[key]:,.0f}" for key in keys]
        cells.append([f"{row['documents']:,}", f"{row['postings']:,}", *size, *speeds])
    return "\n".join([text_table(cells, ">"), *(f"{key} grows as N^{n:.2f}" for key, n in exponents.items())])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--terms", type=int, default=120)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--top_k", type=int, nargs="+", default=[1000, 10])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: torch's number")
    parser.add_argument("--all", action="store_true", help=f"also {', '.join(SLOW_TO_BUILD)}")
    parser.add_argument("--growth", action="store_true", help="our engine alone, over corpus sizes")
    parser.add_argument("--json", help="file to write the figures to")
    asked = parser.parse_args(arguments)
    if asked.growth:
        result = run_growth(terms=asked.terms, top_k=asked.top_k, threads=asked.threads)
        shown = growth_table(result)
    else:
        sizes = asked.documents, asked.terms, asked.queries
        result = run(*sizes, asked.top_k, asked.rounds, asked.threads, asked.all)
        shown = table(result["rows"])
    print(result["machine"]["cpu"], result["settings"], shown, sep="\n")
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
