"""Mining: which documents become a query's candidates, and that nothing depends on kills or on processes."""

import itertools
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from mining.candidates import Corpus, Shards, corpus_of, mine, totals, with_positives
from mining.scoring import read, reader, score
from retrieval.arrays import read_arrays
from retrieval.beir_data import load_beir
from retrieval.exact_engine import ExactEngine
from retrieval.score_dataset import DropQueryId
from retrieval.vectors import VectorCache, pair_scores
from sparse_model import RunError
from tests.processes import fork
from tests.retrieval.bag_of_words import BagOfWords, random_beir, write_beir


@pytest.mark.parametrize(
    ("hits", "positives", "scores", "limit", "expected"),
    [
        pytest.param([5, 3, 8], [3], [9.0], 3, [5, 3, 8], id="found already"),
        pytest.param([5, 3, 8], [7], [0.5], 3, [5, 3, 7], id="replaces the lowest"),
        pytest.param([5, 3, 8], [7, 8], [0.5, 1.0], 3, [5, 8, 7], id="never replaces a positive"),
        pytest.param([5], [7, 9], [0.1, 0.2], 4, [5, 9, 7], id="room for all, best first"),
        pytest.param([5, 3], [1, 2, 3], [0.0, 0.4, 2.0], 2, [3, 2], id="more positives than room: the best stay"),
        pytest.param([], [4, 2], [0.0, 0.0], 1, [2], id="equal scores: by position"),
        pytest.param([1, 2], [], [], 2, [1, 2], id="no positive"),
    ],
)
def test_positives_are_among_the_candidates(
    hits: list[int], positives: list[int], scores: list[float], limit: int, expected: list[int]
) -> None:
    found = with_positives(np.array(hits, int), np.array(positives, int), np.array(scores), limit)
    assert found.tolist() == expected


class _Counting(BagOfWords):
    """Counts the texts that it encodes; fails after some blocks if told to."""

    def __init__(self, blocks: int = 10**9) -> None:
        self.texts, self.blocks = 0, blocks

    def encode_lists(self, lists, progress) -> Iterator:  # type: ignore[no-untyped-def]
        for block in lists:
            if not self.blocks:
                raise KeyboardInterrupt
            self.blocks -= 1
            self.texts += len(block)
            yield self.encode_documents(block)

    encodes = True

    def encode(self, texts, role, progress=None):  # type: ignore[no-untyped-def]
        return self.encode_documents(texts) if role == "document" else self.encode_queries(texts)


def _mine(corpus: Corpus, folder: Path, encoder: _Counting, limit: int = 10, **options: bool) -> Shards:
    shards = Shards(folder / "candidates", "", len(corpus.queries), 7)
    vectors = VectorCache(folder / "vectors", corpus.texts, encoder.encode_lists)
    mine(corpus, encoder.encode_queries, vectors, ExactEngine, shards, limit, **options)
    return shards


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """2500 documents (three blocks) and 20 queries with about five judged documents each."""
    return corpus_of(load_beir(str(random_beir(tmp_path_factory.mktemp("beir") / "random", 2500)), ""))


def test_candidates_are_the_best_documents(corpus: Corpus, tmp_path: Path) -> None:
    """Against all scores as one dense product, ties by position."""
    shards = _mine(corpus, tmp_path, _Counting(), include_positives=False)
    encoder = BagOfWords()
    dense = (encoder.encode_queries(corpus.queries) @ encoder.encode_documents(corpus.texts).T).toarray()
    for pairs in reader(shards, [_scored(corpus, shards, tmp_path)])(0, 20):
        order = np.lexsort((np.arange(2500), -dense[pairs.query]))
        expected = [d for d in order[:10] if dense[pairs.query][d] > 0]
        assert pairs.documents.tolist() == expected
        assert pairs.labels.tolist() == np.isin(expected, corpus.positives[pairs.query]).tolist()


def _scored(corpus: Corpus, shards: Shards, folder: Path) -> Shards:
    scores = Shards(folder / "scores", "", shards.n_queries, shards.size)
    score("bag", _Counting, corpus, shards, scores, folder / "teacher")
    return scores


def test_positives_and_counts(corpus: Corpus, tmp_path: Path) -> None:
    shards = _mine(corpus, tmp_path, _Counting())
    found = list(reader(shards, [_scored(corpus, shards, tmp_path)])(0, 20))
    assert [pairs.query for pairs in found] == list(range(20))
    for pairs in found:
        positives = corpus.positives[pairs.query]
        assert len(set(pairs.documents.tolist())) == len(pairs.documents) <= 10
        assert set(positives.tolist()) <= set(pairs.documents.tolist())
        assert pairs.documents[pairs.labels].tolist() == [d for d in pairs.documents if d in positives]
    without = _mine(corpus, tmp_path / "without", _Counting(), include_positives=False)
    known = [read_arrays(without.path(s))["labels"].sum() for s in range(3)]  # type: ignore[index]
    counts = totals(shards)
    assert counts["positives_added"] == sum(map(len, corpus.positives)) - sum(known) > 50
    assert counts["positives_left_out"] == 0
    few = totals(_mine(corpus, tmp_path / "few", _Counting(), limit=2))
    assert few["positives_left_out"] == sum(max(len(p) - 2, 0) for p in corpus.positives) > 0


