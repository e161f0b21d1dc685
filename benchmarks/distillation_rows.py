"""Writing a training set from scored candidates: seconds, and the most memory that the process held.

    python -m benchmarks.distillation_rows [--queries 100000] [--candidates 100] [--documents 100000] [--teachers 4]

Scores are random, texts short (a passage of MS MARCO has 335 characters: give --length for more on disk). All of the
data set is written, joined and described, as data_preparation.py does after scoring.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks import measure
from mining.card import About
from mining.dataset import write_rows
from mining.rows import Recipe
from mining.scored_pairs import QueryPairs, ReadPairs, Teacher


def run(queries: int, candidates: int, documents: int, teachers: int, length: int = 60) -> dict[str, Any]:
    """One row: seconds, peak resident memory of the whole process, bytes of the data set."""
    texts: Any = SimpleNamespace(
        query_ids=[str(i) for i in range(queries)],
        queries=[f"query number {i}" for i in range(queries)],
        doc_ids=[str(i) for i in range(documents)],
        texts=[f"document number {i} ".ljust(length, "x") for i in range(documents)],
    )
    recipe = Recipe(tuple(Teacher(f"teacher{i}") for i in range(teachers)))
    about = About("random", "train", "none", candidates)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "rows")
        started = time.perf_counter()
        write_rows(random_pairs(documents, candidates, teachers), texts, recipe, about, folder, folder / "stages", "")
        seconds = time.perf_counter() - started
        written = sum(path.stat().st_size for path in folder.glob("*.arrow"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    row = {"name": "rows", "median_s": seconds, "peak_bytes": peak, "written_bytes": written}
    settings = {"queries": queries, "candidates": candidates, "documents": documents, "teachers": teachers}
    return measure.result("rows", settings | {"length": length}, [row])


def random_pairs(documents: int, candidates: int, teachers: int) -> ReadPairs:
    """Candidates of which one in a hundred is a positive; a query's are the same whenever they are asked for."""

    def read(start: int, stop: int) -> Iterator[QueryPairs]:
        for query in range(start, stop):
            random = np.random.default_rng(query)
            scores = random.standard_normal((teachers, candidates), dtype=np.float32)
            chosen = random.integers(documents, size=candidates)
            yield QueryPairs(query, chosen, np.arange(candidates) % 100 == 7, scores)

    return read


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.distillation_rows", description=(__doc__ or "").split("\n")[0]
    )
    sizes = {"queries": 100_000, "candidates": 100, "documents": 100_000, "teachers": 4, "length": 60}
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--json", help="file to write the figures to")
    asked = vars(parser.parse_args(arguments))
    json_file = asked.pop("json")
    figures = run(**asked)
    code = measure.report(figures, json_file)
    (row,) = figures["rows"]
    print(f"{measure.size(row['peak_bytes'])} held at most, {measure.size(row['written_bytes'])} written")
    return code


if __name__ == "__main__":
    sys.exit(main())
