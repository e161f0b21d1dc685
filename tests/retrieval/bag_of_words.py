"""A tiny encoder and data for tests: words hashed to 64 ids, weights that tie often and add up exactly."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

VOCABULARY = 64


class BagOfWords:
    """Documents weigh a word 0.5 × its count, queries 1, 1.25, 1.5 or 1.75 by its id."""

    def encode_documents(self, texts: Sequence[str], batch_size: int = 32) -> csr_matrix:
        return _matrix([{i: 0.5 * n for i, n in Counter(_ids(text)).items()} for text in texts])

    def encode_blocks(
        self,
        blocks: Iterable[Sequence[str]],
        batch_size: int = 32,
        progress: Callable[[int], object] = lambda documents: None,
    ) -> Iterator[csr_matrix]:
        for block in blocks:
            yield self.encode_documents(block, batch_size)
            progress(len(block))

    def encode_queries(self, texts: Sequence[str]) -> csr_matrix:
        return _matrix([{i: 1 + i % 4 / 4 for i in _ids(text)} for text in texts])

    def count_tokens(self, texts: Sequence[str]) -> csr_matrix:
        return _matrix([dict(Counter(_ids(text))) for text in texts])


def _ids(text: str) -> list[int]:
    return [zlib.crc32(word.encode()) % VOCABULARY for word in text.split()]


def _matrix(rows: list[dict[int, float]]) -> csr_matrix:
    dense = np.zeros((len(rows), VOCABULARY), dtype=np.float32)
    for n, row in enumerate(rows):
        for i, weight in row.items():
            dense[n, i] = weight
    return csr_matrix(dense)


def write_beir(
    folder: Path,
    corpus: Iterable[dict],
    queries: Iterable[dict],
    qrels: Iterable[tuple[str, str, int]],
    split: str = "test",
    gz: bool = False,
) -> Path:
    """Write a BEIR folder and return it."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    tsv = "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in qrels)
    files = {
        "corpus.jsonl": "".join(json.dumps(row) + "\n" for row in corpus),
        "queries.jsonl": "".join(json.dumps(row) + "\n" for row in queries),
        f"qrels/{split}.tsv": tsv,
    }
    for name, text in files.items():
        if gz:
            (folder / (name + ".gz")).write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def random_beir(folder: Path, documents: int, queries: int = 20, seed: int = 0) -> Path:
    """A BEIR folder of short random texts over 40 words, graded judgements; one query has a document's id."""
    rng = np.random.default_rng(seed)
    words = np.array([f"w{i}" for i in range(40)])
    query_ids = ["d0", *(f"q{i}" for i in range(1, queries))]
    corpus = [
        {"_id": f"d{i}", "title": "", "text": " ".join(rng.choice(words, rng.integers(0, 8)))} for i in range(documents)
    ]
    asked = [{"_id": qid, "text": " ".join(rng.choice(words, 3))} for qid in query_ids]
    qrels = [(qid, f"d{d}", int(rng.integers(0, 3))) for qid in query_ids for d in rng.choice(documents, 5, False)]
    return write_beir(folder, corpus, asked, qrels)
