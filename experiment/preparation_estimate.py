"""What a data preparation would take: pairs, bytes and hours, from a timed sample of each model."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from experiment.settings import Settings
from mining.candidates import Corpus
from mining.teachers import TeacherSpec, load_teacher
from retrieval.distributed import world_size
from sparse_model import SparseEncoder

SAMPLE = 64


def estimate(
    settings: Settings, encoder: SparseEncoder, teachers: Sequence[TeacherSpec], corpus: Corpus, device: str
) -> str:
    """A table: each stage with its number of texts or pairs, its speed on this machine, bytes and hours."""
    keys = settings.preparation
    queries, documents = len(corpus.queries), len(corpus.texts)
    pairs = queries * keys.num_candidates
    sample = [corpus.texts[i] for i in _spread(documents)]
    asked = [corpus.queries[i] for i in _spread(queries)]
    both = list(zip(asked * (SAMPLE // len(asked) + 1), sample, strict=False))
    vectors = encoder.encode_documents(sample[:8])
    speed = _per_second(lambda: encoder.encode_documents(sample), len(sample))
    row_bytes = 8 * vectors.nnz / vectors.shape[0]
    lines = [_line("candidates", documents, "documents", speed, documents * row_bytes)]
    distinct = min(documents, pairs)
    for spec in teachers:
        teacher = load_teacher(spec, device)
        title = f"scores, {spec.name}"
        if hasattr(teacher, "encode"):
            found = teacher.encode(sample[:8], "document")
            row_bytes = 8 * found.nnz / found.shape[0] if hasattr(found, "nnz") else 4 * found.shape[1]
            speed = _per_second(lambda t=teacher: t.encode(sample, "document"), len(sample))  # type: ignore[misc]
            lines.append(_line(title, distinct, "documents", speed, distinct * row_bytes + 8 * pairs))
        else:
            teacher.score(both[:8])
            speed = _per_second(lambda t=teacher: t.score(both), len(both))  # type: ignore[misc]
            lines.append(_line(title, pairs, "pairs", speed, 8 * pairs))
    text_bytes = float(np.mean([len(text.encode()) for text in sample]))
    size = pairs * (text_bytes + 16 + 4 * len(teachers))
    lines.append(f"  {'data set':<44} {queries:>12,} rows      {_gigabytes(size)}")
    head = [
        f"{queries:,} queries × {keys.num_candidates} candidates = {pairs:,} pairs out of {documents:,} documents",
        f"from {len(sample)} texts on this machine, {world_size()} process(es):",
    ]
    return "\n".join([*head, *lines, f"writes to {settings.output_dir}"])


def _spread(n: int) -> list[int]:
    return np.linspace(0, n - 1, min(n, SAMPLE)).astype(int).tolist()


def _per_second(work: Callable[[], object], items: int) -> float:
    started = time.perf_counter()
    work()
    return items / (time.perf_counter() - started)


def _line(title: str, items: int, unit: str, speed: float, size: float) -> str:
    hours = items / speed / world_size() / 3600
    return f"  {title:<44} {items:>12,} {unit:<9} {_gigabytes(size)} {speed:>10.1f}/s {hours:>9.2f} h"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:>8.2f} GB"
