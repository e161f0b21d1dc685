"""A private OpenSearch node: started for a run by rank 0, stopped after it."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from experiment.run.locks import FolderInUse, locked
from retrieval import distributed
from retrieval.opensearch.host import check_distribution, usable_folder, version_of
from retrieval.opensearch.node import Node
from sparse_model.errors import RunError, UserError

logger = logging.getLogger(__name__)


@contextmanager
def private_node(
    home: str, heap: str, folders: Sequence[Path], keep: bool
) -> Iterator[tuple[list[str], Callable[[], bool]]]:
    """Yields (the addresses of a node that runs meanwhile, whether it still runs). To be entered in every process.

    Args:
        home: folder of an unpacked OpenSearch.
        folders: where the node may keep its files: the first that no other run's node uses.
        keep: its files stay after it.

    Raises:
        UserError: processes on several machines, or a distribution that cannot be used.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE", distributed.world_size())) < distributed.world_size():
        raise UserError("opensearch_home: a private node serves one machine; start a server and give opensearch_url.")
    running: list[Node] = []
    with ExitStack() as locks:
        try:
            url = distributed.on_main(lambda: _start(Path(home).expanduser(), heap, folders, running, locks))
            yield [url], lambda: all(node.pid for node in running)
            distributed.barrier()
        except BaseException as error:
            for node in running:
                _stop_after(node, error)
            raise
        for node in running:
            _stop(node, keep)


def _start(home: Path, heap: str, folders: Sequence[Path], running: list[Node], locks: ExitStack) -> str:
    """Start a node and put it into `running`; its address."""
    check_distribution(home)  # before a folder is made
    node = Node(home, usable_folder(_free_place(folders, locks)), heap)
    running.append(node)
    logger.info("starting a private OpenSearch %s in %s", version_of(home), node.folder)
    node.start()
    return node.url


def _free_place(folders: Sequence[Path], locks: ExitStack) -> Path:
    """Where the node's files lie: in the first folder in which no other node runs.

    Raises:
        FolderInUse: if one runs in each of them.
    """
    places = [folder / ".opensearch" for folder in dict.fromkeys(folders)]
    for place in places:
        try:
            locks.enter_context(locked(place))
            return place
        except FolderInUse:
            if place == places[-1]:
                raise
    raise AssertionError("no folder was given")


def _stop(node: Node, keep: bool) -> None:
    node.stop()
    if keep:
        logger.info("the private node's data stay in %s", node.folder)
    else:
        node.remove()


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
