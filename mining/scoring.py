"""Stage 2: one teacher's scores of all candidates, shard by shard; stages 3 and 4 read them through `read`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mining.candidates import Corpus, Shards
from mining.scored_pairs import QueryPairs
from retrieval import distributed
from retrieval.arrays import read_arrays, write_arrays
from retrieval.vectors import VectorCache, pair_scores
from sparse_model.errors import RunError

Progress = Callable[[int], object]


def score(
    name: str, load: Callable[[], Any], corpus: Corpus, candidates: Shards, scores: Shards, vectors_folder: Path
) -> None:
    """Write this teacher's missing shards: scores float32 beside the documents that they belong to.

    To be called in every process; each writes its share of what is missing.

    Args:
        load: the teacher (mining.teachers), loaded only if something is missing.
        vectors_folder: where a bi-encoder's document vectors are kept; see `VectorCache`.

    Raises:
        RunError: if a score is not finite.
    """
    missing = scores.missing()
    if not missing:
        return
    teacher = load()
    shard_scores = (
        _by_vectors(teacher, corpus, candidates, missing, vectors_folder)
        if teacher.encodes
        else _by_pairs(teacher, corpus, candidates)
    )
    mine = missing[distributed.rank() :: distributed.world_size()]
    pairs = {shard: int(read(candidates.path(shard))["offsets"][-1]) for shard in mine}
    shown = distributed.is_main()
    with tqdm(total=sum(pairs.values()), desc=f"scoring, {name}", unit="pair", disable=not shown) as bar:
        for shard in mine:
            arrays = read(candidates.path(shard))
            done = bar.n
            found = shard_scores(candidates.queries(shard), arrays, bar.update)
            if not np.isfinite(found).all():
                raise RunError(_not_finite(name, corpus, candidates.queries(shard), arrays, found))
            write_arrays(scores.path(shard), {"documents": arrays["documents"], "scores": found})
            bar.update(done + pairs[shard] - bar.n)
    distributed.barrier()


def _by_vectors(
    teacher: Any, corpus: Corpus, candidates: Shards, missing: Sequence[int], folder: Path
) -> Callable[[range, dict[str, np.ndarray], Progress], np.ndarray]:
    """Scores by a bi-encoder; every document of the missing shards is encoded once, before the first of them."""
    needed = np.zeros(len(corpus.texts), bool)
    for shard in missing:
        needed[read(candidates.path(shard))["documents"]] = True
    vectors = VectorCache(
        folder, corpus.texts, lambda lists, progress: (teacher.encode(texts, "document", progress) for texts in lists)
    )
    vectors.ensure(np.flatnonzero(needed))

    def shard_scores(numbers: range, arrays: dict[str, np.ndarray], progress: Progress) -> np.ndarray:
        queries = teacher.encode(corpus.queries[numbers.start : numbers.stop], "query")
        distinct, rows = np.unique(arrays["documents"], return_inverse=True)
        if not len(distinct):
            return np.zeros(0, np.float32)
        return pair_scores(queries, vectors.rows(distinct), _query_rows(arrays), rows)

    return shard_scores


def _by_pairs(teacher: Any, corpus: Corpus, candidates: Shards) -> Callable[..., np.ndarray]:
    """Scores by a model that reads query and document together."""

    def shard_scores(numbers: range, arrays: dict[str, np.ndarray], progress: Progress) -> np.ndarray:
        rows = zip(_query_rows(arrays).tolist(), arrays["documents"].tolist(), strict=True)
        pairs = [(corpus.queries[numbers.start + row], corpus.texts[document]) for row, document in rows]
        return teacher.score(pairs, progress)

    return shard_scores


def _not_finite(name: str, corpus: Corpus, numbers: range, arrays: dict[str, np.ndarray], scores: np.ndarray) -> str:
    bad = np.flatnonzero(~np.isfinite(scores))
    query = corpus.query_ids[numbers[_query_rows(arrays)[bad[0]]]]
    document = corpus.doc_ids[arrays["documents"][bad[0]]]
    return (
        f"teacher {name}: its score of query {query!r} and document {document!r} is {scores[bad[0]]} ({len(bad)} such "
        f"scores among {len(scores)}); its weights are damaged, or its dtype overflows (bfloat16 and float32 do not)."
    )


def _query_rows(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """[pairs] which query of the shard each pair belongs to."""
    return np.repeat(np.arange(len(arrays["offsets"]) - 1), np.diff(arrays["offsets"]))


def reader(candidates: Shards, teachers: Sequence[Shards]) -> Callable[[int, int], Iterator[QueryPairs]]:
    """What gives queries start … stop - 1 with their candidates and every teacher's scores, one after another."""

    def pairs(start: int, stop: int) -> Iterator[QueryPairs]:
        for shard in range(start // candidates.size, -(-stop // candidates.size)):
            arrays = read(candidates.path(shard))
            scores = np.stack([_scores_of(teacher.path(shard), arrays["documents"]) for teacher in teachers])
            for row, query in enumerate(candidates.queries(shard)):
                if start <= query < stop:
                    part = slice(*arrays["offsets"][row : row + 2])
                    documents = arrays["documents"][part].astype(np.int64)
                    yield QueryPairs(query, documents, arrays["labels"][part], scores[:, part])

    return pairs


def _scores_of(path: Path, documents: np.ndarray) -> np.ndarray:
    arrays = read(path)
    if not np.array_equal(arrays["documents"], documents):
        raise RunError(f"{path} holds the scores of other documents; remove it and run again.")
    return arrays["scores"]


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that must be there.

    Raises:
        RunError: if it is not, or damaged.
    """
    arrays = read_arrays(path)
    if arrays is None:
        raise RunError(f"{path} is gone or damaged; run the same command again to make it anew.")
    return arrays
