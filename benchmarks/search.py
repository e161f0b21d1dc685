"""Exact search beside its peers, on one machine and the same vectors.

    python -m benchmarks.search [--documents 100000] [--terms 120] [--queries 500] [--top_k 1000 10] [--rounds 5]
        [--threads 2] [--all] [--json FILE]
    python -m benchmarks.search --growth [--json FILE]         our engine from 10,000 to 1,000,000 documents

Peers are measured where they are installed:

    pip install splade-index bmp impact-index pyseismic-lsr

Vectors are synthetic, by laws fitted to splade-tiny's over trec-dl-mini (30,005 MS MARCO passages, cut to 128 tokens;
queries weighed by the corpus's IDF). The share of documents with the r-th most frequent token is
∝ (r + 0.382)^-0.435 · exp(-r / 5002); its logarithm is off by 0.07 over ranks 1 to 8000 (root mean square):

    rank       1       10      100     1000    5000    10000
    measured   0.555   0.234   0.091   0.027   0.0064  0.0016
    law        0.592   0.246   0.090   0.028   0.0062  0.0017

That is 131 terms a document; SciFact's abstracts have 248 and follow exponent 0.596, offset 20.1 and range 3215. The
weights are gamma distributed with mean 0.66 and deviation 0.56. For the tokens of queries see QUERY_RANKS. A real query
and a passage share 0.48 tokens on average; the same figure of the synthetic ones is printed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix

from benchmarks import measure
from retrieval.exact_index import ExactIndex, best
from sparse_model.query_weights import idf

VOCABULARY = 30522
# Of 97 real queries' tokens, the share up to each rank of document frequency; uniform in log rank in between.
QUERY_RANKS = {1: 0.0, 10: 0.079, 30: 0.127, 100: 0.194, 300: 0.266, 1000: 0.408, 3000: 0.622, 10000: 0.836, 30522: 1.0}
GROWTH = (10_000, 30_000, 100_000, 300_000, 1_000_000)
# Of each contender in each round: fast ones repeat all queries, slow ones are given fewer, but at least FEWEST.
SECONDS_A_ROUND = 0.4
FEWEST = 20
# A contender that has taken this long at one k is left out of further rounds.
ENOUGH_SECONDS = 10.0

Rows = Sequence[tuple[Any, Any]]
"""For each query, positions and scores, as arrays or lists."""
Search = Callable[[csr_matrix, int], Rows]
Build = Callable[[csr_matrix, int, str], tuple[Search, int | None]]
"""(documents, threads, an empty folder) -> (its search, bytes of its index if known)."""


def synthetic(n_documents: int, terms: int, n_queries: int, seed: int = 0) -> tuple[csr_matrix, csr_matrix]:
    """Documents [N, V] of about `terms` tokens, and queries [Q, V] of 6 to 12 distinct ones weighed by their IDF."""
    rng = np.random.default_rng(seed)
    ranks = np.arange(1, VOCABULARY + 1)
    law = (ranks + 0.382) ** -0.435 * np.exp(-ranks / 5002)
    share_V = np.minimum(0.9, law * (terms / law.sum()))
    positions = [_bernoulli(rng, n_documents, share) for share in share_V]
    df_V = np.array([len(p) for p in positions])
    indptr = np.concatenate([[0], np.cumsum(df_V)])
    indices = np.concatenate(positions)
    weights = rng.standard_gamma(1.394, len(indices), dtype=np.float32) * np.float32(0.475)
    documents = csc_matrix((weights, indices, indptr), shape=(n_documents, VOCABULARY)).tocsr()
    lengths = rng.integers(6, 13, n_queries)
    # Drawn with spares, so that enough distinct tokens are left.
    draws = np.exp(np.interp(rng.random((n_queries, 60)), list(QUERY_RANKS.values()), np.log(list(QUERY_RANKS))))
    tokens = [list(dict.fromkeys(row))[:length] for row, length in zip(draws.astype(int) - 1, lengths, strict=True)]
    flat = np.concatenate(tokens)
    query_indptr = np.concatenate([[0], np.cumsum([len(row) for row in tokens])])
    queries = csr_matrix((idf(df_V, n_documents)[flat], flat, query_indptr), shape=(n_queries, VOCABULARY))
    return documents, queries.sorted_indices()


def _bernoulli(rng: np.random.Generator, n: int, share: float) -> np.ndarray:
    """Each of 0 … n - 1 with the same probability, ascending, by the gaps in between."""
    expected = n * share
    gaps = rng.geometric(share, int(expected + 6 * np.sqrt(expected) + 10))
    positions = np.cumsum(gaps) - 1
    return positions[positions < n].astype(np.int32)


# --- the contenders ---------------------------------------------------------------------------------------------------


def ours(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """retrieval.exact_index."""
    torch.set_num_threads(threads)
    index = ExactIndex(documents)
    return index.search, index.nbytes + index.table_nbytes


def scipy_columns(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """The columns of the query's tokens times their weights, query by query."""
    postings = documents.tocsc()

    def one(query: csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        return best(postings[:, query.indices] @ query.data, k)

    def search(queries: csr_matrix, k: int) -> Rows:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda q: one(queries[q], k), range(queries.shape[0])))

    return search, _bytes(postings)


