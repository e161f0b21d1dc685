"""The forms that vectors are written in. FORMATS has an entry for each value of --format.

Every form names documents by their own ids. Where tokens are names they are the tokenizer's, as they are; where they
are numbers, vocabulary.json beside the vectors says which is which.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from retrieval.encode.csr_file import write_csr
from retrieval.opensearch.features import feature_names, stored_precision, sum_of_features
from retrieval.opensearch.layout import FIELD

Named = Iterable[tuple[Sequence[str], csr_matrix]]
"""Blocks of consecutive documents or queries: (ids [n], weights [n, V])."""

Write = Callable[[Path, Named, Sequence[str | None]], None]
"""Writes a file, given V tokens."""

ANSERINI_STEPS = 100
"""A weight in Anserini is a whole number of hundredths, as its published SPLADE indexes have it."""


@dataclass(frozen=True)
class Format:
    """One form.

    Args:
        ending: of its files.
        blocks: of a file at most; None: everything is in one.
        adapt: what the engine that it is for makes of documents' weights, made here, so that scores are predicted.
    """

    ending: str
    blocks: int | None
    write: Write
    write_queries: Write
    adapt: Callable[[csr_matrix], csr_matrix] = lambda weights: weights
    queries_ending: str | None = None


def token_names(tokens: Sequence[str | None]) -> list[str]:
    """The tokens as they are; of an id that stands for none, %-<id>, as `feature_names` has it."""
    return [f"%-{i}" if token is None else token for i, token in enumerate(tokens)]


def half_precision(weights: csr_matrix) -> csr_matrix:
    """Weights rounded to half precision, without those that become 0; what is beyond its range becomes its largest."""
    limit = np.finfo(np.float16).max
    data = np.minimum(weights.data, limit).astype(np.float16).astype(np.float32)
    return _without_zeros(weights, data)


def hundredths(weights: csr_matrix) -> csr_matrix:
    """Weights as whole numbers of hundredths, without those that become 0."""
    return _without_zeros(weights, np.rint(weights.data * np.float32(ANSERINI_STEPS)))


def _without_zeros(weights: csr_matrix, data: np.ndarray) -> csr_matrix:
    changed = csr_matrix((data.astype(np.float32), weights.indices, weights.indptr), shape=weights.shape, copy=True)
    changed.eliminate_zeros()
    return changed


def objects(blocks: Named, names: Sequence[str], whole: bool = False) -> Iterator[tuple[str, str]]:
    """(id as JSON, weights as a JSON object of names) of each row; the shortest text of each float32.

    Args:
        whole: weights are whole numbers and are written so.
    """
    keys = np.array([json.dumps(name) + ":" for name in names], dtype=object)
    for ids, weights in blocks:
        values = weights.data.astype(np.int64) if whole else weights.data
        members = (keys[weights.indices] + values.astype("U16").astype(object)).tolist()
        ends = weights.indptr.tolist()
        for n, name in enumerate(ids):
            yield json.dumps(name), "{" + ",".join(members[ends[n] : ends[n + 1]]) + "}"


def _lines(before: str, between: str, whole: bool = False) -> Write:
    """Writes an object for each row, with the id after `before` and the vector after `between`."""

    def write(path: Path, blocks: Named, tokens: Sequence[str | None]) -> None:
        with open(path, "w", encoding="utf-8") as file:
            for name, vector in objects(blocks, token_names(tokens), whole):
                file.write(f"{before}{name}{between}{vector}}}\n")

    return write


def _write_bulk(path: Path, blocks: Named, tokens: Sequence[str | None]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for name, vector in objects(blocks, feature_names(tokens)):
            file.write(f'{{"index":{{"_id":{name}}}}}\n{{"{FIELD}":{vector}}}\n')


def _write_bodies(path: Path, blocks: Named, tokens: Sequence[str | None]) -> None:
    """For each query {"id", "body"}: the body of a search that scores by the sum of products."""
    names = feature_names(tokens)
    with open(path, "w", encoding="utf-8") as file:
        for ids, weights in blocks:
            for n, name in enumerate(ids):
                row = slice(weights.indptr[n], weights.indptr[n + 1])
                body = {"query": sum_of_features(FIELD, names, weights.indices[row], weights.data[row])}
                file.write(json.dumps({"id": name, "body": body}) + "\n")


def _write_topics(path: Path, blocks: Named, tokens: Sequence[str | None]) -> None:
    """id, tab, each token as often as it has hundredths: what Anserini's -pretokenized -impact reads as weights."""
    names = token_names(tokens)
    with open(path, "w", encoding="utf-8") as file:
        for ids, weights in blocks:
            weights = hundredths(weights)
            for n, name in enumerate(ids):
                row = slice(weights.indptr[n], weights.indptr[n + 1])
                pairs = zip(weights.indices[row], weights.data[row], strict=True)
                words = [names[token] for token, times in pairs for _ in range(int(times))]
                file.write(f"{name}\t{' '.join(words)}\n")


def _write_parquet(path: Path, blocks: Named, tokens: Sequence[str | None]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {"id": pa.string(), "indices": pa.list_(pa.int32()), "values": pa.list_(pa.float32())}
    schema = pa.schema(list(kinds.items()))
    with parquet.ParquetWriter(path, schema) as writer:
        for ids, weights in blocks:
            ends = pa.array(weights.indptr, pa.int32())
            indices, values = pa.array(weights.indices, pa.int32()), pa.array(weights.data, pa.float32())
            lists = [pa.ListArray.from_arrays(ends, indices), pa.ListArray.from_arrays(ends, values)]
            writer.write_table(pa.Table.from_arrays([pa.array(ids, pa.string()), *lists], schema=schema))


_jsonl = _lines('{"id": ', ', "vector": ')
MANY = 64

FORMATS: dict[str, Format] = {
    "jsonl": Format("jsonl", MANY, _jsonl, _jsonl),
    "parquet": Format("parquet", MANY, _write_parquet, _write_parquet),
    "opensearch-bulk": Format("ndjson", 1, _write_bulk, _write_bodies, stored_precision, "jsonl"),
    "anserini": Format(
        "jsonl",
        MANY,
        _lines('{"id": ', ', "contents": "", "vector": ', whole=True),
        _write_topics,
        hundredths,
        "tsv",
    ),
    "seismic": Format("jsonl", None, _jsonl, _jsonl, half_precision),
    "csr": Format("npz", None, write_csr, write_csr),
}
