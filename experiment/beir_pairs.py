"""Training pairs from a BEIR folder's judgements.

    python -m experiment.beir_pairs scifact --beir_dir data/beir --split train --output data/scifact/train.jsonl

One row {query, pos} for each judged document with a grade above 0: `data_type: posnegs`, to be trained
with in-batch negatives.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from experiment.run_folder import write_atomically
from retrieval.beir_data import BeirData, load_beir
from sparse_model.errors import UserError


def pairs(data: BeirData) -> Iterator[dict[str, str]]:
    """Rows {query, pos}, queries in the data set's order; absent and empty documents are left out."""
    texts = dict(zip(data.doc_ids, data.texts, strict=True))
    for query_id, query in zip(data.query_ids, data.queries, strict=True):
        for doc_id, grade in data.qrels[query_id].items():
            if grade > 0 and texts.get(doc_id):
                yield {"query": query, "pos": texts[doc_id]}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", help="a name (downloaded if absent) or the path of a BEIR folder")
    parser.add_argument("--beir_dir", default="data/beir", help="folder of BEIR data sets")
    parser.add_argument("--split", default="train", help="the judgements to take")
    parser.add_argument("--output", required=True, help="the .jsonl file to write")
    arguments = parser.parse_args(argv)
    output = Path(arguments.output)
    try:
        data = load_beir(arguments.dataset, arguments.beir_dir, arguments.split)
        text = "".join(json.dumps(row) + "\n" for row in pairs(data))
        if not text:
            raise UserError(f"{arguments.dataset}: split {arguments.split} has no positive judgement of a document.")
        if output.exists() and output.read_text(encoding="utf-8") != text:
            raise UserError(f"--output {output}: is there already and holds something else; name another file.")
        write_atomically(output, text)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{output}: {text.count(chr(10))} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
