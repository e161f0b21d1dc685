"""Kept document vectors: encoded once for every engine, split and process; damaged files; the recorded speed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retrieval.beir_data import BeirData, load_beir
from retrieval.exact_engine import ExactEngine
from retrieval.files import read_json
from retrieval.score_dataset import DatasetScores, score_dataset
from retrieval.vectors import VectorCache
from tests.retrieval.bag_of_words import BagOfWords, random_beir

TIMED = ("search_queries_per_s", "seconds", "encode_docs_per_s")


class Counting(BagOfWords):
    """Counts the documents that it encodes."""

    def __init__(self) -> None:
        self.encoded = 0

    def encode_blocks(
        self,
        blocks: Iterable[Sequence[str]],
        batch_size: int = 32,
        progress: Callable[[int], object] = lambda documents: None,
    ) -> Iterator[csr_matrix]:
        for block in blocks:
            self.encoded += len(block)
            yield self.encode_documents(block)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BeirData:
    """2500 documents: three blocks."""
    return load_beir(str(random_beir(tmp_path_factory.mktemp("beir") / "random", 2500)), "")


def _figures(scores: DatasetScores) -> dict:
    return {key: value for key, value in scores.figures.items() if key not in TIMED}


def test_a_second_evaluation_encodes_nothing(data: BeirData, tmp_path: Path) -> None:
    """The same figures and rankings as without kept vectors; the speed is that of the encoding."""
    encoder, plain = Counting(), score_dataset(BagOfWords(), data)
    first = score_dataset(encoder, data, vectors_folder=tmp_path)
    assert encoder.encoded == 2500 and sorted(p.name for p in tmp_path.glob("*.safetensors"))[0] == "000000.safetensors"
    again = score_dataset(encoder, data, vectors_folder=tmp_path, engine=ExactEngine())
    pruned = score_dataset(encoder, data, top_k=5, query_prune=0.5, vectors_folder=tmp_path)
    assert encoder.encoded == 2500
    for scores in (first, again):
        assert scores.rankings == plain.rankings and _figures(scores) == _figures(plain)
    assert first.figures["encode_docs_per_s"] == again.figures["encode_docs_per_s"] > 0
    assert pruned.rankings == score_dataset(BagOfWords(), data, top_k=5, query_prune=0.5).rankings


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed", "empty"])
def test_a_damaged_file_is_made_anew(data: BeirData, tmp_path: Path, damage: str) -> None:
    encoder = Counting()
    expected = score_dataset(encoder, data, vectors_folder=tmp_path)
    file = tmp_path / "000001.safetensors"
    content = file.read_bytes()
    speed = read_json(tmp_path / "speed.json")
    if damage == "removed":
        file.unlink()
    else:
        middle = len(content) * 2 // 3
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes({"cut": content[:middle], "flipped": flipped, "empty": b""}[damage])
    again = score_dataset(encoder, data, vectors_folder=tmp_path)
    assert encoder.encoded == 2500 + 1024 and file.read_bytes() == content
    assert again.rankings == expected.rankings and _figures(again) == _figures(expected)
    assert read_json(tmp_path / "speed.json") == speed, "a speed of fewer documents says less"


def test_an_encoding_that_was_stopped_goes_on(data: BeirData, tmp_path: Path) -> None:
    encoder = Counting()
    cache = VectorCache(tmp_path, data.texts, lambda lists, progress: encoder.encode_blocks(lists, 32, progress))
    blocks = cache.blocks()
    next(blocks)
    blocks.close()
    found = list(cache.blocks(skip={2}))
    assert encoder.encoded == 2048 and [positions[0] for positions, _ in found] == [0, 1024]
    np.testing.assert_array_equal(found[1][1].toarray(), encoder.encode_documents(data.texts[1024:2048]).toarray())


def test_vectors_take_six_bytes_a_weight(tmp_path: Path) -> None:
    """4 for the weight and 2 for the token; above 65,536 tokens 4 for the token. It reads back the same."""
    for width, size in ((30_000, 6), (70_000, 8)):
        weights = csr_matrix(np.random.default_rng(0).random((100, 1000), dtype=np.float32))
        weights = csr_matrix((weights.data, weights.indices * (width // 1000), weights.indptr), shape=(100, width))
        cache = VectorCache(tmp_path / str(width), ["x"] * 100, lambda lists, _, w=weights: (w for _ in lists))
        (_, read), *_ = cache.blocks()
        assert (read != weights).nnz == 0 and read.indices.dtype == np.int32
        assert sum(p.stat().st_size for p in cache.folder.glob("*.safetensors")) < 100 * 1000 * size + 3000
