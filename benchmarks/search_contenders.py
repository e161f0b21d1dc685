"""Exact engines and approximate ones, each as a function from documents to its search.

Peers are measured where they are installed:

    pip install splade-index bmp impact-index pyseismic-lsr
"""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_matrix, csr_matrix

from retrieval.exact_index import ExactIndex, best
from sparse_model.query_weights import idf

Rows = Sequence[tuple[Any, Any]]
"""For each query, positions and scores, as arrays or lists."""
Search = Callable[[csr_matrix, int], Rows]
Build = Callable[[csr_matrix, int, str], tuple[Search, int | None]]
"""(documents, threads, an empty folder) -> (its search, bytes of its index if known)."""


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
        tokens, weights = split_rows(queries.indices, queries), split_rows(queries.data, queries)
        return list(zip(*retrieve(tokens, weights, columns_of(postings), k=k, n_threads=threads), strict=True))

    return search, _bytes(postings)


def bm25s(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """bm25s's numba scorer, which knows no query weights: the IDF is multiplied into the documents."""
    from bm25s.numba.retrieve_utils import _retrieve_numba_functional as retrieve

    df_V = np.bincount(documents.indices, minlength=documents.shape[1])
    postings = documents.multiply(idf(df_V, documents.shape[0])).tocsc().astype(np.float32)

    def search(queries: csr_matrix, k: int) -> Rows:
        tokens = split_rows(queries.indices, queries)
        return list(zip(*retrieve(tokens, columns_of(postings), k=k, n_threads=threads), strict=True))

    return search, _bytes(postings)


def impact_index(documents: csr_matrix, threads: int, folder: str) -> tuple[Search, int | None]:
    """Exact MaxScore in Rust, uncompressed and in memory. It holds Python's lock: more threads do not help."""
    from impact_index import IndexBuilder

    builder = IndexBuilder(folder)
    tokens = split_rows(documents.indices.astype(np.uintp), documents)
    for n, row in enumerate(zip(tokens, split_rows(documents.data, documents), strict=True)):
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
        tokens = [row.astype(string) for row in split_rows(queries.indices, queries)]
        ids = np.arange(len(tokens)).astype(string)
        options = {"k": k, "query_cut": 10, "heap_factor": 0.7, "num_threads": threads}
        rows: list = [([], [])] * len(tokens)  # a query without hits is not in the answer
        for hits in index.batch_search(ids, tokens, split_rows(queries.data, queries), **options):
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


def split_rows(array: np.ndarray, matrix: csr_matrix) -> list[np.ndarray]:
    return np.split(array, matrix.indptr[1:-1])


def _dicts(matrix: csr_matrix, key: type, value: type = float) -> list[dict]:
    rows = zip(split_rows(matrix.indices, matrix), split_rows(matrix.data, matrix), strict=True)
    return [dict(zip(map(key, i.tolist()), map(value, d.tolist()), strict=True)) for i, d in rows]


def columns_of(postings: csc_matrix) -> dict[str, Any]:
    parts = {"data": postings.data, "indices": postings.indices, "indptr": postings.indptr}
    return {**parts, "num_docs": postings.shape[0]}
