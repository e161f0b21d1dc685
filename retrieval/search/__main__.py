"""Search in documents with a checkpoint: on the command line, as JSON, at a prompt, or in a browser.

    python -m retrieval.search output/x data/handbook "how do I reset a password"
    python -m retrieval.search output/x data/handbook                  # a prompt
    python -m retrieval.search output/x data/handbook --serve          # a page on http://127.0.0.1:8000
    python -m retrieval.search output/x output/search/handbook-x-0123abcd "…" --json

CORPUS is what retrieval.encode takes (a BEIR folder, .jsonl, .parquet, a folder of .txt and .md files; other kinds:
python -m mining.documents). Its index is kept in output/search and follows it: typed again after documents came or
went, the command encodes only what is new.
"""

import argparse
import json
import logging
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from retrieval.command import run_command
from retrieval.corpus import corpus_files
from retrieval.fingerprint import fingerprint, hash_of
from retrieval.models import model_files, open_model
from retrieval.options import add_shared, asked_shape
from retrieval.search.build import default_folder, follow, is_current
from retrieval.search.index import SearchIndex, check_k, record_of
from retrieval.search.serve import serve
from retrieval.search.shown import as_lines, as_rows
from retrieval.shaped import Shape
from sparse_model.disk_errors import usable_folder
from sparse_model.errors import UserError

NAME = "python -m retrieval.search"
MOST_PORT = 65_535


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(NAME, __doc__, _add_options, _work, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_shared(parser, "checkpoint")
    add("corpus", type=Path, help="the documents, or the folder of an index")
    add("query", nargs="?", help="what is searched for; none: a prompt")
    add("-k", type=int, default=10, help="hits (%(default)s)")
    add("--index", type=Path, metavar="FOLDER", help="where the index lies (output/search/…)")
    add("--json", action="store_true", help="hits as JSON, on one line a query")
    add("--serve", action="store_true", help="a page in a browser")
    add("--host", default="127.0.0.1", help="of the page; other than %(default)s lets others in")
    add("--port", type=int, default=8000, help="of the page (%(default)s; 0: any that is free)")
    add_shared(parser, "--max-active-dims", "--lexical-share", "--batch-size")


def _work(arguments: argparse.Namespace) -> None:
    logging.getLogger("retrieval").setLevel(logging.INFO)
    check_k(arguments.k)
    if not 0 <= arguments.port <= MOST_PORT:
        raise UserError(f"--port {arguments.port}: from 0 to {MOST_PORT}.")
    index = _opened(arguments)
    if arguments.serve:
        serve(index, arguments.host, arguments.port)
    elif arguments.query is not None:
        # A terminal of another encoding gives halves of characters, which no tokenizer and no JSON takes.
        _answer(index, arguments.query.encode(errors="replace").decode(), arguments)
    else:
        _prompt(index, arguments)


def _opened(arguments: argparse.Namespace) -> SearchIndex:
    """The index, brought up to date; the model is loaded only if something has to be encoded."""
    folder, model = arguments.corpus, _Model(arguments)
    if record := record_of(folder):
        if Path(record["checkpoint"]).resolve() != Path(arguments.checkpoint).resolve():
            raise UserError(f"{folder} is an index of {record['checkpoint']}; name that, or documents.")
    else:
        corpus_files(arguments.corpus)
        folder = arguments.index or default_folder(arguments.checkpoint, arguments.corpus, model.made)
        if not is_current(folder, model.made, arguments.corpus):
            follow(
                usable_folder(folder, "--index"),
                model.encoder,
                arguments.checkpoint,
                model.made,
                arguments.corpus,
                model.shape,
                arguments.batch_size,
            )
    record = record_of(folder)
    if (record["siamese"] or any(model.typed)) and record["made_of"] != model.made:
        raise UserError(f"{folder} is an index of {record['checkpoint']}, or shaped otherwise; name what it is of.")
    return SearchIndex(folder, (lambda query: model.encoder.encode_queries([query])) if record["siamese"] else None)


class _Model:
    """The checkpoint, loaded when it is needed, and what its vectors become."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._asked = asked_shape(arguments)
        self.typed = arguments.max_active_dims, arguments.lexical_share

    @cached_property
    def made(self) -> str:
        """See `retrieval.search.build.is_current`."""
        return hash_of([fingerprint(model_files(self._arguments.checkpoint)), self.typed])

    @cached_property
    def _loaded(self) -> Any:
        return open_model(self._arguments.checkpoint, self._arguments.use_cpu)

    @property
    def encoder(self) -> Any:
        """The model, without a cut of its own."""
        return self._loaded[0]

    @property
    def shape(self) -> Shape:
        """What is asked for, and where nothing is, what the checkpoint says."""
        return self._asked.of(self._loaded[2], self.encoder.trained_share)


def _answer(index: SearchIndex, query: str, arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    rows = as_rows(index, index.search(query, arguments.k))
    seconds = time.perf_counter() - started
    if arguments.json:
        print(json.dumps({"query": query, "seconds": round(seconds, 4), "hits": rows}, ensure_ascii=False))
    else:
        print("\n".join(as_lines(rows, sys.stdout.isatty())))


def _prompt(index: SearchIndex, arguments: argparse.Namespace) -> None:
    if sys.stdin.isatty():
        print(f"{len(index)} documents; an empty line ends", file=sys.stderr)
    while True:
        try:
            query = input("query> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        except UnicodeDecodeError:
            raise UserError("a query is not UTF-8; convert what is given to the prompt.") from None
        if not query:
            return
        _answer(index, query, arguments)


if __name__ == "__main__":
    sys.exit(main())
