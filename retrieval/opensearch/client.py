"""A server by its addresses: requests that are repeated where that can help, and errors that say what to do."""

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from retrieval.opensearch.address import Words, public_address, split_address
from sparse_model.errors import RunError, UserError

logger = logging.getLogger(__name__)
T = TypeVar("T")
KEYS = Words()

# Statuses that pass by themselves: too many requests, a gateway without its server, a shard on its way.
TRANSIENT = (429, 502, 503, 504)
PATIENCE_S = 300.0
LONGEST_PAUSE_S = 10.0
FIRST_CONTACT_S, FIRST_ANSWER_S = 5.0, 20.0
REQUEST_S = 120.0
GRACE_S = 2.0  # in which the library sees for itself that a node is silent, and asks the next one


def library() -> Any:
    """The module opensearchpy, which only this engine needs.

    Raises:
        UserError: with the command that installs it.
    """
    try:
        import opensearchpy
    except ImportError:
        raise UserError(
            "OpenSearch: opensearch-py is not installed; python -m pip install -e '.[opensearch]' does it."
        ) from None
    return opensearchpy


def is_block(status: Any, kind: Any) -> bool:
    """Whether an error is a block on writing (a full disk): waiting does not lift it.

    A block with 503 is another thing: a cluster that is still recovering.
    """
    return kind == "cluster_block_exception" and status in (403, 429)


class Server:
    """A server or cluster.

    Args:
        urls: one or more nodes of one cluster; credentials in a URL count unless `credentials` is given.
        ca: a file of certificates to trust instead of the system's.
        verify: False: any certificate is accepted.
        patience_s: how long a request is repeated before the run fails.
        alive: asked before a request is repeated; False: there is nothing to wait for.
        connections: kept open to each node.
        words: what messages call these.
    """

    def __init__(
        self,
        urls: Sequence[str],
        credentials: tuple[str, str] | None = None,
        ca: str | None = None,
        verify: bool = True,
        patience_s: float = PATIENCE_S,
        connections: int = 16,
        alive: Callable[[], bool] = lambda: True,
        words: Words = KEYS,
    ) -> None:
        self.address = ", ".join(map(public_address, urls))
        self.patience_s, self._alive = patience_s, alive
        self.version = ""  # once there was a `first_contact`
        self._words = words
        try:
            addresses = [split_address(url) for url in urls]
        except UserError as error:
            raise UserError(f"{words.url}: {error}") from None
        encrypted = any(host["use_ssl"] for host, _ in addresses)
        options: dict[str, Any] = {"verify_certs": verify, "ca_certs": ca, "ssl_show_warn": False} if encrypted else {}
        if encrypted and not verify:
            logger.warning("%s: the server's certificate is not checked", words.unverified)
        self._client = library().OpenSearch(
            [host for host, _ in addresses],
            http_auth=credentials or next((found for _, found in addresses if found), None),
            pool_maxsize=connections,
            selector_class=Turns,
            max_retries=0,  # `call` repeats, and sees more reasons to
            **options,
        )

    def __repr__(self) -> str:
        return f"Server({self.address})"  # the client's own repr shows the password

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: dict[str, Any] | None = None,
        timeout_s: float = REQUEST_S,
        missing: Any = None,
        has: Sequence[str] = (),
        wanted: Callable[[], bool] = lambda: True,
    ) -> Any:
        """The answer to a request, repeated with pauses while its failure may pass.

        Args:
            body: an object, or lines of JSON as bytes.
            timeout_s: for the whole answer, which a server may also send in drops.
            missing: if given, what 404 means.
            has: keys that the answer must have.
            wanted: asked before the request is repeated; False: it is given up.

        Raises:
            RunError: any other failure, with the server's reason.
        """
        headers = {"content-type": "application/x-ndjson"} if isinstance(body, bytes) else None

        def once() -> Any:
            options = {**(params or {}), "request_timeout": timeout_s}
            ask = self._client.transport.perform_request
            return within(timeout_s, lambda: ask(method, path, params=options, body=body, headers=headers))

        try:
            answer = self.patiently(once, wanted=wanted)
        except library().OpenSearchException as error:
            if missing is not None and getattr(error, "status_code", None) == 404:
                return missing
            raise RunError(f"{self.address}: {method} {path}: {reason(error)}") from None
        if path.startswith("/_cat/"):  # these answer in rows
            return answer
        if not isinstance(answer, dict) or (lacking := [key for key in has if key not in answer]):
            what = "is no object" if not isinstance(answer, dict) else f"lacks {', '.join(lacking)}"
            raise RunError(
                f"{self.address}: {method} {path}: the answer {what}: {str(answer)[:200]}. This is not how OpenSearch "
                "answers; see what listens there, or what stands between."
            )
        return answer

    def patiently(
        self, once: Callable[[], T], patience_s: float | None = None, wanted: Callable[[], bool] = lambda: True
    ) -> T:
        """The value of `once`, repeated while its error may pass, up to `patience_s` from the first one on."""
        pauses = Pauses(self.patience_s if patience_s is None else patience_s)
        while True:
            try:
                return once()
            except library().OpenSearchException as error:
                if not may_pass(error) or not (self._alive() and wanted() and pauses.wait()):
                    raise

    def first_contact(self) -> str:
        """The server's version; a server that does not answer is not waited for long.

        Raises:
            UserError: nothing there, a certificate that is not trusted, wrong credentials, no OpenSearch 2 or 3.
        """

        def ask() -> Any:
            ask = self._client.transport.perform_request
            return within(FIRST_ANSWER_S, lambda: ask("GET", "/", params={"request_timeout": FIRST_ANSWER_S}))

        try:
            # Of several addresses each gets its turn, even after one that takes a connection and never answers.
            patience = FIRST_CONTACT_S + FIRST_ANSWER_S * self.address.count(",")
            answer = self.patiently(ask, min(patience, self.patience_s))
        except library().OpenSearchException as error:
            raise UserError(f"{self._words.url}: {self.address}: {_first_mistake(error, self._words)}") from None
        version = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(version, dict) or version.get("distribution") != "opensearch":
            raise UserError(f"{self._words.url}: {self.address} answers, but is no OpenSearch server; name another.")
        number = str(version.get("number"))
        if number.partition(".")[0] not in ("2", "3"):
            raise UserError(
                f"{self._words.url}: {self.address} is OpenSearch {number}; versions 2 and 3 are supported."
            )
        self.version = number
        return number

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class Turns:
    """Takes every node in turn, whichever thread asks: the library counts for each thread, and `within` has many."""

    def __init__(self, options: Any) -> None:
        self._turns = itertools.count()

    def select(self, connections: Sequence[T]) -> T:
        """The next one's."""
        return connections[next(self._turns) % len(connections)]


