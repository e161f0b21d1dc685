"""A BEIR folder of any size: passages of MS MARCO's lengths, words by its frequencies, queries and judgements.

    python -m benchmarks.synthetic_corpus OUT [--documents 8841823] [--queries 6980] [--seed 0]

The laws are fitted to trec-dl-mini (30,005 MS MARCO passages): words a passage lognormal (of the logarithm, mean 4.008
and deviation 0.392; 4 to 224), the share of the r-th most frequent word ∝ r^-0.96, its length 0.8 + 1.3 · log10 r
letters, so that a passage has some 360 characters. Some words are written with JSON's escapes, as real ones are. A
query is six words of the one passage that is relevant to it; ids are the numbers 0 … N - 1, in an order of their own.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from retrieval.files import whole, write_atomically

DOCUMENTS, QUERIES = 8_841_823, 6_980
"""Of MS MARCO's passages and its dev split."""
WORDS = 500_000
AT_ONCE = 20_000
# Quantiles of the words' distribution: a draw is one look-up.
DRAWS = 2**22


def words(rng: np.random.Generator, count: int) -> list[str]:
    """Distinct made-up words, the most frequent first, as they stand within a JSON string."""
    lengths = np.round(0.8 + 1.3 * np.log10(np.arange(1, count + 1))).astype(int)
    letters = rng.choice(list("etaoinshrdlucmfwygpbvk"), (count, lengths.max() + 6))
    found: dict[str, None] = {}
    for row, length in zip(letters, lengths, strict=True):
        text = "".join(row)
        found[next(text[:n] for n in range(length, len(text) + 1) if text[:n] not in found)] = None
    odd = {97: "\\u00e9", 197: "\\u2019s", 397: '\\"'}
    return [word + next((end for n, end in odd.items() if rank % n == n - 1), "") for rank, word in enumerate(found)]


def passages(rng: np.random.Generator, vocabulary: list[str], documents: int) -> Iterator[tuple[int, list[str]]]:
    """(id, words) of each passage."""
    shares = np.arange(1, len(vocabulary) + 1) ** -0.96
    drawn = np.searchsorted(np.cumsum(shares / shares.sum()), (np.arange(DRAWS) + 0.5) / DRAWS)
    named = np.array(vocabulary, dtype=object)[np.minimum(drawn, len(vocabulary) - 1)]
    ids = rng.permutation(documents)
    for start in range(0, documents, AT_ONCE):
        n = min(AT_ONCE, documents - start)
        lengths = np.clip(rng.lognormal(4.008, 0.392, n), 4, 224).astype(int)
        ends = np.cumsum(lengths)
        row = named[rng.integers(0, DRAWS, ends[-1])].tolist()
        for name, first, end in zip(
            ids[start : start + n].tolist(), (ends - lengths).tolist(), ends.tolist(), strict=True
        ):
            yield name, row[first:end]


def write(
    folder: Path, documents: int = DOCUMENTS, queries: int = QUERIES, seed: int = 0, n_words: int = WORDS
) -> None:
    """Write corpus.jsonl, queries.jsonl and qrels/dev.tsv."""
    rng = np.random.default_rng(seed)
    vocabulary = words(rng, n_words)
    asked = set(rng.choice(documents, min(queries, documents), replace=False).tolist())
    lines: list[str] = []
    judged = ["query-id\tcorpus-id\tscore\n"]
    with whole(folder / "corpus.jsonl") as path, open(path, "w", encoding="ascii") as file:
        for number, (name, text) in enumerate(
            tqdm(passages(rng, vocabulary, documents), total=documents, unit="doc", disable=None)
        ):
            file.write(f'{{"_id": "{name}", "title": "", "text": "{" ".join(text)}."}}\n')
            if number in asked:
                lines.append(f'{{"_id": "q{len(lines)}", "text": "{" ".join(text[:: len(text) // 6 + 1])}"}}\n')
                judged.append(f"q{len(lines) - 1}\t{name}\t1\n")
    write_atomically(folder / "queries.jsonl", "".join(lines))
    write_atomically(folder / "qrels" / "dev.tsv", "".join(judged))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.synthetic_corpus", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    write(asked.output, asked.documents, asked.queries, asked.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
