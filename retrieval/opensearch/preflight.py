"""Looks at a server before anything is encoded: what would fail later, with its remedy."""

import logging
import re
from typing import Any

from retrieval.opensearch.client import Server
from retrieval.opensearch.heap import MIB, needed_heap
from retrieval.opensearch.layout import NO_RANK_FEATURES
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40, "pb": 2**50}


def check_server(server: Server, documents: int, heap_remedy: str) -> int:
    """See that the server knows rank_features and has disk and heap for the corpus.

    Returns:
        Bytes of heap over all data nodes; 0 where the server does not say.

    Raises:
        UserError: everything that is missing, each with its remedy.
    """
    nodes = _nodes(server, "plugins", "nodes.*.modules.name,nodes.*.plugins.name")
    known = [{part["name"] for kind in ("modules", "plugins") for part in node.get(kind, [])} for node in nodes]
    mistakes = []
    if any(names and "mapper-extras" not in names for names in known):
        mistakes.append(NO_RANK_FEATURES)
    stats = _nodes(
        server, "stats/fs,jvm", "nodes.*.name,nodes.*.roles,nodes.*.fs.total,nodes.*.jvm.mem.heap_max_in_bytes"
    )
    data_nodes = [node for node in stats if "data" in node.get("roles", ["data"])]
    mistakes += _disk_mistakes(server, data_nodes)
    heap = sum(node.get("jvm", {}).get("mem", {}).get("heap_max_in_bytes", 0) for node in data_nodes)
    if 0 < heap < (needed := needed_heap(documents, 1)):
        mistakes.append(
            f"{server.address}: {heap / MIB:.0f} MiB of heap, but {documents} documents take about "
            f"{needed / MIB:.0f} MiB; {heap_remedy}."
        )
    if mistakes:
        raise UserError("\n".join(mistakes))
    return heap


def clause_limit(server: Server) -> int:
    """The most tokens that a query may have."""
    return int(settings(server).get("indices.query.bool.max_clause_count", 1024))


def settings(server: Server) -> dict[str, Any]:
    """The cluster's settings, flat: set while it runs, else in its files, else defaults."""
    found = server.call("GET", "/_cluster/settings", params={"include_defaults": "true", "flat_settings": "true"})
    return {**found.get("defaults", {}), **found.get("persistent", {}), **found.get("transient", {})}


def _nodes(server: Server, what: str, wanted: str) -> list[dict[str, Any]]:
    path = f"/_nodes/{what}"
    return list(server.call("GET", path, params={"filter_path": wanted}, missing={}).get("nodes", {}).values())


def _disk_mistakes(server: Server, nodes: list[dict[str, Any]]) -> list[str]:
    keys, disk_key = settings(server), "cluster.routing.allocation.disk"
    if str(keys.get(f"{disk_key}.threshold_enabled")) == "false":
        return []
    flood = str(keys.get(f"{disk_key}.watermark.flood_stage", "95%"))
    found = []
    for node in nodes:
        disk = node.get("fs", {}).get("total", {})
        free, total = disk.get("available_in_bytes"), disk.get("total_in_bytes")
        if free is not None and total and free < (least := _least_free(flood, total)):
            found.append(
                f"{server.address}: node {node.get('name')} has {free / 1e9:.1f} GB of disk free, below its flood "
                f"stage ({flood}: {least / 1e9:.1f} GB); free some, or change {disk_key}.watermark.*."
            )
    return found


def _least_free(watermark: str, total: int) -> float:
    """Bytes that a watermark wants free: 95% or 0.95 (used), or bytes such as 500mb; 0 if it is not understood."""
    amount = re.fullmatch(r"([\d.]+)\s*(%|[kmgtp]?b|)", watermark.strip().lower())
    if not amount:
        return 0
    number, unit = float(amount[1]), amount[2]
    if unit in _UNITS:
        return number * _UNITS[unit]
    return total * (1 - (number / 100 if unit == "%" else number))
