"""Build the quickstart's data from the documentation strings of the Python that runs it.

    python -m pairs.quickstart --output_dir data/quickstart

Every machine that can run this project has tens of thousands of real query-document pairs on its disk: the
summary sentence of a documentation string is the query, the signature and body without that sentence the
document. Files are parsed, never imported. The folder that is left is a BEIR folder (corpus.jsonl,
queries.jsonl, qrels/{test,dev}.tsv) with train.jsonl (rows {query, pos}), idf.json (of its documents) and model/
(a small untrained BERT and its WordPiece tokenizer) beside it. Packages are held out whole: no package has pairs
both in train.jsonl and in the corpus. The pairs depend on what is installed, which constraints.txt pins.

The folder is whole or absent: it is made beside its place and takes its name when it is complete.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairs import small_model
from pairs.docstrings import Pair, deduplicate, rank_of, read_packages, split_of
from retrieval.files import read_json, write_json
from sparse_model.commands import exit_code
from sparse_model.errors import UserError

MAX_QUERIES = 500  # with judgements, of each held-out split
FORMAT = 2  # of the folder's files: one that lacks what today's configs need is not taken for whole


def write_jsonl(file: Path, rows: Iterable[dict[str, str]]) -> None:
    """One JSON object a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_folder(folder: Path, pairs: list[Pair]) -> dict[str, int]:
    """Write the BEIR folder and train.jsonl; returns their counts."""
    by_split: dict[str, list[Pair]] = {"train": [], "dev": [], "test": []}
    for pair in sorted(pairs, key=lambda p: rank_of(p.query)):
        by_split[split_of(pair.package)].append(pair)
    train, corpus = by_split["train"], by_split["dev"] + by_split["test"]
    judged = {split: by_split[split][:MAX_QUERIES] for split in ("dev", "test")}
    write_jsonl(folder / "train.jsonl", ({"query": pair.query, "pos": pair.document} for pair in train))
    write_beir(folder, corpus, judged)
    return {
        "train_pairs": len(train),
        "train_packages": len({pair.package for pair in train}),
        "corpus_documents": len(corpus),
        "corpus_packages": len({pair.package for pair in corpus}),
        "dev_queries": len(judged["dev"]),
        "test_queries": len(judged["test"]),
    }


def write_beir(folder: Path, corpus: list[Pair], judged: dict[str, list[Pair]]) -> None:
    """corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv; a query's one relevant document is its own."""
    ids = {pair.query: f"d{i}" for i, pair in enumerate(corpus)}
    queries = [pair.query for selected in judged.values() for pair in selected]
    documents = ({"_id": ids[pair.query], "title": pair.title, "text": pair.text} for pair in corpus)
    write_jsonl(folder / "corpus.jsonl", documents)
    write_jsonl(folder / "queries.jsonl", ({"_id": f"q-{ids[query]}", "text": query} for query in queries))
    (folder / "qrels").mkdir()
    for split, selected in judged.items():
        lines = [f"q-{ids[pair.query]}\t{ids[pair.query]}\t1\n" for pair in selected]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def make(folder: Path, smoke: bool, seed: int) -> dict[str, int]:
    """Write all files but the manifest into an empty folder; returns the counts for it."""
    names = ["stdlib"] if smoke else ["stdlib", "purelib", "platlib"]
    roots = dict.fromkeys(Path(sysconfig.get_paths()[name]) for name in names)
    pairs = deduplicate(read_packages(roots))
    counts = write_folder(folder, pairs)
    train = [pair for pair in pairs if split_of(pair.package) == "train"]
    texts = (text for pair in train for text in (pair.query, pair.document))
    vocabulary = small_model.train_vocabulary(texts, 2048 if smoke else 8192)
    small_model.write_tokenizer(folder / "model", vocabulary)
    small_model.write_model(folder / "model", len(vocabulary), seed)
    small_model.write_idf(folder / "idf.json", folder / "model", list(dict.fromkeys(pair.document for pair in train)))
    return counts | {"vocabulary": len(vocabulary)}


def build(folder: Path, smoke: bool = False, seed: int = 42) -> dict[str, Any]:
    """Make the folder unless it is there already; returns its manifest.

    smoke: the standard library only and a smaller vocabulary, for a quick check that everything runs.
    Raises UserError if the folder was made with other settings, or holds something else.
    """
    settings = {"smoke": smoke, "seed": seed, "format": FORMAT}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder):
        if manifest := read_made(folder, settings):
            return manifest
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a build that was stopped
        unfinished.mkdir()
        start = time.perf_counter()
        counts = make(unfinished, smoke, seed)
        seconds = round(time.perf_counter() - start, 1)
        manifest = {"settings": settings, "python": platform.python_version(), **counts, "seconds": seconds}
        write_json(unfinished / "manifest.json", manifest)
        unfinished.replace(folder)  # over an empty folder too
        return manifest


def read_made(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a folder that was made with these settings; {} if there is none or it is empty.

    Raises UserError if it was made with others, or holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    manifest = read_json(folder / "manifest.json")
    if not manifest:
        raise UserError(f"--output_dir {folder}: holds other data; give another folder")
    made = manifest.get("settings", "something else")
    if made != settings:
        raise UserError(f"{folder}/manifest.json: made with {made}, not {settings}; remove {folder} to rebuild")
    return manifest


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait while another process makes the folder; the system gives the lock back when its owner ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder}: another process is making it; waiting until it is there", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output_dir", default="data/quickstart", help="the folder to make")
    parser.add_argument("--smoke", action="store_true", help="the standard library only: smaller and faster")
    parser.add_argument("--seed", type=int, default=42, help="of the model's random weights")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: _make(arguments))


def _make(arguments: argparse.Namespace) -> None:
    manifest = build(Path(arguments.output_dir), arguments.smoke, arguments.seed)
    print(f"{arguments.output_dir}: " + ", ".join(f"{k} {v}" for k, v in manifest.items() if k != "settings"))


if __name__ == "__main__":
    sys.exit(main())
