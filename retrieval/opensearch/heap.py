"""How much heap a node needs."""

MIB = 2**20
# Heap of a data node: the server itself, bulk requests under way in their parsed form, and a share for each document
# (live documents, ids while they are written, hits). Vectors lie on disk, not in the heap.
BASE_HEAP, REQUEST_HEAP, DOCUMENT_HEAP = 256 * MIB, 16 * MIB, 32


def needed_heap(documents: int, requests: int) -> int:
    """Bytes of heap that loading `documents` takes over all data nodes, an estimate."""
    return BASE_HEAP + requests * REQUEST_HEAP + documents * DOCUMENT_HEAP
