"""Encodes a corpus once, measures every method, saves what was chosen."""

import argparse
from pathlib import Path

from scipy.sparse import vstack
from tqdm import tqdm

from retrieval.beir_data import BeirData, load_beir
from retrieval.files import alone
from retrieval.fingerprint import corpus_hash, hash_of
from retrieval.models import open_model
from retrieval.prune.measure import measure, table, write
from retrieval.prune.methods import METHODS
from retrieval.score_dataset import document_vectors, prune
from sparse_model.errors import UserError
from sparse_model.pruning import Cut


def run(arguments: argparse.Namespace, cut: Cut) -> None:
    """Write the figures, and the model with its cut if one is asked for.

    Raises:
        UserError: a model or data that cannot be used.
    """
    data = load_beir(arguments.dataset, arguments.beir_dir)
    name = Path(arguments.checkpoint).name
    output = arguments.output or Path("output/prune") / f"{name}-{data.name}"
    with alone(output):
        _run(arguments, cut, data, name, output)


def _run(arguments: argparse.Namespace, cut: Cut, data: BeirData, name: str, output: Path) -> None:
    encoder, facts, _ = open_model(arguments.checkpoint, arguments.use_cpu)
    corpus = corpus_hash(data.doc_ids, data.texts)
    folder = output / ".vectors" / hash_of([facts, corpus])
    if any(output.glob("prune.*")) and not folder.is_dir():
        raise UserError(f"{output} holds figures of another model or corpus; name another --output, or remove it.")
    vectors = document_vectors(encoder, data, encoder.vocabulary_size, arguments.batch_size, folder)
    vectors_NV = vstack([weights for _, weights in vectors.blocks()], format="csr")
    queries_QV = prune(encoder.encode_queries(data.queries), 0)
    total = 1 + sum(len(strengths) for _, strengths in METHODS.values())
    points = list(tqdm(measure(data, vectors_NV, queries_QV), total=total, desc="pruning", unit="cut"))
    paths = write(output, points, f"{name} on {data.name}")
    print(table(points))
    print("\n".join(map(str, paths)))
    if arguments.save:
        encoder.cut = cut
        encoder.save(arguments.save)
        print(f"{arguments.save}: the model, which cuts documents as it encodes them")
