"""From keys to a search engine. ENGINES has an entry for each value of the key `engine`."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiment.settings.engine_rules import keeps_index
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys
from experiment.settings.value_types import EXACT, OPENSEARCH
from retrieval import distributed
from retrieval.engine import Engine
from retrieval.opensearch.heap import MIB, needed_heap

if TYPE_CHECKING:
    from retrieval.opensearch.client import Server
    from retrieval.opensearch.opensearch_engine import Options
    from sparse_model import SparseEncoder

logger = logging.getLogger(__name__)

Tokens = Callable[[], Sequence[str | None]]
"""The vocabulary, V entries; None for an id without a token."""


class MakeEngine(Protocol):
    """Makes an engine for one data set."""

    def __call__(self, data_set: str, documents: int, contents: dict[str, Any]) -> Engine:
        """The engine; contents: all that decides the documents' vectors, which names an index that lasts."""
        ...


@dataclass(frozen=True)
class EngineKind:
    """One value of the key `engine`."""

    open: Callable[[EvaluationKeys, OpenSearchKeys, Tokens, Sequence[Path]], AbstractContextManager[MakeEngine]]
    """see `open_engines`"""
    check: Callable[[OpenSearchKeys], str]
    """see `check_engine`"""


def open_engines(
    evaluation: EvaluationKeys, opensearch: OpenSearchKeys, tokens: Tokens, folders: Sequence[Path]
) -> AbstractContextManager[MakeEngine]:
    """A context, to be entered in every process, that yields what makes engines.

    Args:
        folders: where a private node may keep its files: the first that no other run's node uses; in the first, a large
            exact index.

    Raises:
        UserError: a server or a distribution that cannot be used.
    """
    return ENGINES[evaluation.engine].open(evaluation, opensearch, tokens, folders)


def tokens_of(encoder: "SparseEncoder") -> list[str | None]:
    """The encoder's vocabulary as `open_engines` takes it."""
    from sparse_model.vocabulary import tokens_by_id

    return tokens_by_id(encoder.tokenizer, encoder.vocabulary_size)


def check_engine(evaluation: EvaluationKeys, opensearch: OpenSearchKeys) -> str:
    """What would be searched with, as a line of the plan; nothing is started.

    Raises:
        UserError: a server or a distribution that cannot be used.
    """
    return ENGINES[evaluation.engine].check(opensearch)


@contextmanager
def _open_exact(
    evaluation: EvaluationKeys, opensearch: OpenSearchKeys, tokens: Tokens, folders: Sequence[Path]
) -> Iterator[MakeEngine]:
    from retrieval.exact_engine import ExactEngine
    from retrieval.opensearch.features import stored_precision

    adapt = stored_precision if evaluation.round_weights else None
    yield lambda data_set, documents, contents: ExactEngine(adapt, folders[0] if folders else None)


@contextmanager
def _open_opensearch(
    evaluation: EvaluationKeys, opensearch: OpenSearchKeys, tokens: Tokens, folders: Sequence[Path]
) -> Iterator[MakeEngine]:
    from retrieval.opensearch.opensearch_engine import OpenSearchEngine
    from retrieval.opensearch.seismic import SeismicEngine

    with _node(evaluation, opensearch, folders) as (urls, alive):
        server = _server(opensearch, urls, alive)
        try:
            version = distributed.on_main(server.first_contact)
            logger.info("OpenSearch %s at %s", version, server.address)

            def make(data_set: str, documents: int, contents: dict[str, Any]) -> Engine:
                given = (server, tokens(), data_set, contents, engine_options(evaluation, opensearch, documents))
                if evaluation.index_method == "seismic":
                    return SeismicEngine(*given, evaluation.seismic_parameters, evaluation.seismic_search)
                return OpenSearchEngine(*given)

            yield make
        finally:
            server.close()


def _check_opensearch(opensearch: OpenSearchKeys) -> str:
    from retrieval.opensearch.host import check_distribution, find_java, version_of

    if opensearch.opensearch_home:
        home = Path(opensearch.opensearch_home).expanduser()
        check_distribution(home)
        return f"a private OpenSearch {version_of(home)}, Java in {find_java(home)}"
    server = _server(opensearch, opensearch.opensearch_url, lambda: True)
    try:
        return f"OpenSearch {server.first_contact()} at {server.address}"
    finally:
        server.close()


def _node(
    evaluation: EvaluationKeys, opensearch: OpenSearchKeys, folders: Sequence[Path]
) -> AbstractContextManager[tuple[list[str], Callable[[], bool]]]:
    """(the server's addresses, whether there is something to wait for when it does not answer)."""
    if opensearch.opensearch_home is None:
        return nullcontext((opensearch.opensearch_url, lambda: True))
    from experiment.run.private_node import private_node

    keep = keeps_index(evaluation, opensearch)
    return private_node(opensearch.opensearch_home, opensearch.opensearch_heap, folders, keep)


def _server(opensearch: OpenSearchKeys, urls: Sequence[str], alive: Callable[[], bool]) -> "Server":
    """A client; user and password from the environment are for servers, a private node has none."""
    from retrieval.opensearch.client import Server

    user = os.environ.get("OPENSEARCH_USERNAME") if not opensearch.opensearch_home else None
    return Server(
        urls,
        credentials=(user, os.environ.get("OPENSEARCH_PASSWORD", "")) if user else None,
        ca=opensearch.opensearch_ca,
        verify=opensearch.opensearch_verify,
        connections=max(opensearch.opensearch_threads, 8),
        alive=alive,
    )


def engine_options(evaluation: EvaluationKeys, opensearch: OpenSearchKeys, documents: int) -> "Options":
    """How an index of so many documents is made and searched."""
    from retrieval.opensearch.opensearch_engine import Options

    remedy = "give its nodes more (-Xmx)"
    if opensearch.opensearch_home is not None:
        heap = needed_heap(documents, opensearch.opensearch_threads * distributed.world_size())
        remedy = f"give opensearch_heap={heap // MIB + 1}m or more"
    return Options(
        shards=opensearch.index_shards,
        replicas=opensearch.index_replicas,
        threads=opensearch.opensearch_threads,
        skip_ingest=evaluation.skip_ingest,
        two_phase=evaluation.use_two_phase,
        heap_remedy=remedy,
    )


ENGINES: dict[str, EngineKind] = {
    EXACT: EngineKind(_open_exact, lambda opensearch: "exact"),
    OPENSEARCH: EngineKind(_open_opensearch, _check_opensearch),
}
