"""Queries as sums of rank_feature clauses, sent in small batches by a few threads."""

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

from retrieval.opensearch.client import TRANSIENT, Pauses, Server
from retrieval.opensearch.layout import LAYOUT, Layout
from sparse_model.errors import RunError

BATCH = 8
# The first of two phases scores by the tokens of at least this share of the heaviest; the second rescores, by all
# tokens, that many times the wanted documents.
TWO_PHASE_SHARE, TWO_PHASE_EXPANSION = 0.4, 5
MEASURED_QUERIES = 500
ANSWER = {
    "filter_path": "responses.error,responses.status,responses.timed_out,responses._shards,"
    "responses.hits.hits._id,responses.hits.hits._score"
}

Found = list[tuple[str, float]]
T = TypeVar("T")


def keep_heaviest(queries: csr_matrix, limit: int) -> tuple[csr_matrix, int]:
    """Queries [Q, V] with at most `limit` weights a row, the heaviest (ties by column), and how many rows were cut."""
    queries = csr_matrix(queries, copy=True)
    queries.eliminate_zeros()
    long = np.flatnonzero(np.diff(queries.indptr) > limit)
    for q in long:
        row = slice(queries.indptr[q], queries.indptr[q + 1])
        queries.data[row][np.lexsort((queries.indices[row], -queries.data[row]))[limit:]] = 0
    queries.eliminate_zeros()
    return queries, len(long)