def test_scores_are_those_of_the_pairs(corpus: Corpus, tmp_path: Path) -> None:
    shards = _mine(corpus, tmp_path, _Counting())
    encoder = BagOfWords()
    queries, documents = encoder.encode_queries(corpus.queries), encoder.encode_documents(corpus.texts)
    for pairs in reader(shards, [_scored(corpus, shards, tmp_path)])(5, 16):
        expected = (documents[pairs.documents] @ queries[pairs.query].T).toarray().ravel()
        assert pairs.scores.shape == (1, len(pairs.documents)) and 5 <= pairs.query < 16
        np.testing.assert_array_equal(pairs.scores[0], expected)


def test_a_killed_run_encodes_only_what_is_missing(corpus: Corpus, tmp_path: Path) -> None:
    whole = _mine(corpus, tmp_path / "whole", _Counting())
    with pytest.raises(KeyboardInterrupt):
        _mine(corpus, tmp_path / "killed", _Counting(blocks=2))
    encoder = _Counting()
    again = _mine(corpus, tmp_path / "killed", encoder)
    assert encoder.texts == 2500 - 2 * 1024
    assert [again.path(s).read_bytes() for s in range(3)] == [whole.path(s).read_bytes() for s in range(3)]
    encoder = _Counting()
    again.path(1).write_bytes(again.path(1).read_bytes()[:-5])  # half written, as no kill leaves it
    _mine(corpus, tmp_path / "killed", encoder)
    assert encoder.texts == 0 and again.path(1).read_bytes() == whole.path(1).read_bytes()


def test_only_documents_of_candidates_are_encoded_for_a_teacher(corpus: Corpus, tmp_path: Path) -> None:
    shards, teacher = _mine(corpus, tmp_path, _Counting(), limit=3), _Counting()
    scores = Shards(tmp_path / "scores", "", 20, 7)
    encoded: list[str] = []
    encode = teacher.encode

    def recorded(texts, role, progress=None):  # type: ignore[no-untyped-def]
        encoded.extend(texts if role == "document" else ())
        return encode(texts, role)

    teacher.encode = recorded  # type: ignore[method-assign]
    score("bag", lambda: teacher, corpus, shards, scores, tmp_path / "teacher")
    needed = {d for s in range(3) for d in read_arrays(shards.path(s))["documents"]}  # type: ignore[index]
    assert sorted(encoded) == sorted(corpus.texts[d] for d in needed)
    scores.path(2).unlink()
    encoded.clear()
    score("bag", lambda: teacher, corpus, shards, scores, tmp_path / "teacher")
    assert encoded == [] and scores.missing() == []


def test_a_teacher_that_reads_pairs(corpus: Corpus, tmp_path: Path) -> None:
    class Lengths:
        encodes = False

        def score(self, pairs, progress):  # type: ignore[no-untyped-def]
            progress(len(pairs))
            return np.array([len(q) * 1000 + len(d) for q, d in pairs], np.float32)

    shards, scores = _mine(corpus, tmp_path, _Counting()), Shards(tmp_path / "scores", "", 20, 7)
    score("lengths", Lengths, corpus, shards, scores, tmp_path / "unused")
    for pairs in reader(shards, [scores])(0, 20):
        expected = [len(corpus.queries[pairs.query]) * 1000 + len(corpus.texts[d]) for d in pairs.documents]
        assert pairs.scores[0].tolist() == expected


def test_scores_that_are_not_finite_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    class Broken:
        encodes = False

        def score(self, pairs, progress):  # type: ignore[no-untyped-def]
            return np.full(len(pairs), np.nan, np.float32)

    shards = _mine(corpus, tmp_path, _Counting())
    with pytest.raises(RunError, match="teacher broken: its score of query .* is nan"):
        score("broken", Broken, corpus, shards, Shards(tmp_path / "scores", "", 20, 7), tmp_path / "unused")


def test_dense_vectors_on_disk(tmp_path: Path) -> None:
    texts = [str(i) for i in range(1500)]
    rng = np.random.default_rng(0)
    table = rng.standard_normal((1500, 4)).astype(np.float32)
    cache = VectorCache(tmp_path, texts, lambda lists, _: (table[[int(t) for t in texts]] for texts in lists))
    wanted = np.array([3, 900, 1400])
    cache.ensure(wanted)
    np.testing.assert_array_equal(cache.rows(wanted), table[wanted])
    cache.ensure(np.array([3, 4, 1400]))  # a block that lacks one of them is encoded anew
    np.testing.assert_array_equal(cache.rows(np.array([4, 1400])), table[[4, 1400]])
    queries = rng.standard_normal((3, 4)).astype(np.float32)
    query_rows, rows = np.array([0, 0, 2]), np.array([0, 2, 1])
    expected = (queries[query_rows] * table[wanted][rows]).sum(1)
    np.testing.assert_allclose(pair_scores(queries, table[wanted], query_rows, rows), expected, rtol=1e-6)


