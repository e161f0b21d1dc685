"""NDCG@10, size and latency of a corpus' vectors under every method, and how they are shown."""

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.sparse import csr_matrix

from retrieval.beir_data import BeirData
from retrieval.drawing import STYLE, png
from retrieval.engine import frequencies
from retrieval.exact_index import ExactIndex
from retrieval.files import write_atomically, write_json
from retrieval.metrics import DEFAULT_METRICS, PRIMARY, score_rankings
from retrieval.passages import Passages, depth
from retrieval.prune.methods import BYTES, METHODS
from retrieval.score_dataset import make_rankings, own_documents, vector_figures
from retrieval.tables import markdown_table

TOP_K = 10
MARKERS = "os^vDXP"


@dataclass(frozen=True)
class Point:
    """One strength of a method."""

    method: str
    strength: str
    ndcg: float
    d_length: float
    flops: float
    index_bytes: int
    longest_list: int
    """documents that the most frequent token has a weight in"""
    ms_p50: float
    ms_p95: float
    """of one query at a time"""


def measure(data: BeirData, vectors_NV: csr_matrix, queries_QV: csr_matrix) -> Iterator[Point]:
    """The whole vectors first, then every method from its weakest strength.

    Args:
        vectors_NV: of data's documents by id descending.
    """
    yield _point("whole", "", data, vectors_NV, queries_QV)
    for name, (method, strengths) in METHODS.items():
        for strength in strengths:
            yield _point(name, str(strength), data, method(vectors_NV, strength), queries_QV)


def _point(method: str, strength: str, data: BeirData, vectors: csr_matrix, queries: csr_matrix) -> Point:
    index, n_hits = ExactIndex(vectors), depth(data, TOP_K)
    index.search(queries[:1], n_hits, threads=1)
    hits, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        hits += index.search(query, n_hits, threads=1)
        seconds.append(time.perf_counter() - started)
    passages: Passages = "best"
    rankings = make_rankings(data, hits, TOP_K, own_documents(data, "auto"), passages)
    document_df = np.bincount(vectors.indices, minlength=vectors.shape[1])
    figures = vector_figures(document_df, vectors.shape[0], frequencies(queries), queries.shape[0])
    return Point(
        method,
        strength,
        score_rankings(data.qrels, rankings, DEFAULT_METRICS[:1])[PRIMARY],
        figures["d_length"],
        figures["flops"],
        vectors.nnz * BYTES.get(method, 6),
        int(document_df.max(initial=0)),
        *(1000 * float(np.percentile(seconds, p)) for p in (50, 95)),
    )


def table(points: list[Point]) -> str:
    """The points as a table of Markdown."""
    heads = ["method", "strength", "NDCG@10", "tokens", "FLOPS", "index MB", "longest list", "p50 ms", "p95 ms"]
    rows = [
        [
            p.method,
            p.strength,
            f"{p.ndcg:.4f}",
            f"{p.d_length:.1f}",
            f"{p.flops:.3f}",
            f"{p.index_bytes / 1e6:.2f}",
            str(p.longest_list),
            f"{p.ms_p50:.3f}",
            f"{p.ms_p95:.3f}",
        ]
        for p in points
    ]
    return markdown_table([heads, *rows], "<<>")


def write(folder: Path, points: list[Point], title: str) -> list[Path]:
    """The points as table, CSV, JSON and picture; the paths."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(asdict(points[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, points))
    contents: dict[str, Any] = {
        "prune.md": f"# {title}\n\n{table(points)}\n\n![NDCG@10 against size and latency](prune.png)\n",
        "prune.csv": buffer.getvalue(),
        "prune.png": _picture(points, title),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    write_json(folder / "prune.json", [asdict(point) for point in points])
    return [folder / name for name in (*contents, "prune.json")]


def _picture(points: list[Point], title: str) -> bytes:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        sides = figure.subplots(1, 2, sharey=True)
        whole = points[0]
        for axes, value, label in (
            (sides[0], lambda p: p.index_bytes / 1e6, "index, MB"),
            (sides[1], lambda p: p.ms_p50, "ms a query (median), one thread"),
        ):
            axes.axhline(whole.ndcg, color="#888888", linewidth=0.8, linestyle=":")
            axes.scatter(value(whole), whole.ndcg, marker="*", s=120, color="#222222", zorder=3, label="whole")
            for marker, name in zip(MARKERS, METHODS, strict=True):
                of_method = [p for p in points if p.method == name]
                x, y = [value(p) for p in of_method], [p.ndcg for p in of_method]
                axes.plot(x, y, marker=marker, markersize=5, linewidth=1.2, label=name)
            axes.set(xlabel=label, xscale="log")
        sides[0].set(ylabel="NDCG@10")
        sides[1].legend(loc="lower right", fontsize=8)
        figure.suptitle(title)
        return png(figure)
