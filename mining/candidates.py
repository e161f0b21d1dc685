"""Stage 1: each query's candidates, by the mining encoder; its judged positives are always among them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from tqdm import tqdm

from retrieval import distributed
from retrieval.arrays import map_arrays, read_facts, write_arrays
from retrieval.beir_data import BeirData
from retrieval.engine import Engine
from retrieval.score_dataset import DropQueryId, own_documents
from retrieval.strings import Ordered
from retrieval.vectors import VectorCache, pair_scores


@dataclass(frozen=True)
class Corpus:
    """What is mined: documents by id descending (the order of equal scores), queries in file order."""

    doc_ids: Sequence[str]
    texts: Sequence[str]
    query_ids: list[str]
    queries: list[str]
    positives: list[np.ndarray]
    """For each query the positions of the documents that the split judges relevant, ascending."""
    lost_positives: int
    """Judged positives that the corpus does not hold."""
    own: Mapping[int, int] = field(default_factory=dict)
    """Position of a query -> that of its own document, which is no candidate (see `own_documents`)."""


def corpus_of(data: BeirData, drop_query_id: DropQueryId = "auto") -> Corpus:
    """The data with its documents in order."""
    judged = [[doc for doc, grade in data.qrels[qid].items() if grade > 0] for qid in data.query_ids]
    ranks = np.split(data.doc_ids.ranks([*chain.from_iterable(judged)]), np.cumsum([len(docs) for docs in judged])[:-1])
    positives = [np.sort(found[found >= 0]) for found in ranks]
    lost = sum(map(len, judged)) - sum(map(len, positives))
    dropped = own_documents(data, drop_query_id)
    numbers = [number for number, name in enumerate(data.query_ids) if name in dropped]
    own = dict(zip(numbers, data.doc_ids.ranks([data.query_ids[n] for n in numbers]).tolist(), strict=True))
    doc_ids, texts = (Ordered(strings, data.doc_ids.order) for strings in (data.doc_ids, data.texts))
    return Corpus(doc_ids, texts, data.query_ids, data.queries, positives, lost, own)


class Shards:
    """Fixed ranges of consecutive queries, a file each.

    Args:
        folder: for these files alone; key: a hash of all that decides their content.
    """

    def __init__(self, folder: Path, key: str, n_queries: int, size: int) -> None:
        self.folder, self.key, self.n_queries, self.size = folder, key, n_queries, size

    def __len__(self) -> int:
        return -(-self.n_queries // self.size)

    def queries(self, shard: int) -> range:
        """The queries of a shard."""
        return range(shard * self.size, min((shard + 1) * self.size, self.n_queries))

    def path(self, shard: int) -> Path:
        """Where a shard lies."""
        return self.folder / f"{shard:05}.safetensors"

    def missing(self) -> list[int]:
        """The shards that are absent or damaged; the same list in every process."""
        return distributed.on_main(lambda: [s for s in range(len(self)) if map_arrays(self.path(s)) is None])


def mine(
    corpus: Corpus,
    encode_queries: Callable[[list[str]], csr_matrix],
    vectors: VectorCache,
    open_engine: Callable[[], Engine],
    shards: Shards,
    num_candidates: int,
    include_positives: bool = True,
) -> None:
    """Write the missing shards: documents (int32 positions, best first), labels, offsets [queries + 1].

    To be called in every process.

    Args:
        vectors: of the documents, by the mining encoder.
        open_engine: called only if there is something to mine.
    """
    missing = shards.missing()
    if not missing:
        return
    engine = open_engine()
    vocabulary = encode_queries([""]).shape[1]
    engine.index(corpus.doc_ids, vocabulary, vectors)
    for shard in tqdm(missing, desc="mining", unit="shard", disable=not distributed.is_main()):
        numbers = shards.queries(shard)
        queries = csr_matrix(encode_queries(corpus.queries[numbers.start : numbers.stop]), dtype=np.float32)
        queries.eliminate_zeros()
        # One more than asked for where a query's own document may be among them.
        found_more = engine.search(queries, num_candidates + bool(corpus.own), exhaustive=True)
        hits = [
            positions[positions != corpus.own.get(q, -1)][:num_candidates]
            for q, (positions, _) in zip(numbers, found_more, strict=True)
        ]
        positives = [corpus.positives[q] for q in numbers] if include_positives else []
        found = _with_positives(queries, vectors, hits, positives, num_candidates) if positives else hits
        if distributed.is_main():
            _write(shards.path(shard), corpus, numbers, hits, found, num_candidates)
    distributed.barrier()


def with_positives(hits: np.ndarray, positives: np.ndarray, scores: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` positions, all positives among them if they are no more than that.

    A positive that was not found takes the place of the lowest hit that is none, at the end of the list; of more
    positives than `limit` the best stay.

    Args:
        hits: [n] positions, best first, n <= limit.
        positives: positions of the judged positives; scores: the miner's, of each.
    """
    absent = ~np.isin(positives, hits)
    order = np.lexsort((positives[absent], -scores[absent]))
    kept = np.concatenate([hits, positives[absent][order]])
    surplus = len(kept) - limit
    if surplus > 0:
        is_positive = np.isin(kept, positives)
        leaving = np.flatnonzero(~is_positive)[::-1][:surplus]
        # Nothing but positives is left: the lowest of them go.
        kept = np.delete(kept, leaving)[:limit]
    return kept


def _with_positives(
    queries: csr_matrix, vectors: VectorCache, hits: list[np.ndarray], positives: list[np.ndarray], limit: int
) -> list[np.ndarray]:
    absent = [found[~np.isin(found, known)] for found, known in zip(positives, hits, strict=True)]
    needed = np.unique(np.concatenate(absent))
    vectors.ensure(needed)
    if not distributed.is_main() or not len(needed):
        return hits
    rows = np.repeat(np.arange(len(absent)), [len(found) for found in absent])
    scores = pair_scores(queries, vectors.rows(needed), rows, np.searchsorted(needed, np.concatenate(absent)))
    by_query = np.split(scores, np.cumsum([len(found) for found in absent])[:-1])
    found = []
    for known, judged, missing, score in zip(hits, positives, absent, by_query, strict=True):
        all_scores = np.full(len(judged), np.inf, np.float32)
        all_scores[np.searchsorted(judged, missing)] = score
        found.append(with_positives(known, judged, all_scores, limit))
    return found


def _write(
    path: Path, corpus: Corpus, numbers: range, hits: list[np.ndarray], found: list[np.ndarray], limit: int
) -> None:
    judged = [corpus.positives[q] for q in numbers]
    labels = [np.isin(kept, positives) for kept, positives in zip(found, judged, strict=True)]
    added = [np.setdiff1d(kept, known) for kept, known in zip(found, hits, strict=True)]
    left_out = [np.setdiff1d(positives, kept) for positives, kept in zip(judged, found, strict=True)]
    facts = {
        "positives_added": sum(map(len, added)),
        "positives_left_out": sum(map(len, left_out)),
        "short_queries": sum(len(kept) < limit for kept in found),
    }
    arrays = {
        "documents": np.concatenate(found).astype(np.int32),
        "labels": np.concatenate(labels),
        "offsets": np.cumsum([0, *map(len, found)]),
    }
    write_arrays(path, arrays, facts)


def totals(shards: Shards) -> dict[str, int]:
    """The counts of all shards, added up."""
    facts = [read_facts(shards.path(shard)) for shard in range(len(shards))]
    return {name: sum(fact[name] for fact in facts) for name in facts[0]}
