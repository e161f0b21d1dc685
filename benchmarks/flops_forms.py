"""What each form of FLOPS is of batches of several sizes, and rows to see in training where one λ ends with each.

    python -m benchmarks.flops_forms rasyosef/splade-tiny data/beyond/squad-sent.jsonl \\
        --idf_path opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill --rows data/forms

ROWS are {query, pos}. The table: the mean of each form over batches of Q queries × G documents drawn from all
positives, as a multiple of Σ_j (E w_j)². With --rows: OUT/2.jsonl and OUT/8.jsonl, a query's positive and 1 or 7 of
other queries (kd), scored by the model itself. With marginmse the ranking loss has the same mean whatever Q and G are.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

import sparse_model
from losses import flops
from retrieval.tables import text_table
from sparse_model import SparseEncoder

FORMS: dict[str, dict[str, Any]] = {"unbiased": {"unbiased": True}, "published": {}, "pooled": {"pooled": True}}
QUERIES, GROUPS, BATCHES, MOST_ROWS = (8, 32, 128), (2, 8), 50, 4000


def table(documents_NV: csr_matrix) -> str:
    """A line for each Q and G: the forms' means, with the standard error of the mean."""
    true = float(np.square(documents_NV.mean(axis=0)).sum())
    documents_NV = documents_NV[:, np.unique(documents_NV.indices)]
    generator = np.random.default_rng(1)
    lines = [["Q × G", *FORMS]]
    for queries, group in ((queries, group) for queries in QUERIES for group in GROUPS):
        values: dict[str, list[float]] = {name: [] for name in FORMS}
        for _ in range(BATCHES):
            chosen = documents_NV[generator.integers(documents_NV.shape[0], size=queries * group)].toarray()
            weights_QGV = torch.from_numpy(chosen).view(queries, group, -1)
            for name, form in FORMS.items():
                values[name].append(float(flops(weights_QGV, **form)) / true)
        cells = (f"{np.mean(of):.2f} ± {np.std(of) / BATCHES**0.5:.2f}" for of in values.values())
        lines.append([f"{queries} × {group}", *cells])
    return text_table(lines)


def write_rows(encoder: SparseEncoder, rows: list[dict[str, str]], documents_NV: csr_matrix, out: Path) -> None:
    """The kd rows of each G; documents_NV: of the distinct positives, in the order of the rows."""
    position = {text: at for at, text in enumerate(dict.fromkeys(row["pos"] for row in rows))}
    scores = (encoder.encode_queries([row["query"] for row in rows]) @ documents_NV.T).tocsr()
    out.mkdir(parents=True, exist_ok=True)
    files = {group: open(out / f"{group}.jsonl", "w", encoding="utf-8") for group in GROUPS}
    for number, row in enumerate(rows):
        others = random.Random(number).sample([text for text in position if text != row["pos"]], max(GROUPS) - 1)
        for group, file in files.items():
            docs = [row["pos"], *others][:group]
            scored = [float(scores[number, position[text]]) for text in docs]
            print(json.dumps({"query": row["query"], "docs": docs, "scores": scored}), file=file)
    for file in files.values():
        file.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, write the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flops_forms", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model")
    parser.add_argument("pairs", type=Path, metavar="ROWS")
    parser.add_argument("--idf_path", help="query weights; without: the checkpoint's")
    parser.add_argument("--max_seq_length", type=int, default=24)
    parser.add_argument("--rows", type=Path, metavar="OUT", help="a folder for rows to train on")
    words = parser.parse_args(arguments)
    given = [json.loads(line) for line in words.pairs.read_text(encoding="utf-8").splitlines()]
    rows = random.Random(1).sample(given, min(MOST_ROWS, len(given)))
    encoder = sparse_model.load(
        words.model, inf_free=True, idf_path=words.idf_path, max_seq_length=words.max_seq_length
    )
    documents_NV = encoder.encode_documents(list(dict.fromkeys(row["pos"] for row in rows)))
    print(table(documents_NV))
    if words.rows:
        write_rows(encoder, rows, documents_NV, words.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
