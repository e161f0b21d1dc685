"""Put any documents into an OpenSearch of yours, to be searched by an inference-free model; no judgements are needed.

    python -m retrieval.opensearch.serve output/x texts/ --url http://localhost:9200 --index handbook
    python -m retrieval.opensearch.serve output/x --url http://localhost:9200 --index handbook --query "how to begin"

CORPUS is what python -m retrieval.encode takes. Documents are encoded here, so that the cluster needs no node for
models and no plugin. They go into a new index; once it is whole, the alias --index leads to it and no more to the old
one, which is then removed (--keep-old: not). What was stopped is gone on with by the same command. Hits show titles,
texts, and all else that documents say.
"""

import argparse
import os
import sys
from pathlib import Path

from retrieval.asked import AskedShape
from retrieval.command import run_command, together
from retrieval.corpus import corpus_files
from retrieval.distributed import is_main, on_main
from retrieval.encode.arguments import add_arguments, asked_or_like, opened
from retrieval.opensearch.address import Words
from retrieval.opensearch.client import Server
from retrieval.opensearch.opensearch_engine import Options
from retrieval.opensearch.serving import Names, Serving
from retrieval.options import add_shared
from retrieval.shaped import Shaper
from sparse_model.errors import UserError

NAME = "python -m retrieval.opensearch.serve"
OPTIONS = Words("--url", "--ca FILE", "--insecure", "do without one: python -m retrieval.search")
LEAST = {"hits": 1, "shards": 1, "replicas": 0, "threads": 1}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_command(NAME, __doc__, _add_options, _start, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_shared(parser, "checkpoint")
    add("corpus", type=Path, nargs="?", help="the documents; none: only --query is asked")
    add("--url", required=True, help="of the cluster, or of several of its nodes, with commas")
    add("--index", default="documents", help="what to search by: an alias (%(default)s)")
    add("--field", default="text_sparse", help="where vectors go (%(default)s)")
    add("--text-field", default="text", help="where texts go (%(default)s)")
    add("--title-field", default="title", help="where titles go (%(default)s)")
    add("--query", metavar="TEXT", help="a first query; the default is the beginning of the first document")
    add("--hits", type=int, default=3, help="hits of it that are shown (%(default)s)")
    add("--keep-old", action="store_true", help="do not remove the index that the alias led to before")
    add("--shards", type=int, default=1)
    add("--replicas", type=int, default=0)
    add("--threads", type=int, default=4, help="requests at once, of each process (%(default)s)")
    add(
        "--ca",
        metavar="FILE",
        help="certificates to trust; user and password: OPENSEARCH_USERNAME, OPENSEARCH_PASSWORD",
    )
    add("--insecure", action="store_true", help="any certificate is accepted")
    add("--work", type=Path, metavar="FOLDER", help="where vectors are kept (output/served/INDEX)")
    add_arguments(parser)


def _start(arguments: argparse.Namespace) -> None:
    """Tell mistakes, reach the cluster, then let torch be loaded."""
    asked = asked_or_like(arguments)
    given = vars(arguments)
    if few := [f"--{name} {given[name]}: {least} or more." for name, least in LEAST.items() if given[name] < least]:
        raise UserError("\n".join(few))
    if arguments.ca and not Path(arguments.ca).is_file():
        raise UserError(f"--ca {arguments.ca}: no such file.")
    if arguments.corpus is None and not arguments.query:
        raise UserError("CORPUS: name documents to serve, or ask what is served: --query TEXT.")
    if arguments.corpus is not None:
        corpus_files(arguments.corpus)
    names = Names(arguments.index, arguments.field, arguments.title_field, arguments.text_field)
    names.check()
    server = _server(arguments)
    try:
        server.first_contact()
        names.check_on(server)
        work = arguments.work or Path("output", "served", arguments.index)
        together(NAME, arguments.use_cpu, lambda: _work(arguments, Serving(server, names, work), asked), work)
    finally:
        server.close()


def _server(arguments: argparse.Namespace) -> Server:
    user = os.environ.get("OPENSEARCH_USERNAME")
    return Server(
        [url.strip() for url in arguments.url.split(",")],
        credentials=(user, os.environ.get("OPENSEARCH_PASSWORD", "")) if user else None,
        ca=arguments.ca,
        verify=not arguments.insecure,
        words=OPTIONS,
    )


def _work(arguments: argparse.Namespace, serving: Serving, asked: AskedShape | Shaper) -> None:
    encoder, facts, shape = opened(arguments, asked)
    query = arguments.query
    if arguments.corpus is not None:
        how = Options(arguments.shards, arguments.replicas, arguments.threads)
        first = serving.load(encoder, facts, arguments.corpus, shape, how, arguments.batch_size)
        query = query or first
        said = on_main(lambda: serving.lead_here(arguments.keep_old))
        if is_main():
            print(said)
    if is_main():
        print("\n".join(serving.ask(encoder, query, arguments.hits)))


if __name__ == "__main__":
    sys.exit(main())
