"""OpenSearch as a search engine of the evaluation (see `retrieval.engine.Engine`).

Every process loads its own blocks and searches its share of the queries; rank 0 creates and finishes the index.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retrieval import distributed
from retrieval.blocks import BLOCK, DocumentVectors
from retrieval.engine import Hits, counted, over_processes
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import stored_precision
from retrieval.opensearch.heap import MIB, MOST_BYTES, what_fits
from retrieval.opensearch.index import Index, index_name
from retrieval.opensearch.ingest import Fields, Loader, check_ids
from retrieval.opensearch.layout import LAYOUT, Layout
from retrieval.opensearch.preflight import check_server, clause_limit
from retrieval.opensearch.search import Found, Searcher, keep_heaviest
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

PERCENTILES = (50, 95, 99)
CONCURRENCIES = (1, 8)


@dataclass(frozen=True)
class Options:
    """How an index is made and searched."""

    shards: int = 1
    replicas: int = 0
    threads: int = 4
    """requests at once, of each process"""
    skip_ingest: bool = False
    """search what is there; an index that is missing or not complete is a mistake"""
    two_phase: bool = False
    layout: Layout = LAYOUT
    fields: Fields | None = None
    """what documents say beside their vectors; whatever it is has to be in the index' `contents`, too"""
    heap_remedy: str = "give the nodes more"
    """what a user can do about a small heap"""


