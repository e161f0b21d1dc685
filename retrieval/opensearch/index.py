"""One corpus as an index: its name, its mapping, what it holds already, and whether it is complete.

A document carries its number of block, so that a load which was cut short knows from the index itself which blocks
are whole. The mark of completeness is written last of all.
"""

import base64
import hashlib
import json
import logging
import re
import time
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.opensearch.client import Pauses, Server
from retrieval.opensearch.layout import LAYOUT, Layout
from sparse_model.errors import RunError, UserError

logger = logging.getLogger(__name__)

FORMAT = 1  # of the documents; part of the name, so that another format is another index
MADE_BY = "sparse-retrieval-l0"
LONG_S = 24 * 3600.0
REPLICAS_S = 120.0
WHILE_LOADING = {"index": {"number_of_replicas": 0, "refresh_interval": "-1"}}


def index_name(data_set: str, contents: dict[str, Any]) -> str:
    """<data set>-<hash>, the hash over all that decides what the index holds."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", data_set.lower()).strip("-_")[:100] or "data"
    text = json.dumps([FORMAT, contents], sort_keys=True, default=str)
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Loaded:
    """What the mark of a complete index says."""

    documents: int
    document_df: np.ndarray
    """[V] int64"""
    figures: dict[str, float]
    """of its loading: documents/s"""


class Index:
    """An index on a server, that holds `documents` documents once it is complete.

    Args:
        shards, replicas: as OpenSearch counts them; replicas beside the first copy, made after loading.
    """

    def __init__(
        self, server: Server, name: str, documents: int, shards: int = 1, replicas: int = 0, layout: Layout = LAYOUT
    ) -> None:
        self.server, self.name, self.documents, self._layout = server, name, documents, layout
        self._shards, self._replicas = shards, replicas
        # Documents are sent to this alias: a server would silently make a new index of a name that is no more.
        self.loading = f"{name}-loading"

    def loaded(self) -> Loaded | None:
        """What is known of the index if it is complete.

        Raises:
            UserError: an index of that name that is not ours.
        """
        meta = self._meta()
        if meta is None or "complete" not in meta:
            return None
        try:
            done = meta["complete"]
            df = np.frombuffer(zlib.decompress(base64.b64decode(done["document_df"])), dtype="<i4").astype(np.int64)
            loaded = Loaded(int(done["documents"]), df, dict(done["figures"]))
        except (ValueError, KeyError, TypeError, zlib.error):
            raise UserError(self._not_usable("its mark of completeness is damaged")) from None
        if loaded.documents != self.documents or self.count() != self.documents:
            return None  # documents were removed since
        return loaded

    def open_for_loading(self) -> dict[int, int]:
        """Create the index, or reopen one that is not complete: block numbers and how many documents each has."""
        pauses = Pauses(self.server.patience_s)
        while self._meta() is None:
            self._create()
            # A cluster under strain may say yes and then lose what it has not yet agreed upon.
            if self._meta() is None and not pauses.wait():
                raise RunError(f"{self.server.address}: index {self.name} was created, but is not there.")
        self.server.call("PUT", f"/{self.name}/_settings", WHILE_LOADING)
        self.server.call("PUT", f"/{self.name}/_alias/{self.loading}")
        self._mark({})
        self.refresh()
        query = {"size": 0, "aggs": {"blocks": {"terms": {"field": "block", "size": 65000}}}}
        found = self.server.call("POST", f"/{self.name}/_search", query, timeout_s=LONG_S, has=["aggregations"])
        return {int(b["key"]): b["doc_count"] for b in found["aggregations"]["blocks"]["buckets"]}

    def finish(self) -> None:
        """Make everything visible, count it, merge it into one segment a shard, and restore what loading changed.

        Raises:
            RunError: if another number of documents is there.
        """
        self.refresh()
        if (there := self.count()) != self.documents:
            raise RunError(
                f"{self.server.address}: index {self.name} holds {there} documents after loading, not "
                f"{self.documents}: something else wrote to it or removed it; start again."
            )
        self.server.call("POST", f"/{self.name}/_forcemerge", params={"max_num_segments": 1}, timeout_s=LONG_S)
        self.server.call("PUT", f"/{self.name}/_settings", {"index": {"refresh_interval": None}})
        self.refresh()
        self.server.call("POST", f"/{self.name}/_flush", timeout_s=LONG_S)
        self.add_replicas()

    def add_replicas(self) -> None:
        """See that the index has the wanted number of replicas, or more, and wait until they are filled."""
        setting = "index.number_of_replicas"
        found = self.server.call("GET", f"/{self.name}/_settings/{setting}", params={"flat_settings": "true"})
        if int(found[self.name]["settings"][setting]) < self._replicas:
            self.server.call("PUT", f"/{self.name}/_settings", {setting: self._replicas})
            self._await_replicas()

    def mark_complete(self, document_df: np.ndarray, figures: dict[str, float]) -> None:
        """Write the mark; document_df [V]: in how many documents each token has a weight."""
        packed = base64.b64encode(zlib.compress(document_df.astype("<i4").tobytes())).decode()
        self._mark({"complete": {"documents": self.documents, "document_df": packed, "figures": figures}})

    def count(self) -> int:
        """Documents that a search can see."""
        return int(self.server.call("GET", f"/{self.name}/_count", has=["count"])["count"])

    def refresh(self) -> None:
        """Let searches see everything that was taken in."""
        self.server.call("POST", f"/{self.name}/_refresh", timeout_s=LONG_S)

    def bytes_on_disk(self) -> int:
        """Of the first copies of all shards."""
        found = self.server.call("GET", f"/{self.name}/_stats/store", has=["_all"])
        return int(found["_all"]["primaries"]["store"]["size_in_bytes"])

    def allow_hits(self, hits: int) -> None:
        """Let a search return, or rescore, that many documents."""
        if hits > 10_000:
            window = {"index": {"max_result_window": hits, "max_rescore_window": hits}}
            self.server.call("PUT", f"/{self.name}/_settings", window)

    def delete(self) -> None:
        """Remove the index, if it is there."""
        self.server.call("DELETE", f"/{self.name}", missing={})

    def _create(self) -> None:
        mapping = {"_meta": {"made by": MADE_BY}, **self._layout.mappings()}
        settings = {"index": {"number_of_shards": self._shards, **WHILE_LOADING["index"], **self._layout.settings}}
        body = {"settings": settings, "mappings": mapping}
        try:
            self.server.call("PUT", f"/{self.name}", body, has=["acknowledged"])
        except RunError as error:
            if "No handler for type" in str(error):
                raise UserError(self._layout.needs) from None
            if self._meta() is None:  # else another run, or the first try of this request, has just made it
                raise

    def _meta(self) -> dict[str, Any] | None:
        """_meta of the mapping, None if there is no index."""
        found = self.server.call("GET", f"/{self.name}/_mapping", missing={})
        if not found:
            return None
        if self.name not in found:
            raise UserError(self._not_usable(f"it is an alias of {', '.join(map(str, found))}"))
        said = found[self.name]
        mappings = said.get("mappings") if isinstance(said, dict) else None
        meta = mappings.get("_meta") if isinstance(mappings, dict) else None
        if not isinstance(meta, dict) or meta.get("made by") != MADE_BY:
            raise UserError(self._not_usable("it was not made by this program"))
        return meta

    def _not_usable(self, why: str) -> str:
        return f"{self.server.address}: index {self.name}: {why}; remove it (DELETE /{self.name}), and start again."

    def other_vocabulary(self, there: int, wanted: int) -> UserError:
        """What to raise where the mark counts another number of tokens."""
        return UserError(self._not_usable(f"its mark of completeness is of {there} tokens, not of {wanted}"))

    def foreign(self, doc_id: str) -> RunError:
        """What to raise where a search finds a document that this corpus does not have."""
        return RunError(self._not_usable(f"it holds a document {doc_id!r}, which is not of this corpus"))

    def _mark(self, what: dict[str, Any]) -> None:
        self.server.call("PUT", f"/{self.name}/_mapping", {"_meta": {"made by": MADE_BY, **what}})

    def _await_replicas(self) -> None:
        end = time.monotonic() + REPLICAS_S
        while (health := self.server.call("GET", f"/_cluster/health/{self.name}"))["status"] != "green":
            nodes = health["number_of_data_nodes"]
            if nodes <= self._replicas or time.monotonic() > end:
                logger.warning(
                    "index_replicas: not all of %d replicas have a node to lie on; the cluster has %d (index %s)",
                    *(self._replicas, nodes, self.name),
                )
                return
            time.sleep(0.5)
