"""Bulk loading of precomputed vectors into a private OpenSearch node: speed, the client's share, and overlap.

    python -m benchmarks.opensearch_ingest --opensearch_home /var/tmp/opensearch-2.18.0 [--documents 100000]
        [--tokens 150] [--threads 4] [--rounds 1] [--json FILE]

An encoder is imitated by waiting: as long as loading alone takes, the worst case for doing both at once. On a GPU an
encoder leaves the CPU alone just as waiting does; on a CPU the two share its cores.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from retrieval.blocks import BLOCK, Block
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import stored_precision
from retrieval.opensearch.host import usable_folder
from retrieval.opensearch.index import Index
from retrieval.opensearch.ingest import Formatter, Loader
from retrieval.opensearch.node import Node

VOCABULARY = 30522


def corpus(documents: int, tokens: int) -> list[Block]:
    """Random vectors of about `tokens` distinct tokens, some tokens far more frequent than others, as in text."""
    rng = np.random.default_rng(0)
    blocks = []
    for start in range(0, documents, BLOCK):
        n = min(BLOCK, documents - start)
        columns = (rng.random(n * tokens) ** 3 * VOCABULARY).astype(np.int64)
        values = rng.random(n * tokens, dtype=np.float32) + np.float32(0.01)
        block = csr_matrix((values, columns, np.arange(n + 1) * tokens), shape=(n, VOCABULARY))
        block.sum_duplicates()
        blocks.append((np.arange(start, start + n, dtype=np.int64), stored_precision(block)))
    return blocks


def waiting(blocks: list[Block], seconds: float) -> Iterator[Block]:
    """The blocks, each after its share of the seconds."""
    for block in blocks:
        time.sleep(seconds / len(blocks))
        yield block


def load(server: Server, blocks: Iterable[Block], documents: int, threads: int) -> tuple[float, float, Loader]:
    """(seconds, CPU seconds of this process, the loader) of filling a new index."""
    index = Index(server, "benchmark", documents)
    index.delete()
    index.open_for_loading()
    names, ids = [f"token{i}" for i in range(VOCABULARY)], [f"document-{i}" for i in range(documents)]
    loader = Loader(server, index.loading, names, ids, threads)
    started, cpu = time.perf_counter(), time.process_time()
    loader.load(blocks)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    index.refresh()
    assert index.count() == documents == loader.documents
    return seconds, cpu, loader


def cpu_seconds(pid: int) -> float:
    """What a process has used so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(node: Node, blocks: list[Block], threads: int) -> dict[str, float]:
    """One round."""
    documents = sum(len(positions) for positions, _ in blocks)
    server = Server([node.url])
    before = cpu_seconds(node.pid)
    alone_s, client_cpu_s, loader = load(server, blocks, documents, threads)
    server_cpu_s = cpu_seconds(node.pid) - before
    formatter, ids = Formatter([f"token{i}" for i in range(VOCABULARY)]), [f"document-{i}" for i in range(documents)]
    started = time.process_time()
    size = sum(len(line) for block in blocks for line in formatter.lines(block, ids))
    formatting_s = time.process_time() - started
    both_s, _, _ = load(server, waiting(blocks, alone_s), documents, threads)
    return {
        "documents": documents,
        "tokens a document": sum(w.nnz for _, w in blocks) / documents,
        "MiB sent": size / 2**20,
        "requests": loader.requests,
        "loading alone, s": alone_s,
        "documents/s": documents / alone_s,
        "client CPU, s": client_cpu_s,
        "of it formatting, s": formatting_s,
        "server CPU, s": server_cpu_s,
        "client's share of CPU": client_cpu_s / (client_cpu_s + server_cpu_s),
        "encoder alone (waiting), s": alone_s,
        "both at once, s": both_s,
        "both / longer": both_s / alone_s,
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.opensearch_ingest", description=__doc__.split("\n")[0])
    parser.add_argument("--opensearch_home", default=os.environ.get("OPENSEARCH_HOME"))
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not arguments.opensearch_home:
        parser.error("--opensearch_home (or OPENSEARCH_HOME): name an unpacked OpenSearch")
    blocks = corpus(arguments.documents, arguments.tokens)
    node = Node(arguments.opensearch_home, usable_folder(Path(tempfile.mkdtemp(prefix="opensearch-"))))
    try:
        with node:
            load(Server([node.url]), blocks[:5], sum(len(p) for p, _ in blocks[:5]), arguments.threads)  # Java warms up
            rounds = [measure(node, blocks, arguments.threads) for _ in range(arguments.rounds)]
    finally:
        node.remove()
    median = {key: float(np.median([r[key] for r in rounds])) for key in rounds[0]}
    print("\n".join(f"{key:<28}{value:>12,.2f}" for key, value in median.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"median": median, "rounds": rounds}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