class Searcher:
    """Searches one index.

    Args:
        names: the feature name of each of V tokens.
        threads: requests at once.
    """

    def __init__(self, server: Server, index: str, names: Sequence[str], threads: int, layout: Layout = LAYOUT) -> None:
        self._layout = layout
        self._server, self._index, self._names, self._threads = server, index, names, threads

    def search(self, queries: csr_matrix, size: int, two_phase: bool = False) -> list[Found]:
        """(document id, score) of at most `size` documents for each row of queries [Q, V], best first.

        Raises:
            RunError: a failed shard or a time-out that stays, a query that the server refuses.
        """
        bodies = [self._body(queries, q, size, two_phase) for q in range(queries.shape[0])]
        asked = [q for q, body in enumerate(bodies) if body]
        batches = [asked[i : i + BATCH] for i in range(0, len(asked), BATCH)]
        found: list[Found] = [[] for _ in bodies]
        with ThreadPoolExecutor(self._threads, "search") as pool:
            answered = pool.map(lambda batch: self._ask([bodies[q] for q in batch]), batches)
            for batch, answers in zip(batches, answered, strict=True):
                for q, answer in zip(batch, answers, strict=True):
                    found[q] = answer
        return found

    def latencies(self, queries: csr_matrix, size: int, two_phase: bool, threads: int) -> tuple[np.ndarray, float]:
        """Seconds [n] that each of up to MEASURED_QUERIES queries took, sent alone, and queries a second over all.

        threads: queries under way at any time.
        """
        rows = np.unique(np.linspace(0, queries.shape[0] - 1, min(queries.shape[0], MEASURED_QUERIES)).astype(int))
        bodies = [body for q in rows if (body := self._body(queries, q, size, two_phase))]
        if not bodies:
            return np.zeros(0), 0.0

        def one(body: bytes) -> float:
            started = time.perf_counter()
            self._ask([body])
            return time.perf_counter() - started

        started = time.perf_counter()
        with ThreadPoolExecutor(threads, "latency") as pool:
            seconds = np.array(list(pool.map(one, bodies)))
        return seconds, len(bodies) / (time.perf_counter() - started)

    def token_counts(self) -> np.ndarray:
        """[V] int64: in how many documents of the index each token has a weight."""
        header = self._header()
        bodies = [
            header
            + json.dumps({"size": 0, "track_total_hits": True, "query": self._layout.one_token(name)}).encode()
            + b"\n"
            for name in self._names
        ]
        batches = [bodies[i : i + 200] for i in range(0, len(bodies), 200)]
        path = "responses.error,responses.status,responses.timed_out,responses._shards,responses.hits.total.value"
        with ThreadPoolExecutor(self._threads, "count") as pool:
            answers = pool.map(lambda b: self._responses(b, {"filter_path": path}), batches)
            return np.array([n for batch in answers for n in self._read(batch, _total)], dtype=np.int64)

    def _header(self) -> bytes:
        return json.dumps({"index": self._index, "allow_partial_search_results": False}).encode() + b"\n"

    def _query(self, tokens: np.ndarray, weights: np.ndarray, size: int) -> dict[str, Any]:
        return self._layout.query(self._layout.field, self._names, tokens, weights, size)

    def _body(self, queries: csr_matrix, q: int, size: int, two_phase: bool) -> bytes:
        """Header and body of one query; empty for a query without tokens."""
        row = slice(queries.indptr[q], queries.indptr[q + 1])
        tokens, weights = queries.indices[row], queries.data[row]
        if not len(tokens):
            return b""
        body: dict[str, Any] = {"size": size, "track_total_hits": False, "_source": False}
        body["query"] = whole = self._query(tokens, weights, size)
        if two_phase:
            heavy = weights >= TWO_PHASE_SHARE * weights.max()
            body["query"] = self._query(tokens[heavy], weights[heavy], size)
            again = {"rescore_query": whole, "query_weight": 0, "rescore_query_weight": 1}
            body["rescore"] = {"window_size": TWO_PHASE_EXPANSION * size, "query": again}
        return self._header() + json.dumps(body).encode() + b"\n"

    def _ask(self, bodies: list[bytes]) -> list[Found]:
        return self._read(self._responses(bodies, ANSWER), _hits)

    def _read(self, answers: Sequence[Any], what: Callable[[Any], T]) -> list[T]:
        """What each answer says.

        Raises:
            RunError: if one is of another shape.
        """
        try:
            return [what(answer) for answer in answers]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise RunError(
                f"{self._server.address}: a search in {self._index}: the answer is of another shape than OpenSearch's: "
                f"{str(answers)[:200]}; see what stands between."
            ) from None

    def _responses(self, bodies: list[bytes], params: dict[str, Any]) -> list[dict[str, Any]]:
        """The answer to each body; those that fail in a way that may pass are asked again."""
        answers: list[dict[str, Any]] = [{} for _ in bodies]
        open_, pauses = list(range(len(bodies))), Pauses(self._server.patience_s)
        while open_:
            asked = b"".join(bodies[i] for i in open_)
            got = self._server.call("POST", "/_msearch", asked, dict(params), has=["responses"])["responses"]
            if not isinstance(got, list) or len(got) != len(open_):
                raise RunError(f"{self._server.address}: {len(open_)} searches sent, other than that answered.")
            failed = []
            for i, answer, why in zip(open_, got, self._read(got, _failure), strict=True):
                if why:
                    failed.append((i, why, answer.get("status", 200)))
                else:
                    answers[i] = answer
            if failed:
                _, why, status = failed[0]
                if any(s not in (*TRANSIENT, 200, 500) for _, _, s in failed) or not pauses.wait():
                    raise RunError(f"{self._server.address}: a search in {self._index} fails: {status} {why}")
            open_ = [i for i, _, _ in failed]
        return answers


def _hits(answer: dict[str, Any]) -> Found:
    """Of no hits the server says nothing. ValueError for what is no hit, and for a document that stands there twice."""
    found = [(hit["_id"], hit["_score"]) for hit in answer.get("hits", {}).get("hits", [])]
    if len({_id for _id, _ in found}) < len(found) or not all(_is_hit(*hit) for hit in found):
        raise ValueError
    return found


def _is_hit(document: Any, score: Any) -> bool:
    return isinstance(document, str) and type(score) in (int, float) and math.isfinite(score)


def _total(answer: dict[str, Any]) -> int:
    return int(answer["hits"]["total"]["value"])


def _failure(answer: dict[str, Any]) -> str:
    """Why an answer cannot be used; "" if it can."""
    if error := answer.get("error"):
        causes = error.get("root_cause") or [error]
        return "; ".join(f"{cause.get('type')}: {cause.get('reason')}" for cause in causes)
    if failed := answer["_shards"]["failed"]:
        return f"{failed} shards failed"
    return "timed out" if answer.get("timed_out") else ""