class OpenSearchEngine:
    """One corpus on a server.

    Args:
        tokens: the vocabulary, V entries; None for an id without a token.
        data_set, contents: name the index; contents is all that decides which vectors are in it.
    """

    def __init__(
        self, server: Server, tokens: Sequence[str | None], data_set: str, contents: dict[str, Any], options: Options
    ) -> None:
        self._server, self._names, self._options = server, options.layout.names(tokens), options
        self.name = index_name(data_set, {**contents, "shards": options.shards})
        self._searcher = Searcher(server, self.name, self._names, options.threads, options.layout)
        self._figures: dict[str, Any] = {}

    @property
    def approximate(self) -> bool:
        """Whether searches have two phases."""
        return self._options.two_phase

    def index(self, doc_ids: Sequence[str], vocabulary: int, vectors: DocumentVectors) -> np.ndarray:
        """See `Engine.index`; a complete index is used as it is, an incomplete one is completed."""
        self._doc_ids = doc_ids
        options = self._options
        self._index = Index(self._server, self.name, len(doc_ids), options.shards, options.replicas, options.layout)
        there, heap = distributed.on_main(self._prepare)
        if there is None:
            loaded = distributed.on_main(self._index.loaded)
            assert loaded is not None  # `_prepare` has just seen it
            distributed.on_main(self._index.add_replicas)
            self._figures = {**loaded.figures, "index_reused": True}
            if len(loaded.document_df) != vocabulary:
                raise self._index.other_vocabulary(len(loaded.document_df), vocabulary)
            return loaded.document_df
        whole = {block for block, n in there.items() if n == min(BLOCK, len(doc_ids) - block * BLOCK)}
        document_df = np.zeros(vocabulary, np.int64)
        threads, most_bytes = self._fitting(heap)
        place = (self._server, self._index.loading, self._names, doc_ids)
        loader = Loader(*place, threads, most_bytes, options.layout, options.fields)
        rounded = ((positions, stored_precision(weights)) for positions, weights in vectors.blocks(skip=whole))
        loader.load(counted(rounded, document_df))
        document_df, encode_rate = over_processes(document_df), vectors.docs_per_s()
        self._figures = {**self._loading_figures(loader), "index_reused": False}
        if encode_rate:  # else all documents were there, and only the end was missing
            self._figures["encode_docs_per_s"] = encode_rate
        return distributed.on_main(lambda: self._complete(document_df, bool(there)))

    def search(self, queries: csr_matrix, top_k: int, exhaustive: bool = False) -> Hits:
        """See `Engine.search`. Among documents that tie at the cut-off, the server chooses."""
        top_k = min(top_k, len(self._doc_ids))
        distributed.on_main(lambda: self._index.allow_hits(top_k * 5 if self._options.two_phase else top_k))
        limit = distributed.on_main(lambda: clause_limit(self._server))
        cut, n_cut = keep_heaviest(queries, limit)
        if not exhaustive:
            self._figures["queries_cut"] = n_cut
        if n_cut and distributed.is_main():
            logger.warning(
                "%d queries have more than %d tokens and keep their heaviest; the server's setting "
                "indices.query.bool.max_clause_count allows more",
                *(n_cut, limit),
            )
        mine = cut[distributed.rank() :: distributed.world_size()]
        found = self._searcher.search(mine, top_k, self._options.two_phase and not exhaustive)
        return self._gather(self._as_hits(found), queries.shape[0])

    def measure(self, queries: csr_matrix, top_k: int) -> dict[str, Any]:
        """See `Engine.measure`; latencies of single queries, as rank 0 sees them, at each of CONCURRENCIES."""
        return distributed.on_main(lambda: self._measure(queries, top_k))

    def close(self, keep: bool) -> None:
        """See `Engine.close`; without `keep` the index is removed."""
        if not keep:
            distributed.barrier()
            distributed.on_main(self._index.delete)

    def _fitting(self, heap: int) -> tuple[int, int]:
        """See `what_fits`; says so where that is less than what was asked for."""
        asked, processes = self._options.threads, distributed.world_size()
        threads, most_bytes = what_fits(heap, len(self._doc_ids), processes, asked)
        if (threads, most_bytes) != (asked, MOST_BYTES) and distributed.is_main():
            logger.info(
                "%d MiB of heap: each process has %d requests of %.1f MiB under way, not %d",
                *(heap // MIB, threads, most_bytes / MIB, asked),
            )
        return threads, most_bytes

    def _prepare(self) -> tuple[dict[int, int] | None, int]:
        """(blocks that are there already, number: documents, None if the index is complete; heap, 0 if not known)."""
        check_ids(self._doc_ids)
        if self._index.loaded() is not None:
            logger.info("index %s is complete: reused", self.name)
            return None, 0
        if self._options.skip_ingest:
            raise UserError(
                f"skip_ingest: {self._server.address} holds no complete index {self.name} for this model and data; "
                "run without skip_ingest (and with keep_index=true) first."
            )
        heap = check_server(self._server, len(self._doc_ids), self._options.heap_remedy)
        there = self._index.open_for_loading()
        if there and not self._options.layout.countable:  # how many documents each token is in could not be told
            self._index.delete()
            there = self._index.open_for_loading()
        if there:
            logger.info("index %s holds %d documents already: going on", self.name, sum(there.values()))
        return there, heap

    def _complete(self, document_df: np.ndarray, continued: bool) -> np.ndarray:
        """Finish the index; document frequencies are counted in it if this run did not encode all of it."""
        started = time.perf_counter()
        self._index.finish()
        self._figures["build_s"] = self._figures.pop("busy_s") + time.perf_counter() - started
        if continued:
            document_df = self._searcher.token_counts()
        kept = ("docs_per_s", "build_s")
        rates: dict[str, float] = {k: float(v) for k, v in self._figures.items() if k.endswith(kept)}
        self._index.mark_complete(document_df, rates)
        logger.info(
            "index %s is complete: %d documents; in a second %.0f were encoded, %.0f loaded",
            *(self.name, len(self._doc_ids), rates.get("encode_docs_per_s", 0), rates.get("ingest_docs_per_s", 0)),
        )
        return document_df

    def _loading_figures(self, loader: Loader) -> dict[str, float]:
        """Documents a second while at least one is under way, and how many were sent again."""
        mine = np.array([loader.documents, loader.busy_s, loader.repeated], dtype=np.float64)
        documents, seconds, repeated = np.transpose(distributed.all_gather_arrays(mine))
        figures: dict[str, float] = {"ingest_repeated": int(repeated.sum()), "busy_s": float(seconds.max())}
        if documents.sum():
            figures["ingest_docs_per_s"] = float(documents.sum() / seconds.max())
        return figures

    def _as_hits(self, found: list[Found]) -> Hits:
        """Ids as positions; equal scores by position ascending, so by id descending."""
        wanted = {doc_id for hits in found for doc_id, _ in hits}
        positions = {doc_id: p for p, doc_id in enumerate(self._doc_ids) if doc_id in wanted}
        sorted_hits = []
        for hits in found:
            if foreign := next((doc_id for doc_id, _ in hits if doc_id not in positions), None):
                raise self._index.foreign(foreign)
            at = np.array([positions[doc_id] for doc_id, _ in hits], dtype=np.int64)
            scores = np.array([score for _, score in hits], dtype=np.float32)
            order = np.lexsort((at, -scores))
            sorted_hits.append((at[order], scores[order]))
        return sorted_hits

    def _gather(self, mine: Hits, n_queries: int) -> Hits:
        """Every process's share of the queries, in the order of the queries, in every process."""
        counts = distributed.all_gather_arrays(np.array([len(at) for at, _ in mine], dtype=np.int64))
        at = distributed.all_gather_arrays(np.concatenate([np.zeros(0, np.int64), *(at for at, _ in mine)]))
        scores = distributed.all_gather_arrays(np.concatenate([np.zeros(0, np.float32), *(s for _, s in mine)]))
        hits: Hits = [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * n_queries
        for rank, (n, found, score) in enumerate(zip(counts, at, scores, strict=True)):
            ends = np.cumsum(n)[:-1]
            if len(n):
                hits[rank :: len(counts)] = list(zip(np.split(found, ends), np.split(score, ends), strict=True))
        return hits

    def _measure(self, queries: csr_matrix, top_k: int) -> dict[str, Any]:
        figures = {"engine": "opensearch", **self._figures, "index": self.name}
        figures |= {"opensearch_version": self._server.version, "index_bytes": self._index.bytes_on_disk()}
        queries, _ = keep_heaviest(queries, clause_limit(self._server))
        top_k = min(top_k, len(self._doc_ids))
        for threads in CONCURRENCIES:
            seconds, rate = self._searcher.latencies(queries, top_k, self._options.two_phase, threads)
            if threads == 1 and len(seconds):
                figures |= {f"latency_p{p}_ms": float(np.percentile(seconds, p)) * 1000 for p in PERCENTILES}
            if len(seconds):
                figures[f"queries_per_s_at_{threads}"] = rate
        return figures
