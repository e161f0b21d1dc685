"""What a data preparation would take: pairs, bytes and hours, from a timed sample of each model."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mining.candidates import Corpus
from mining.teachers import TeacherSpec, load_teacher
from retrieval.tables import text_table
from retrieval.vectors import Vectors
from sparse_model import SparseEncoder

SAMPLE = 64


def estimate(
    encoder: SparseEncoder,
    teachers: Sequence[TeacherSpec],
    corpus: Corpus,
    num_candidates: int,
    device: str,
    processes: int,
) -> tuple[str, int]:
    """A table: each stage with its number of texts or pairs, its speed on this machine, bytes and hours; all bytes."""
    queries, documents = len(corpus.queries), len(corpus.texts)
    pairs = queries * num_candidates
    sample = [corpus.texts[i] for i in _spread(documents)]
    asked = [corpus.queries[i] for i in _spread(queries)]
    both = list(zip(asked * (SAMPLE // len(asked) + 1), sample, strict=False))
    vectors = encoder.encode_documents(sample[:8])
    speed = _per_second(lambda: encoder.encode_documents(sample), len(sample))
    stages = [Stage("candidates", documents, "documents", speed, documents * _row_bytes(vectors) + 5 * pairs)]
    stages += [_teacher_stage(spec, device, sample, both, min(documents, pairs), pairs) for spec in teachers]
    text_bytes = float(np.mean([len(text.encode()) for text in sample]))
    rows_size = pairs * (text_bytes + 16 + 4 * len(teachers))
    head = [
        f"{queries:,} queries × {num_candidates} candidates = {pairs:,} pairs out of {documents:,} documents",
        f"from {len(sample)} texts on this machine, {processes} process(es):",
    ]
    heads = ["", "items", "of", "GB", "a second", "hours"]
    lines = [stage.cells(processes) for stage in stages]
    lines.append(["data set", f"{queries:,}", "rows", f"{rows_size / 1e9:.2f}", "", ""])
    # The rows are written in parts first.
    size = sum(stage.size for stage in stages) + 2 * rows_size
    return "\n".join([*head, text_table([heads, *lines], "<><>")]), int(size)


@dataclass(frozen=True)
class Stage:
    """What one model does: items (texts or pairs) at a speed (items per second), and the bytes that it leaves."""

    title: str
    items: int
    unit: str
    speed: float
    size: float

    def cells(self, processes: int) -> list[str]:
        """A row of the table."""
        hours = self.items / self.speed / processes / 3600
        figures = [f"{self.size / 1e9:.2f}", f"{self.speed:.1f}", f"{hours:.2f}"]
        return [self.title, f"{self.items:,}", self.unit, *figures]


def _teacher_stage(
    spec: TeacherSpec, device: str, sample: list[str], both: list[tuple[str, str]], documents: int, pairs: int
) -> Stage:
    """One teacher's stage; its model is gone afterwards."""
    teacher: Any = load_teacher(spec, device)
    title = f"scores, {spec.name}"
    if not teacher.encodes:
        teacher.score(both[:8])  # the first call is slower
        return Stage(title, pairs, "pairs", _per_second(lambda: teacher.score(both), len(both)), 8 * pairs)
    row_bytes = _row_bytes(teacher.encode(sample[:8], "document"))
    speed = _per_second(lambda: teacher.encode(sample, "document"), len(sample))
    return Stage(title, documents, "documents", speed, documents * row_bytes + 8 * pairs)


def _row_bytes(vectors: Vectors) -> float:
    return 4 * vectors.shape[1] if isinstance(vectors, np.ndarray) else 8 * vectors.nnz / vectors.shape[0]


def _spread(n: int) -> list[int]:
    return np.linspace(0, n - 1, min(n, SAMPLE)).astype(int).tolist()


def _per_second(work: Callable[[], object], items: int) -> float:
    started = time.perf_counter()
    work()
    return items / (time.perf_counter() - started)
