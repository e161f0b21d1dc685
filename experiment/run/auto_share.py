"""lexical_share: auto: the share that a corpus' vectors are the better for, and why.

No share is used unless a paired test, corrected for their number, finds one that is better than none.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from experiment.run.share_judges import FEWEST_QUERIES, Judges, find_judges
from retrieval.beir_data import BeirData
from retrieval.distributed import is_main, on_main
from retrieval.exact_index import ExactIndex
from retrieval.files import read_json, write_json
from retrieval.fingerprint import hash_of
from retrieval.metrics import PRIMARY, per_query
from retrieval.shaped import Shape, shaper_of
from retrieval.significance import compare, holm
from retrieval.strings import Ordered
from retrieval.tables import text_table
from retrieval.vectors import VectorCache
from sparse_model.tokens import BLOCK

if TYPE_CHECKING:
    from sparse_model import SparseEncoder

logger = logging.getLogger(__name__)

SHARES = [(0.0, False), *((share, with_idf) for share in (0.1, 0.25, 0.5) for with_idf in (False, True))]
MOST_DOCUMENTS = 20 * BLOCK
"""So many of the corpus are searched, its first ones: whole blocks, so that each is encoded as at any other time."""
LEVEL = 0.01
"""The p, by Holm's method over all shares, below which one counts as better than none. At 0.05 first sentences chose a
share that lost 0.016 on the real queries of a part of trec-dl-mini."""


def choose(
    encoder: "SparseEncoder",
    shape: Shape,
    data: BeirData,
    folder: Path,
    batch_size: int,
    training: Sequence[tuple[Path, str]],
) -> tuple[Shape, dict[str, Any]]:
    """(the shape with the share that was chosen, why). To be called in every process.

    Args:
        shape: what else becomes of the vectors; it has no share.
        folder: of the model's vectors, beside which the choice is kept; training: see `find_judges`.
    """
    order = data.doc_ids.order
    texts = Ordered(data.texts, order)
    vectors = VectorCache(folder, texts, lambda lists, progress: encoder.encode_blocks(lists, batch_size, progress))
    searched = {name: place for place, name in enumerate(data.doc_ids.take(order[:MOST_DOCUMENTS]))}
    vectors.ensure(np.arange(len(searched)))
    judges = on_main(lambda: find_judges(data, searched, training))
    why = on_main(lambda: _kept_choice(encoder, shape, texts[: len(searched)], judges, vectors))
    if is_main():
        logger.info("%s: %s", data.name, _told(why))
    return replace(shape, lexical_share=why["lexical_share"], lexical_idf=why["lexical_idf"]), why


def _told(why: dict[str, Any]) -> str:
    """Why, as a table for the log."""
    if not why["tried"]:
        return f"lexical_share auto: 0: {why['queries']} {why['judged by']} are too few to choose by"
    columns = ["share", "IDF", PRIMARY, "more than none", "p"]
    lines = [
        [f"{row['share']:g}", "yes" if row["idf"] else "no", f"{row[PRIMARY]:.4f}", f"{row['gain']:+.4f}", f"{p:.3g}"]
        for row in why["tried"]
        for p in [row["p"]]
    ]
    chosen = f"{why['lexical_share']:g}" + (" times the IDF" if why["lexical_idf"] else "")
    by = f"{why['queries']} {why['judged by']} over {why['documents']} documents"
    return f"lexical_share auto: {chosen}, by {by}\n{text_table([columns, *lines])}"


def _kept_choice(
    encoder: "SparseEncoder", shape: Shape, texts: Sequence[str], judges: Judges, vectors: VectorCache
) -> dict[str, Any]:
    queries = encoder.encode_queries(judges.queries)
    weights = [queries.indices.tolist(), queries.data.tolist()]
    facts = [asdict(shape), asdict(judges), weights, SHARES, LEVEL, len(texts)]
    path = vectors.folder / f"lexical_share-{hash_of(facts)}.json"
    why = read_json(path)
    if not why:
        about = {"judged by": judges.source, "queries": len(judges.queries), "documents": len(texts)}
        why = _compared(encoder, shape, texts, judges, queries, vectors) | about
        write_json(path, why)
    return why


def _compared(
    encoder: "SparseEncoder",
    shape: Shape,
    texts: Sequence[str],
    judges: Judges,
    queries: csr_matrix,
    vectors: VectorCache,
) -> dict[str, Any]:
    """The best share of those that are better than none, and the figures of each."""
    if len(judges.queries) < FEWEST_QUERIES:
        return {"lexical_share": 0.0, "lexical_idf": False, "tried": []}
    read = [judges.rest.get(place, text) for place, text in enumerate(texts)]
    weights, counts = _weights(encoder, judges.rest, len(texts), vectors), encoder.count_tokens(read)
    found = []
    for share, with_idf in SHARES:
        of_share = replace(shape, lexical_share=share, lexical_idf=with_idf)
        found.append(_by_query(queries, judges, shaper_of(of_share, weights, counts)(weights, counts)))
    gains = [values - found[0] for values in found]
    compared = [compare([gain]) for gain in gains[1:]]
    p = [1.0, *holm([one.p if one else 1.0 for one in compared])]
    tried = [
        {"share": share, "idf": idf, PRIMARY: float(values.mean()), "gain": float(gain.mean()), "p": p}
        for (share, idf), values, gain, p in zip(SHARES, found, gains, p, strict=True)
    ]
    best = max([tried[0], *(row for row in tried if row["p"] < LEVEL)], key=lambda row: row["gain"])
    return {"lexical_share": best["share"], "lexical_idf": best["idf"], "tried": tried}


def _weights(encoder: "SparseEncoder", rest: dict[int, str], documents: int, vectors: VectorCache) -> csr_matrix:
    """The model's vectors [N, V] of what is read of the documents."""
    changed = np.array(sorted(rest), dtype=np.int64)
    same = np.setdiff1d(np.arange(documents), changed)
    parts = [vectors.rows(same)] if len(same) else []
    parts += [encoder.encode_documents([rest[place] for place in changed.tolist()])] if rest else []
    return vstack(parts, format="csr")[np.argsort(np.concatenate([same, changed]))]


def _by_query(queries: csr_matrix, judges: Judges, weights: csr_matrix) -> np.ndarray:
    """NDCG@10 of each query."""
    hits = ExactIndex(weights).search(queries, 10)
    names = [f"{number:09}" for number in range(len(judges.queries))]
    qrels = {
        name: {str(doc): grade for doc, grade in of.items()} for name, of in zip(names, judges.grades, strict=True)
    }
    rankings = {
        name: [(str(place), float(score)) for place, score in zip(*found, strict=True)]
        for name, found in zip(names, hits, strict=True)
    }
    values = per_query(qrels, rankings, ["nDCG@10"])
    return np.array([values[name][PRIMARY] for name in names])
