"""Write the rows as a data set that `datasets.load_from_disk` and train_ir.py read, in any number of processes.

Parts of about a thousand queries (whole batches of the normalisation) are written on their own, each process every
n-th, as an Arrow file with its statistics beside it; a part that is there already is not computed again. Rank 0 then
joins them. The rows do not depend on the number of processes, nor on where an earlier run was stopped.
"""

import logging
import math
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from mining.card import About, write_card
from mining.rows import Recipe, row_batches, row_schema, sort_pairs
from mining.scored_pairs import ReadPairs, Texts
from mining.statistics import Statistics
from retrieval import distributed
from retrieval.files import read_json, require_disk, set_aside, whole, write_json
from retrieval.fingerprint import hash_of
from retrieval.row_files import is_whole_data_set

logger = logging.getLogger(__name__)

QUERIES_PER_PART = 1000
SHARD_BYTES = 500 * 2**20
OWN_FILES = ("data-*-of-*.arrow", "dataset_info.json", "state.json", "summary.json", "README.md", "*.png", "idf.json")


def write_rows(
    read: ReadPairs, texts: Texts, recipe: Recipe, about: About, output_dir: Path, work_dir: Path, key: str
) -> dict[str, Any]:
    """Write the data set with its card into output_dir; the content of its summary.json. To be called in every process.

    Nothing is done if output_dir holds it already. A data set of other inputs is moved to <output_dir>.<time stamp>;
    other files of output_dir stay.

    Args:
        work_dir: in a folder `rows` of it lie the parts until they are joined; on a disk that all processes see.
        key: a hash of everything that read and texts depend on.

    Raises:
        UserError: if a score is not finite or the disk is too small.
    """
    key = hash_of({"inputs": key, "recipe": asdict(recipe), "asked": about.num_candidates, "format": 1})
    if distributed.on_main(lambda: _holds(output_dir, key)):
        logger.info("%s holds these rows already; nothing to do", output_dir)
        return distributed.on_main(lambda: read_json(output_dir / "summary.json"))
    parts = _Parts(work_dir / "rows", key, len(texts.queries), recipe.batch_size)
    distributed.on_main(lambda: _prepare(parts, texts, about, output_dir))
    numbers = range(distributed.rank(), parts.count, distributed.world_size())
    for number in tqdm(numbers, "writing rows", unit="part", disable=not distributed.is_main()):
        if not parts.is_whole(number):
            queries = parts.queries(number)
            pairs = list(read(queries.start, queries.stop))
            ordered, statistics = sort_pairs(pairs, texts, recipe, about.num_candidates)
            parts.write(number, row_schema(recipe), row_batches(ordered, texts, recipe), statistics)
    distributed.barrier()
    return distributed.on_main(lambda: _join(parts, read, texts, recipe, about, output_dir, key))


def _holds(output_dir: Path, key: str) -> bool:
    """Whether output_dir holds the complete data set of this key."""
    return is_whole_data_set(output_dir) and read_json(output_dir / "summary.json").get("key") == key


class _Parts:
    """Parts in a working folder: part-00000.arrow and, written after it, part-00000.json."""

    def __init__(self, folder: Path, key: str, n_queries: int, batch_size: int) -> None:
        self.folder, self.n_queries = folder, n_queries
        self.size = batch_size * max(1, round(QUERIES_PER_PART / batch_size))
        self.key = f"{key} in parts of {self.size}"
        self.count = math.ceil(n_queries / self.size)

    def queries(self, number: int) -> range:
        return range(number * self.size, min((number + 1) * self.size, self.n_queries))

    def rows(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.arrow"

    def record(self, number: int) -> Path:
        return self.rows(number).with_suffix(".json")

    def is_whole(self, number: int) -> bool:
        """Whether the part is there, of the same inputs and of the size that it had when it was written."""
        record, path = read_json(self.record(number)), self.rows(number)
        return record.get("key") == self.key and path.is_file() and path.stat().st_size == record["bytes"]

    def write(self, number: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch], statistics: Statistics) -> None:
        path = self.rows(number)
        self.record(number).unlink(missing_ok=True)
        with whole(path) as temporary, pa.ipc.new_stream(str(temporary), schema) as file:
            for batch in batches:
                file.write_batch(batch)
        write_json(self.record(number), {"key": self.key, "bytes": path.stat().st_size} | statistics.to_json())

    def statistics(self) -> Statistics:
        records = (read_json(self.record(number)) for number in range(self.count))
        return reduce(add, map(Statistics.from_json, records))


def _prepare(parts: _Parts, texts: Texts, about: About, output_dir: Path) -> None:
    parts.folder.mkdir(parents=True, exist_ok=True)
    sample = texts.texts[:: max(1, len(texts.texts) // 10_000)]
    bytes_a_pair = 60 + sum(len(text.encode()) for text in sample) / max(1, len(sample))
    there = sum(path.stat().st_size for path in parts.folder.glob("part-*.arrow"))
    # Twice: the parts, and what they are joined to.
    needed = 2 * bytes_a_pair * about.num_candidates * len(texts.queries) - there
    require_disk(output_dir, int(needed), "writing the rows")


def _join(
    parts: _Parts, read: ReadPairs, texts: Texts, recipe: Recipe, about: About, output_dir: Path, key: str
) -> dict[str, Any]:
    """Join the parts in a new folder, add the card, and put all of it into output_dir."""
    import datasets  # a second of CPU, and only needed at the end

    new = parts.folder / "joined"
    shutil.rmtree(new, ignore_errors=True)
    rows = datasets.concatenate_datasets(
        [datasets.Dataset.from_file(str(parts.rows(number))) for number in range(parts.count)]
    )
    rows._fingerprint = key  # else it would hold the parts' times, and the same rows would not give the same file
    rows.save_to_disk(str(new), max_shard_size=SHARD_BYTES)
    used = np.zeros(len(texts.doc_ids), dtype=bool)
    for pairs in read(0, parts.n_queries):
        used[pairs.documents] = True
    summary = write_card(new, output_dir, key, parts.statistics(), rows, recipe, about, int(used.sum()))
    _install(new, output_dir, key)
    shutil.rmtree(parts.folder)
    logger.info("%s: %d rows", output_dir, len(rows))
    without = summary["counts"]["queries_without_positive"]
    if without and about.published:
        logger.info("%d published rows have no judged positive; train_ir.py keeps them", without)
    elif without:
        logger.warning("%d rows have no judged positive: train_ir.py leaves them out (first_rank -1)", without)
    return summary


def _install(new: Path, output_dir: Path, key: str) -> None:
    """Move the files of `new` into output_dir, what lies in their place aside.

    summary.json comes first: with it, a run that was killed here finds its own files and replaces them. state.json
    comes last: with it, the data set can be loaded.
    """
    if read_json(output_dir / "summary.json").get("key") != key:
        set_aside(output_dir, [path for pattern in OWN_FILES for path in output_dir.glob(pattern)])
    (output_dir / "state.json").unlink(missing_ok=True)
    order = {"summary.json": 0, "state.json": 2}
    for path in sorted(new.iterdir(), key=lambda path: (order.get(path.name, 1), path.name)):
        path.replace(output_dir / path.name)
    new.rmdir()
