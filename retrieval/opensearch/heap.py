"""How much heap a node needs, and how much may be on its way to one of so much heap."""

MIB = 2**20
MOST_BYTES = 8 * MIB
"""of a request"""
# Heap of a data node: the server itself, bulk requests under way in their parsed form, and a share for each document
# (live documents, ids while they are written, hits). Vectors lie on disk, not in the heap.
BASE_HEAP, REQUEST_HEAP, DOCUMENT_HEAP = 256 * MIB, 16 * MIB, 32


def needed_heap(documents: int, requests: int) -> int:
    """Bytes of heap that loading `documents` takes over all data nodes, an estimate."""
    return BASE_HEAP + requests * REQUEST_HEAP + documents * DOCUMENT_HEAP


def what_fits(heap: int, documents: int, processes: int, threads: int) -> tuple[int, int]:
    """(requests at once, bytes of a request at most) for each of the processes that load an index together.

    As many as `threads`; fewer where the heap is small, and smaller ones where not even one each fits.

    Args:
        heap: bytes over all data nodes, with room for one request at least (`needed_heap`); 0: not known.
    """
    if not heap:
        return threads, MOST_BYTES
    share = (heap - needed_heap(documents, 0)) // processes
    at_once = max(1, min(threads, share // REQUEST_HEAP))
    return at_once, min(MOST_BYTES, share // at_once * MOST_BYTES // REQUEST_HEAP)
