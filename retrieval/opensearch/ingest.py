"""Bulk loading: blocks of vectors become requests of 5 to 8 MiB, formatted and sent beside the encoder.

A few threads format and send; as many blocks as threads may wait, so that memory is bounded however large the
corpus. Documents that the server puts off are sent again, alone; every document has an id, so none is there twice.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from retrieval.blocks import BLOCK, Block
from retrieval.opensearch.client import BLOCKED, TRANSIENT, Pauses, Server, is_block
from retrieval.opensearch.features import code, value_texts
from retrieval.opensearch.heap import MOST_BYTES
from retrieval.opensearch.layout import LAYOUT, Layout
from sparse_model.errors import RunError, UserError

Fields = Callable[[int], Mapping[str, Any]]
"""What a document says beside its vector, by its position."""

LEAST_BYTES = 5 * 2**20
LONGEST_WAIT_S = 30.0  # a slow encoder's documents do not wait for a full request: what is not sent, a crash loses
LONGEST_ID = 512  # bytes; the server refuses the whole request for a longer one
PARAMS = {
    "require_alias": "true",
    "filter_path": "items.index.status,items.index.error.type,items.index.error.reason",
}


def check_ids(doc_ids: Sequence[str]) -> None:
    """Raise a UserError for an id that no index can hold."""
    for doc_id in doc_ids:
        try:
            size = len(doc_id.encode())
        except UnicodeEncodeError:  # the server would silently put another character there
            raise UserError(
                f"document id {doc_id!r} holds half of a surrogate pair, which is no character; correct it in "
                "the corpus (and the qrels)."
            ) from None
        if size > LONGEST_ID:
            raise UserError(
                f"document id {doc_id[:60]!r}… has {size} bytes; OpenSearch takes {LONGEST_ID}. "
                "Shorten it in the corpus (and the qrels); in an evaluation, engine=exact takes it as it is."
            )


class Formatter:
    """Blocks as the lines of a bulk request.

    Args:
        names: the feature name of each of V tokens.
        field: where vectors go.
        fields: what else the document at a position says; None: nothing.
    """

    def __init__(self, names: Sequence[str], field: str = LAYOUT.field, fields: Fields | None = None) -> None:
        self._field, self._fields = json.dumps(field), fields
        self._names = np.array([json.dumps(name) + ":" for name in names], dtype=object)
        self._texts = value_texts()

    def lines(self, block: Block, doc_ids: Sequence[str]) -> list[bytes]:
        """Action and document of each row, in order; weights must be in `stored_precision`.

        Raises:
            RunError: a weight that is no number, naming its document.
        """
        positions, weights = block
        if not np.isfinite(weights.data).all():
            row = int(np.searchsorted(weights.indptr, np.flatnonzero(~np.isfinite(weights.data))[0], side="right")) - 1
            raise RunError(f"document {doc_ids[positions[row]]!r}: a weight is not a finite number.")
        features = (self._names[weights.indices] + self._texts[code(weights.data)]).tolist()
        ends = weights.indptr.tolist()
        ranges = zip(ends[:-1], ends[1:], strict=True)
        # A sparse_vector of no token is refused; without the field, the document is found by none, too.
        vectors = (f",{self._field}:{{{','.join(features[i:j])}}}" if j > i else "" for i, j in ranges)
        number = int(positions[0]) // BLOCK if len(positions) else 0
        return [
            f'{{"index":{{"_id":{json.dumps(doc_ids[position])}}}}}\n'
            f'{{{self._said(position)}"block":{number}{vector}}}\n'.encode()
            for position, vector in zip(positions.tolist(), vectors, strict=True)
        ]

    def _said(self, position: int) -> str:
        """Members of the object before its vector."""
        said = self._fields(position) if self._fields else {}
        return json.dumps(said)[1:-1] + "," if said else ""


class Loader:
    """Sends this process's blocks to an index.

    Args:
        alias: the index's name for loading.
        threads: requests at once; most_bytes: of a request, but for a document that is larger.
    """

    def __init__(
        self,
        server: Server,
        alias: str,
        names: Sequence[str],
        doc_ids: Sequence[str],
        threads: int,
        most_bytes: int = MOST_BYTES,
        layout: Layout = LAYOUT,
        fields: Fields | None = None,
    ) -> None:
        self._server, self._path = server, f"/{alias}/_bulk"
        self._formatter, self._doc_ids, self._threads = Formatter(names, layout.field, fields), doc_ids, threads
        self._most_bytes, self._enough_bytes = most_bytes, min(LEAST_BYTES, most_bytes * 5 // 8)
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._last_sent = time.monotonic()
        self._failed = threading.Event()
        self._busy = BusyTime()
        self.documents, self.requests, self.repeated = 0, 0, 0
        """Documents taken in, requests sent, documents that had to be sent again."""

    @property
    def busy_s(self) -> float:
        """Seconds in which anything was formatted or sent."""
        return self._busy.seconds

    def load(self, blocks: Iterable[Block]) -> None:
        """Send all blocks; returns when the server has taken in the last document.

        Raises:
            RunError: a document that the server rejects (named), a full disk, a server that stays away.
        """
        with ThreadPoolExecutor(self._threads, "bulk") as pool:
            pending: set[Future[None]] = set()
            try:
                for block in blocks:
                    while len(pending) >= 2 * self._threads:
                        pending = _settled(pending)
                    pending.add(pool.submit(self._take, block))
                while pending:
                    pending = _settled(pending)
                with self._busy:
                    self._send_all(self._requests([], last=True))
            except BaseException:
                self._failed.set()  # threads give up instead of trying on
                raise

    def _take(self, block: Block) -> None:
        with self._busy:
            overdue = time.monotonic() - self._last_sent > LONGEST_WAIT_S
            self._send_all(self._requests(self._formatter.lines(block, self._doc_ids), last=overdue))

    def _send_all(self, requests: list[list[bytes]]) -> None:
        for request in requests:
            self._send(request)

    def _requests(self, lines: list[bytes], last: bool) -> list[list[bytes]]:
        """Lines, with those left over before, as full requests; the rest is left over, unless all is to go."""
        requests, size = [], 0
        with self._lock:
            lines, start = self._waiting + lines, 0
            for i, line in enumerate(lines):
                if size and size + len(line) > self._most_bytes:
                    requests.append(lines[start:i])
                    start, size = i, 0
                size += len(line)
                if size >= self._enough_bytes:
                    requests.append(lines[start : i + 1])
                    start, size = i + 1, 0
            if last and start < len(lines):
                requests.append(lines[start:])
            self._waiting = [] if last else lines[start:]
            self._last_sent = time.monotonic() if requests else self._last_sent
        return requests

    def _send(self, lines: list[bytes]) -> None:
        """Send documents until the server has taken in each."""
        pauses = Pauses(self._server.patience_s)
        while lines:
            if self._failed.is_set():
                raise RunError("loading was given up.")
            wanted = lambda: not self._failed.is_set()  # noqa: E731
            answer = self._server.call("POST", self._path, b"".join(lines), dict(PARAMS), has=["items"], wanted=wanted)
            kept = self._put_off(lines, answer["items"])
            with self._lock:
                self.requests += 1
                self.documents += len(lines) - len(kept)
                self.repeated += len(kept)
            if len(kept) < len(lines):
                pauses = Pauses(self._server.patience_s)  # it goes on, if slowly
            if kept and not pauses.wait():
                raise RunError(
                    f"{self._server.address}: {len(kept)} documents put off for {self._server.patience_s} s."
                )
            lines = kept

    def _put_off(self, lines: list[bytes], items: Any) -> list[bytes]:
        """The lines that are to be sent again; RunError for a document that is rejected."""
        if not isinstance(items, list) or len(items) != len(lines):
            answered = len(items) if isinstance(items, list) else f"{str(items)[:60]!r}"
            raise RunError(f"{self._server.address}: {len(lines)} documents sent, {answered} answered.")
        kept = []
        for line, item in zip(lines, items, strict=True):
            status, error = self._outcome(item)
            if error is None:
                continue
            if is_block(status, error.get("type")):
                raise RunError(f"{self._server.address}: {BLOCKED}")
            if status == 404:
                raise RunError(f"{self._server.address}: {error.get('reason')}: the index was removed; start again.")
            if status not in TRANSIENT:
                doc_id = json.loads(line.split(b"\n", 1)[0])["index"]["_id"]
                raise RunError(f"{self._server.address}: document {doc_id!r} is rejected: {error.get('reason')}")
            kept.append(line)
        return kept

    def _outcome(self, item: Any) -> tuple[int, dict[str, Any] | None]:
        """(status, error) of one document; only what says that it was taken in counts as that."""
        says = item.get("index") if isinstance(item, dict) else None
        if isinstance(says, dict) and isinstance(status := says.get("status"), int):
            error = says.get("error")
            if error is None and 200 <= status < 300 or isinstance(error, dict):
                return status, error
        raise RunError(f"{self._server.address}: no answer to a bulk request of OpenSearch: {str(item)[:200]}")


class BusyTime:
    """Counts the seconds in which at least one thread is inside it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock, self._inside, self._since = threading.Lock(), 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._since = self._since if self._inside else time.perf_counter()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self.seconds += time.perf_counter() - self._since


def _settled(pending: set[Future[None]]) -> set[Future[None]]:
    """Wait for one or more; raises what they raised, returns those that are not done."""
    done, rest = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return rest
