"""From settings to a search engine: in memory, a server by its address, or a private node for the run."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from experiment.run import folder as run_folder
from experiment.settings.engine_rules import keeps_index
from experiment.settings.settings import Settings
from retrieval import distributed
from retrieval.beir_data import BeirData
from retrieval.engine import Engine
from retrieval.exact_engine import ExactEngine
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import stored_precision
from retrieval.opensearch.host import check_distribution, find_java, usable_folder, version_of
from retrieval.opensearch.node import Node
from retrieval.opensearch.opensearch_engine import OpenSearchEngine, Options
from retrieval.opensearch.preflight import MIB, needed_heap
from sparse_model import RunError, SparseEncoder, UserError

logger = logging.getLogger(__name__)

MakeEngine = Callable[[BeirData], Engine]


@contextmanager
def open_engines(
    settings: Settings, encoder: SparseEncoder, facts: dict[str, Any], folders: Sequence[Path]
) -> Iterator[MakeEngine]:
    """Yields what makes an engine for a data set; to be entered in every process.

    Args:
        facts: all that decides a document's vector beside its text; a hash of them names the indexes.
        folders: where a private node may keep its files: the first that no other run's node uses.

    Raises:
        UserError: a server or a distribution that cannot be used.
    """
    if settings.evaluation.engine == "exact":
        adapt = stored_precision if settings.evaluation.round_weights else None
        yield lambda data: ExactEngine(adapt)
        return
    keys = settings.opensearch
    with _private_node(settings, folders) as (url, alive):
        server = _server(settings, [url] if url else keys.opensearch_url, alive)
        try:
            version = distributed.on_main(server.first_contact)
            logger.info("OpenSearch %s at %s", version, server.address)
            yield lambda data: _opensearch_engine(settings, encoder, facts, server, data)
        finally:
            server.close()


def check_engine(settings: Settings) -> str:
    """What would be searched with, as a line of the plan; nothing is started.

    Raises:
        UserError: a server or a distribution that cannot be used.
    """
    keys = settings.opensearch
    if settings.evaluation.engine == "exact":
        return "exact, in memory"
    if keys.opensearch_home:
        home = Path(keys.opensearch_home).expanduser()
        check_distribution(home)
        return f"a private OpenSearch {version_of(home)}, Java in {find_java(home)}"
    server = _server(settings, keys.opensearch_url)
    try:
        return f"OpenSearch {server.first_contact()} at {server.address}"
    finally:
        server.close()


def _server(settings: Settings, urls: list[str], alive: Callable[[], bool] = lambda: True) -> Server:
    keys = settings.opensearch
    user = os.environ.get("OPENSEARCH_USERNAME")
    credentials = (user, os.environ.get("OPENSEARCH_PASSWORD", "")) if user and not keys.opensearch_home else None
    connections = max(keys.opensearch_threads, 8)
    return Server(urls, credentials, keys.opensearch_ca, keys.opensearch_verify, connections=connections, alive=alive)


@contextmanager
def _private_node(settings: Settings, folders: Sequence[Path]) -> Iterator[tuple[str, Callable[[], bool]]]:
    """The address of a node that rank 0 runs meanwhile ("" if none is asked for), and whether it still runs."""
    keys = settings.opensearch
    if keys.opensearch_home is None:
        yield "", lambda: True
        return
    if int(os.environ.get("LOCAL_WORLD_SIZE", distributed.world_size())) < distributed.world_size():
        raise UserError("opensearch_home: a private node serves one machine; start a server and give opensearch_url.")
    running: list[Node] = []
    with ExitStack() as locks:
        try:
            url = distributed.on_main(lambda: _start(settings, folders, running, locks))
            yield url, lambda: all(node.pid for node in running)
            distributed.barrier()
        except BaseException as error:
            for node in running:
                _stop_after(node, error)
            raise
        for node in running:
            node.stop()
            if keeps_index(settings.evaluation, keys):
                logger.info("the private node's data stay in %s", node.folder)
            else:
                node.remove()


def _start(settings: Settings, folders: Sequence[Path], running: list[Node], locks: ExitStack) -> str:
    """Start a node and put it into `running`; its address."""
    home = Path(str(settings.opensearch.opensearch_home)).expanduser()
    check_distribution(home)  # before a folder is made
    for folder in folders:
        place = folder / ".opensearch"
        try:
            locks.enter_context(run_folder.locked(place))
            break
        except UserError:
            continue
    node = Node(home, usable_folder(place), settings.opensearch.opensearch_heap)
    running.append(node)
    logger.info("starting a private OpenSearch %s in %s", version_of(home), node.folder)
    node.start()
    return node.url


def _stop_after(node: Node, error: BaseException) -> None:
    """Stop the node of a run that failed; what it has taken in stays, for the same command to go on from."""
    ended, said = not node.pid, node.last_words()
    node.stop()
    if isinstance(error, UserError) and node.is_new:
        node.remove()  # nothing was encoded yet
        return
    logger.info("the private node's log and data stay in %s; the same command goes on from them", node.folder)
    if isinstance(error, RunError) and ended and str(node.log) not in str(error):
        raise RunError(f"{error}\nThe private OpenSearch node has ended. {said}") from None


def _opensearch_engine(
    settings: Settings, encoder: SparseEncoder, facts: dict[str, Any], server: Server, data: BeirData
) -> OpenSearchEngine:
    keys, evaluation = settings.opensearch, settings.evaluation
    tokens = encoder.tokenizer.convert_ids_to_tokens(list(range(len(encoder.tokenizer))))
    tokens += [None] * (encoder.vocabulary_size - len(tokens))
    corpus = distributed.on_main(lambda: corpus_hash(data.doc_ids, data.texts))
    contents = facts | {"corpus": corpus}
    options = Options(
        shards=keys.index_shards,
        replicas=keys.index_replicas,
        threads=keys.opensearch_threads,
        skip_ingest=evaluation.skip_ingest,
        two_phase=evaluation.use_two_phase,
        heap_remedy=_heap_remedy(settings, len(data.doc_ids)),
    )
    return OpenSearchEngine(server, tokens, data.name, contents, options)


def _heap_remedy(settings: Settings, documents: int) -> str:
    if settings.opensearch.opensearch_home is None:
        return "give its nodes more (-Xmx), or lower opensearch_threads"
    requests = settings.opensearch.opensearch_threads * distributed.world_size()
    return f"give opensearch_heap={needed_heap(documents, requests) // MIB + 1}m or more"


def corpus_hash(doc_ids: Sequence[str], texts: Sequence[str]) -> str:
    """16 hex digits over ids and texts; the same for every split."""
    digest = sha256()
    for part in (doc_ids, texts):
        for text in part:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()[:16]