def test_documents_asked_for_later_join_those_on_disk(tmp_path: Path) -> None:
    texts, encoded = [str(i) for i in range(1500)], []

    def encode(lists, progress):  # type: ignore[no-untyped-def]
        for block in lists:
            encoded.extend(block)
            yield np.array([[int(text), 1.0] for text in block], np.float32)

    cache = VectorCache(tmp_path, texts, encode)
    cache.ensure(np.array([5, 900, 1400]))
    cache.ensure(np.array([3, 5, 1000]))
    assert encoded == ["5", "900", "1400", "3", "1000"]
    found = cache.rows(np.array([3, 5, 900, 1000, 1400]))
    assert found[:, 0].tolist() == [3, 5, 900, 1000, 1400]  # type: ignore[call-overload]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs a list of open files")
def test_a_large_corpus_opens_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 blocks, and no more than 50 files beside those that are open anyway."""
    monkeypatch.setattr("retrieval.vectors.BLOCK", 1)
    cache = VectorCache(
        tmp_path, ["x"] * 200, lambda lists, _: (np.ones((len(texts), 2), np.float32) for texts in lists)
    )
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 50, limits[1]))
    try:
        cache.ensure(np.arange(200))
        assert cache.rows(np.arange(200)).shape == (200, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_queries_without_any_candidate_are_scored(tmp_path: Path) -> None:
    corpus = Corpus(["a"], ["sun"], ["q"], [""], [np.zeros(0, np.int64)], 0)
    shards = _mine(corpus, tmp_path, _Counting())
    assert read(_scored(corpus, shards, tmp_path).path(0))["scores"].shape == (0,)


def test_judged_documents_that_the_corpus_lacks_are_counted(tmp_path: Path) -> None:
    documents = [{"_id": "a", "text": "x"}, {"_id": "b", "text": "y"}]
    qrels = [("q", "a", 1), ("q", "gone", 1), ("q", "b", 0)]
    corpus = corpus_of(load_beir(str(write_beir(tmp_path / "d", documents, [{"_id": "q", "text": "x"}], qrels)), ""))
    assert corpus.doc_ids == ["b", "a"] and corpus.positives[0].tolist() == [1] and corpus.lost_positives == 1


@pytest.mark.parametrize(
    ("drop", "own", "expected"),
    [
        pytest.param("auto", {0: 1}, ["d", "ed", "f"], id="where the texts are the same"),
        pytest.param(True, {0: 1, 1: 2}, ["d", "e", "f"], id="every one that is not judged relevant"),
        pytest.param(False, {}, ["ed", "ed", "f"], id="none"),
    ],
)
def test_a_querys_own_document_is_no_candidate(
    tmp_path: Path, drop: DropQueryId, own: dict[int, int], expected: list[str]
) -> None:
    """e and d hold w1: query e asks with its document's text, d with another; f is its own positive."""
    documents = [{"_id": "d", "text": "w1 w2"}, {"_id": "e", "text": "w1"}, {"_id": "f", "text": "w3"}]
    queries = [{"_id": "e", "text": "w1"}, {"_id": "d", "text": "w1"}, {"_id": "f", "text": "w3"}]
    qrels = [("e", "d", 1), ("d", "e", 1), ("f", "f", 1)]
    corpus = corpus_of(load_beir(str(write_beir(tmp_path / "d", documents, queries, qrels)), ""), drop)
    assert dict(corpus.own) == own
    for limit in (2, 1):
        shards = _mine(corpus, tmp_path / str(limit), _Counting(), limit=limit, include_positives=False)
        found = read_arrays(shards.path(0))
        names = "".join(corpus.doc_ids[i] for i in found["documents"])  # type: ignore[index]
        parts = [names[a:b] for a, b in itertools.pairwise(found["offsets"])]  # type: ignore[index]
        assert parts == [docs[:limit] for docs in expected]


def _in_two_processes(rank: int, folder: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=2)
    corpus = corpus_of(load_beir(folder, ""))
    encoder = _Counting()
    shards = _mine(corpus, Path(out), encoder)
    _scored(corpus, shards, Path(out))
    Path(out, f"{rank}.json").write_text(json.dumps(encoder.texts))
    dist.barrier()


@pytest.mark.distributed
def test_two_processes_write_the_same_files(tmp_path: Path) -> None:
    folder = random_beir(tmp_path / "random", 2500)
    fork(_in_two_processes, str(folder), str(tmp_path))
    corpus = corpus_of(load_beir(str(folder), ""))
    alone = _mine(corpus, tmp_path / "alone", _Counting())
    _scored(corpus, alone, tmp_path / "alone")
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [1024 + 452, 1024]
    for path in (tmp_path / "alone").rglob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / path.relative_to(tmp_path / "alone")).read_bytes()