def scipy_product(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """Sparse queries times sparse documents, 50 queries at a time, then the k best of each row."""
    transposed = documents.T.tocsr()

    def search(queries: csr_matrix, k: int) -> Rows:
        rows: list = []
        for start in range(0, queries.shape[0], 50):
            product = queries[start : start + 50] @ transposed
            product.sort_indices()
            for first, end in zip(product.indptr, product.indptr[1:], strict=False):
                chosen, scores = best(product.data[first:end], k)
                rows.append((product.indices[first:end][chosen], scores))
        return rows

    return search, _bytes(transposed)


def torch_sparse(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """A CSR tensor of documents times 64 dense queries at a time, then torch.topk."""
    torch.set_num_threads(threads)
    parts = torch.from_numpy(documents.indptr), torch.from_numpy(documents.indices), torch.from_numpy(documents.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "in beta state"
        tensor = torch.sparse_csr_tensor(*parts, size=documents.shape)

    def search(queries: csr_matrix, k: int) -> Rows:
        rows: list = []
        for start in range(0, queries.shape[0], 64):
            scores = tensor @ torch.from_numpy(queries[start : start + 64].T.toarray(order="C"))
            top = torch.topk(scores.T.contiguous(), k, dim=1)
            rows.extend(zip(top.indices.numpy(), top.values.numpy(), strict=True))
        return rows

    return search, _bytes(documents)


def sentence_transformers(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """util.semantic_search over sparse tensors."""
    from sentence_transformers.util import dot_score, semantic_search

    torch.set_num_threads(threads)
    corpus = _coo(documents)

    def search(queries: csr_matrix, k: int) -> Rows:
        found = semantic_search(_coo(queries), corpus, top_k=k, score_function=dot_score)
        return [([hit["corpus_id"] for hit in hits], [hit["score"] for hit in hits]) for hits in found]

    return search, documents.nnz * 20


def splade_index(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """The numba engine of splade_index, without its model."""
    from splade_index.numba.retrieve_utils import _retrieve_numba_functional as retrieve

    postings = documents.tocsc()

    def search(queries: csr_matrix, k: int) -> Rows:
        tokens, weights = _split(queries.indices, queries), _split(queries.data, queries)
        return list(zip(*retrieve(tokens, weights, _scores(postings), k=k, n_threads=threads), strict=True))

    return search, _bytes(postings)


def bm25s(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """bm25s's numba scorer, which knows no query weights: the IDF is multiplied into the documents."""
    from bm25s.numba.retrieve_utils import _retrieve_numba_functional as retrieve

    df_V = np.bincount(documents.indices, minlength=documents.shape[1])
    postings = documents.multiply(idf(df_V, documents.shape[0])).tocsc().astype(np.float32)

    def search(queries: csr_matrix, k: int) -> Rows:
        tokens = _split(queries.indices, queries)
        return list(zip(*retrieve(tokens, _scores(postings), k=k, n_threads=threads), strict=True))

    return search, _bytes(postings)


def impact_index(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """Exact MaxScore in Rust, uncompressed and in memory. It holds Python's lock: more threads do not help."""
    from impact_index import IndexBuilder

    builder = IndexBuilder(folder)
    tokens = _split(documents.indices.astype(np.uintp), documents)
    for n, row in enumerate(zip(tokens, _split(documents.data, documents), strict=True)):
        builder.add(n, *row)
    index = builder.build(True)

    def search(queries: csr_matrix, k: int) -> Rows:
        found = [index.search_maxscore(query, k) for query in _dicts(queries, int)]
        return [([hit.docid for hit in hits], [hit.score for hit in hits]) for hits in found]

    return search, _folder_bytes(folder)


def bmp(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """Block-Max Pruning in Rust. It stores 8-bit weights; its scores are not comparable."""
    from bmp import Indexer, Searcher

    path = os.path.join(folder, "index")
    indexer = Indexer(path, bsize=32, compress_range=False)
    steps = documents.copy()
    steps.data = np.maximum(1, np.round(documents.data * (255 / documents.data.max())))
    for n, document in enumerate(_dicts(steps, str, int)):
        indexer.add_document(str(n), document)
    indexer.finish()
    searcher = Searcher(path)

    def search(queries: csr_matrix, k: int) -> Rows:
        found = [searcher.search(query, k=k, alpha=1.0, beta=1.0) for query in _dicts(queries, str)]
        return [(list(map(int, ids)), scores) for ids, scores in found]

    return search, _folder_bytes(folder)


def seismic(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """Approximate by clusters of postings: its defaults, query_cut 10, heap_factor 0.7."""
    from seismic import SeismicDataset, SeismicIndex, get_seismic_string

    data = SeismicDataset()
    offsets = documents.indptr.astype(np.int64)
    names = list(map(str, range(documents.shape[0])))
    data.add_documents_by_id(names, documents.indices.astype(np.int64), documents.data, offsets)
    index = SeismicIndex.build_from_dataset(data, num_threads=threads)
    string = get_seismic_string()

    def search(queries: csr_matrix, k: int) -> Rows:
        tokens = [row.astype(string) for row in _split(queries.indices, queries)]
        ids = np.arange(len(tokens)).astype(string)
        options = {"k": k, "query_cut": 10, "heap_factor": 0.7, "num_threads": threads}
        rows: list = [([], [])] * len(tokens)  # a query without hits is not in the answer
        for hits in index.batch_search(ids, tokens, _split(queries.data, queries), **options):
            if hits:
                rows[int(hits[0][0])] = [int(hit[2]) for hit in hits], [hit[1] for hit in hits]
        return rows

    index.save(os.path.join(folder, "index"))
    return search, _folder_bytes(folder)


CONTENDERS: dict[str, tuple[Build, bool, str]] = {
    "this toolkit": (ours, True, "numba"),
    "scipy, columns": (scipy_columns, True, "scipy"),
    "scipy, product": (scipy_product, True, "scipy"),
    "torch.sparse": (torch_sparse, True, "torch"),
    "sentence-transformers": (sentence_transformers, True, "sentence-transformers"),
    "splade-index": (splade_index, True, "splade-index numba"),
    "bm25s": (bm25s, True, "bm25s numba"),
    "impact-index": (impact_index, True, "impact-index"),
    "bmp (8 bits)": (bmp, False, "bmp"),
    "seismic (approximate)": (seismic, False, "pyseismic-lsr"),
}
"""Name -> (build, whether it is exact, what to install). The first is what the others are compared with."""
SLOW_TO_BUILD = ("seismic (approximate)",)


def _bytes(matrix: csr_matrix | csc_matrix) -> int:
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes


def _folder_bytes(folder: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


def _coo(matrix: csr_matrix) -> torch.Tensor:
    coo = matrix.tocoo()
    places = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(places, torch.from_numpy(coo.data), coo.shape, is_coalesced=True)


def _split(array: np.ndarray, matrix: csr_matrix) -> list[np.ndarray]:
    return np.split(array, matrix.indptr[1:-1])


def _dicts(matrix: csr_matrix, key: type, value: type = float) -> list[dict]:
    rows = zip(_split(matrix.indices, matrix), _split(matrix.data, matrix), strict=True)
    return [dict(zip(map(key, i.tolist()), map(value, d.tolist()), strict=True)) for i, d in rows]


def _scores(postings: csc_matrix) -> dict[str, Any]:
    parts = {"data": postings.data, "indices": postings.indices, "indptr": postings.indptr}
    return {**parts, "num_docs": postings.shape[0]}


# --- measuring --------------------------------------------------------------------------------------------------------


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


# --- showing ----------------------------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of `run` as text: median and range of queries/s, time against ours, building, bytes against postings'."""
    head = "top_k  contender              queries/s (slowest-fastest)   ms/query  × ours  recall  build s  bytes/(8 B)"
    lines = [head]
    for row in rows:
        if "missing" in row:
            lines.append(f"       {row['name']:<22} {row['missing']}")
            continue
        speed = f"{row['queries_per_s']:9,.0f} ({row['slowest']:,.0f}-{row['fastest']:,.0f})"
        size = "?" if row["bytes_ratio"] is None else f"{row['bytes_ratio']:.2f}"
        lines.append(
            f"{row['top_k']:5}  {row['name']:<22} {speed:<28} {row['ms_per_query']:9.3f} {row['times_ours']:7.1f} "
            f"{row['recall']:7.3f} {row['build_seconds']:8.2f} {size:>12}"
        )
    return "\n".join(lines)


def growth_table(result: dict[str, Any]) -> str:
    """Rows of `run_growth` as text, and the exponents."""
    rows, exponents = result["rows"], result["exponents"]
    keys = [key for key in rows[0] if key.startswith("queries_per_s")]
    lines = ["documents     postings  build s       MB  bytes/(8 B)  " + "  ".join(f"{key:>18}" for key in keys)]
    for row in rows:
        lines.append(
            f"{row['documents']:9,} {row['postings']:12,} {row['build_seconds']:8.2f} {row['bytes'] / 1e6:8.0f} "
            f"{row['bytes_ratio']:12.2f}  " + "  ".join(f"{row[key]:18,.0f}" for key in keys)
        )
    return "\n".join([*lines, *(f"{key} grows as N^{value:.2f}" for key, value in exponents.items())])


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
