"""An index of somebody's documents behind an alias: loaded beside the old one, then taken in its place."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.corpus import open_corpus
from retrieval.fingerprint import hash_of
from retrieval.mapped_corpus import MappedCorpus
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import feature_names, sum_of_features
from retrieval.opensearch.index import MADE_BY
from retrieval.opensearch.layout import Layout
from retrieval.opensearch.opensearch_engine import OpenSearchEngine, Options
from retrieval.opensearch.preflight import clause_limit
from retrieval.opensearch.search import keep_heaviest
from retrieval.shaped import Shape, ShapedVectors, Shaper
from retrieval.vectors import VectorCache
from sparse_model.errors import RunError, UserError
from sparse_model.vocabulary import tokens_by_id

if TYPE_CHECKING:
    from sparse_model import SparseEncoder

logger = logging.getLogger(__name__)

WORDS, SHOWN = 8, 160


@dataclass(frozen=True)
class Names:
    """What things are called in the cluster.

    Args:
        alias: what is searched by; indexes are called <alias>-<hash>.
        field: of vectors; title, text: of what a document says.
    """

    alias: str
    field: str
    title: str
    text: str

    def check(self) -> None:
        """Raise a UserError for names that cannot be."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", self.alias):
            raise UserError(f"--index {self.alias!r}: small letters, digits, - and _ make a name, at most 100.")
        names = (self.field, self.title, self.text)
        if len({*names, "block"}) < 4 or not all(re.fullmatch(r"[^\W_][\w-]*", name) for name in names):
            raise UserError(
                f"--field, --title-field, --text-field: {', '.join(names)}: three different names of letters, "
                "digits, - and _, none of them block."
            )

    def check_on(self, server: Server) -> None:
        """Raise a UserError if an index has the alias' name."""
        if self.alias in server.call("GET", f"/{self.alias}/_mapping", missing={}):
            raise UserError(
                f"--index {self.alias}: {server.address} has an index of this name, and an alias is needed, which can "
                "be led from one index to the next; give another name."
            )


class Serving:
    """One alias on a server.

    Args:
        work: where vectors lie in blocks, for the next time.
    """

    def __init__(self, server: Server, names: Names, work: Path) -> None:
        self._server, self._names, self._work = server, names, work
        self._index, self._documents = "", 0

    def load(
        self,
        encoder: "SparseEncoder",
        model: Mapping[str, Any],
        source: Path,
        shape: Shape | Shaper,
        options: Options,
        batch_size: int,
    ) -> str:
        """Load the documents into an index of their own, or the rest of them; the words that the first one begins with.

        To be called in every process.

        Args:
            encoder: without a cut; model: all that decides its vectors beside the texts.
        """
        (corpus, digest), names = open_corpus(source), self._names
        vectors = VectorCache(
            self._work / f"vectors-{hash_of([model, digest])}",
            corpus.texts,
            lambda lists, progress: encoder.encode_blocks(lists, batch_size, progress),
        )
        V = encoder.vocabulary_size
        shaped = ShapedVectors(vectors, shape, V, corpus.texts, encoder.count_tokens, vectors.folder)
        facts = shape.shape.facts if isinstance(shape, Shaper) else shape.facts
        contents = {"model": model, "corpus": digest, "names": [names.field, names.title, names.text], **facts}
        layout = Layout(field=names.field, texts=(names.title, names.text))
        said = replace(options, layout=layout, fields=lambda position: self._said(corpus, position))
        engine = OpenSearchEngine(self._server, tokens_by_id(encoder.tokenizer, V), names.alias, contents, said)
        engine.index(corpus.ids, V, shaped if shape else vectors)
        self._index, self._documents = engine.name, len(corpus)
        return next((" ".join(words) for text in corpus.texts if (words := text.split()[:WORDS])), "")

    def _said(self, corpus: MappedCorpus, position: int) -> dict[str, Any]:
        """A document's fields by the names that they get."""
        said = corpus.fields(position)
        mine = {self._names.title: said.pop("title"), self._names.text: said.pop("text")}
        if taken := {*said} & {*mine, self._names.field, "block"}:
            raise UserError(
                f"document {corpus.ids[position]!r} says something of its own as {', '.join(sorted(taken))}, which "
                "is needed; rename it there, or choose --field, --title-field, --text-field."
            )
        return {**mine, **said}

    def lead_here(self, keep_old: bool) -> str:
        """Lead the alias to the loaded index in one step, and remove what it led to before; in words, what was done."""
        alias = self._names.alias
        found = self._server.call("GET", f"/_alias/{alias}", missing={})
        old = [name for name in found if name != self._index]
        actions = [{"remove": {"index": name, "alias": alias}} for name in old]
        actions.append({"add": {"index": self._index, "alias": alias}})
        self._server.call("POST", "/_aliases", {"actions": actions}, has=["acknowledged"])
        said = [f"{alias} → {self._index}: {self._documents} documents"]
        for name in old:
            mappings = self._server.call("GET", f"/{name}/_mapping").get(name, {}).get("mappings", {})
            ours = mappings.get("_meta", {}).get("made by") == MADE_BY
            if ours and not keep_old:
                self._server.call("DELETE", f"/{name}", missing={})
            said.append(f"{name} was there before: {'removed' if ours and not keep_old else 'kept'}")
        return "\n".join(said)

    def ask(self, encoder: "SparseEncoder", query: str, size: int) -> list[str]:
        """A query and its best documents, a line each.

        Raises:
            UserError: if there is no such alias, or the query has no token with weight.
        """
        weights, _ = keep_heaviest(encoder.encode_queries([query]), clause_limit(self._server))
        if not weights.nnz:
            raise UserError(f"--query {query!r}: no token of it has a weight; ask with other words.")
        names = feature_names(tokens_by_id(encoder.tokenizer, encoder.vocabulary_size))
        body = {"size": size, "query": sum_of_features(self._names.field, names, weights.indices, weights.data)}
        alias = self._names.alias
        answer = self._server.call("POST", f"/{alias}/_search", body, missing={})
        if not answer:
            raise UserError(f"--index {alias}: {self._server.address} has no such alias; serve a CORPUS first.")
        try:
            hits = [(hit["_score"], hit["_id"], hit["_source"]) for hit in answer["hits"]["hits"]]
        except (KeyError, TypeError):
            raise RunError(f"{self._server.address}: a search in {alias}: no answer of OpenSearch.") from None
        lines = (f"{score:8.3f}  {name}  {self._shown(said)}" for score, name, said in hits)
        return [f"{query!r}: {len(hits)} hits", *lines]

    def _shown(self, said: Mapping[str, Any]) -> str:
        parts = (str(said.get(name) or "") for name in (self._names.title, self._names.text))
        return " ".join(" ".join(parts).split())[:SHOWN]