def within(seconds: float, ask: Callable[[], T]) -> T:
    """The value of `ask` if it comes in time.

    The library's own time-out is for each read. The thread that is given up reads on until its connection ends.

    Raises:
        opensearchpy.ConnectionTimeout: if it does not.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(ask())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(error)

    # No pool: at the end of the program it would wait for a thread that was given up.
    thread = threading.Thread(target=work, name="request", daemon=True)
    thread.start()
    thread.join(seconds + GRACE_S)
    if failed:
        raise failed[0]
    if not done:
        late = f"no whole answer within {seconds:.0f} s"
        raise library().ConnectionTimeout("TIMEOUT", late, TimeoutError(late))
    return done[0]


class Pauses:
    """Growing pauses between the attempts of one request, until patience is at an end."""

    def __init__(self, patience_s: float) -> None:
        self._end, self._next = time.monotonic() + patience_s, 0.2

    def wait(self) -> bool:
        """Sleep; False at once if there is no time left."""
        if time.monotonic() >= self._end:
            return False
        # Spread, so that clients refused together do not come back together.
        time.sleep(self._next * random.uniform(0.5, 1))
        self._next = min(2 * self._next, LONGEST_PAUSE_S)
        return True


def may_pass(error: Exception) -> bool:
    """Whether the same request can succeed later."""
    if isinstance(error, library().SSLError):
        return False
    if isinstance(error, library().ConnectionError):
        return True
    if not isinstance(error, library().TransportError):
        return False
    return error.status_code in TRANSIENT and not is_block(error.status_code, error.error)


def reason(error: Exception) -> str:
    """What happened, as the server says it."""
    if isinstance(error, library().ConnectionError):
        return f"no answer ({error.error})"
    if not isinstance(error, library().TransportError):
        return str(error)
    if is_block(error.status_code, error.error):
        return BLOCKED
    info = error.info if isinstance(error.info, dict) else {}
    said = info.get("error")
    causes = said.get("root_cause") if isinstance(said, dict) else None
    text = "; ".join(str(cause.get("reason")) for cause in causes) if causes else str(error.error)
    return f"{error.status_code} {text}"


BLOCKED = (
    "the server takes no more documents: its disk is above the flood stage, or the index is blocked. Free disk space, "
    "remove index.blocks.read_only_allow_delete if it stays, and start the same command again; it goes on from there."
)


def _first_mistake(error: Exception, words: Words) -> str:
    if isinstance(error, library().SSLError) or "SSL" in str(getattr(error, "error", "")):
        return (
            f"its certificate is not trusted, or it does not speak TLS. Name its authority's file: {words.authority}, "
            f"or accept any certificate: {words.unverified}."
        )
    if isinstance(error, library().ConnectionError):
        return (
            f"nothing answers ({error.error}). Start the server, correct the address (https:// if it speaks TLS), or "
            f"{words.without}."
        )
    if getattr(error, "status_code", None) in (401, 403):
        return f"refused with {error.status_code}. Set OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD in the environment."  # type: ignore[attr-defined]
    return f"{reason(error)}; name an OpenSearch server."
