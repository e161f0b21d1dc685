"""Whether an index that `python -m retrieval.opensearch.serve` made ranks a data set's queries as the exact engine.

    python -m benchmarks.served CHECKPOINT BEIR_FOLDER --opensearch_home /var/tmp/opensearch-2.18.0

The corpus is served by that command on a private node; every judged query is then asked by the alias, as clients do.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

import sparse_model
from retrieval.beir_data import load_beir
from retrieval.metrics import score_rankings
from retrieval.opensearch import serve
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import feature_names, stored_precision, sum_of_features
from retrieval.opensearch.host import usable_folder
from retrieval.opensearch.node import Node
from sparse_model.commands import exit_code
from sparse_model.errors import RunError
from sparse_model.vocabulary import tokens_by_id

ALIAS, HITS = "served", 100


def compare(name: str, folder: str, url: str, work: Path) -> None:
    """Serve the corpus, ask all queries, and print how both rankings compare.

    Raises:
        RunError: if the corpus could not be served.
    """
    words = [name, folder, "--url", url, "--index", ALIAS, "--work", str(work / "served"), "--use-cpu"]
    if serve.main(words):
        raise RunError("the corpus was not served; see above.")
    data, encoder = load_beir(folder, ""), sparse_model.load(name)
    documents = stored_precision(encoder.encode_documents(data.texts))
    queries = encoder.encode_queries(data.queries)
    features, server = feature_names(tokens_by_id(encoder.tokenizer, encoder.vocabulary_size)), Server([url])
    row_of = {document: n for n, document in enumerate(data.doc_ids)}
    rankings: dict[str, dict[str, list[tuple[str, float]]]] = {"served": {}, "exact": {}}
    off, same = 0.0, 0
    for qid, query in zip(data.query_ids, queries, strict=True):
        scores_N = (documents @ query.T).toarray().ravel()
        best = np.argsort(-scores_N, kind="stable")[:HITS]
        exact = [(data.doc_ids[n], float(scores_N[n])) for n in best if scores_N[n] > 0]
        body = {"size": HITS, "query": sum_of_features("text_sparse", features, query.indices, query.data)}
        hits = server.call("POST", f"/{ALIAS}/_search", {**body, "_source": False})["hits"]["hits"]
        served = [(hit["_id"], float(hit["_score"])) for hit in hits]
        own = np.array([scores_N[row_of[document]] for document, _ in served])
        off = max(off, float(np.abs(own / [score for _, score in served] - 1).max(initial=0)))
        # Documents of equal scores may change places.
        same += len(served) == len(exact) and np.allclose(own, [score for _, score in exact], rtol=1e-6, atol=0)
        rankings["served"][qid], rankings["exact"][qid] = served, exact
    print(f"{data.name}: {len(data.texts)} documents, {len(data.queries)} queries, {HITS} hits, OpenSearch {url}")
    for engine, found in rankings.items():
        print(f"{engine:<8} NDCG@10 {score_rankings(data.qrels, found, ['nDCG@10'])['ndcg@10']:.4f}")
    print(f"same ranking, but for equal scores: {same} of {len(data.queries)} queries")
    print(f"largest difference of a score: {off:.1e} of it")


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", metavar="CHECKPOINT", help="a folder that `SparseEncoder.save` or train_ir.py wrote")
    parser.add_argument("folder", help="a BEIR folder")
    parser.add_argument("--opensearch_home", default=os.environ.get("OPENSEARCH_HOME"), help="an unpacked OpenSearch")
    arguments = parser.parse_args(argv)
    if not arguments.opensearch_home:
        parser.error("--opensearch_home (or OPENSEARCH_HOME): name an unpacked OpenSearch")
    return exit_code(lambda: _on_node(arguments))


def _on_node(arguments: argparse.Namespace) -> None:
    folder = usable_folder(Path(tempfile.mkdtemp(prefix="opensearch-")))
    node = Node(arguments.opensearch_home, folder)
    try:
        with node, tempfile.TemporaryDirectory() as work:
            compare(arguments.name, arguments.folder, node.url, Path(work))
    finally:
        node.remove()


if __name__ == "__main__":
    sys.exit(main())
