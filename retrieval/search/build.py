"""A search index follows its corpus: what is new is encoded, what is gone is left out, the rest stays as it is."""

import logging
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from retrieval.arrays import write_arrays
from retrieval.corpus import corpus_digest, open_corpus
from retrieval.files import alone, in_steps, is_unfinished, write_json
from retrieval.fingerprint import hash_of
from retrieval.search.index import FORMAT, PARTS, QUERY, RECORD, SHAPE, TABLE, open_parts, record_of
from retrieval.search.part import Document, Part, write_part
from retrieval.shaped import Shape, ShapedVectors, Shaper
from retrieval.vectors import VectorCache
from sparse_model.errors import UserError

if TYPE_CHECKING:
    from sparse_model import SparseEncoder

logger = logging.getLogger(__name__)

WORK = ".work"
MOST_PARTS, MOST_REMOVED = 8, 0.25
"""Beyond them, the parts of an index are written anew as one."""


def is_current(folder: Path, made: str, corpus: Path) -> bool:
    """Whether the index is of this corpus as it is now, and of `made`: a hash of the model and of how it is used."""
    record = record_of(folder)
    return bool(record) and record["made_of"] == made and record["corpus"] == corpus_digest(corpus)


def follow(
    folder: Path, encoder: "SparseEncoder", checkpoint: str, made: str, corpus: Path, shape: Shape, batch_size: int
) -> None:
    """Bring an index up to date with a corpus, or build it. What was stopped is gone on with.

    Args:
        encoder: without a cut of its own; made: see `is_current`.

    Raises:
        UserError: the folder holds something else, or an index of another model or shape.
    """
    with alone(folder):
        record = record_of(folder)
        if record and record["made_of"] != made:
            raise UserError(f"{folder} is an index of another model or shape; give another --index, or remove it.")
        if not record and not is_unfinished(folder) and (others := sorted(path.name for path in folder.iterdir())):
            raise UserError(f"{folder} holds {others[0]} and no index; give another --index.")
        with in_steps(folder):
            _Building(folder, encoder, made, shape, batch_size).follow(record, checkpoint, corpus)


class _Building:
    def __init__(self, folder: Path, encoder: "SparseEncoder", made: str, shape: Shape, batch_size: int) -> None:
        self._folder, self._encoder, self._made = folder, encoder, made
        self._shape, self._batch_size = shape, batch_size

    def follow(self, record: dict[str, Any], checkpoint: str, source: Path) -> None:
        if not record:  # what a building that was stopped had counted and written may be of another corpus or model
            (self._folder / SHAPE).unlink(missing_ok=True)
            (self._folder / QUERY / TABLE).unlink(missing_ok=True)
        digest = corpus_digest(source)
        corpus, _ = open_corpus(source)
        documents = [_document(name, corpus.fields(n)) for n, name in enumerate(corpus.ids)]
        wanted = {document.content for document in documents}
        parts = open_parts(self._folder, record) if record else []
        there: set[str] = set()
        for part in parts:
            contents = part.contents()
            gone = [n for n in part.present().tolist() if contents[n] not in wanted]
            part.removed = np.union1d(part.removed, gone).astype(np.int64)
            there |= {contents[n] for n in part.present().tolist()}
        new = np.array([n for n, document in enumerate(documents) if document.content not in there], np.int64)
        names = [part["name"] for part in record.get("parts", [])]
        if len(new):
            texts = [corpus.texts[n] for n in new.tolist()]
            names.append(self._written([documents[n] for n in new.tolist()], self._vectors(texts)))
            parts.append(Part(self._folder / PARTS / names[-1], np.zeros(0, np.int64)))
        removed, total = sum(len(part.removed) for part in parts), sum(map(len, parts))
        if len(parts) > MOST_PARTS or removed > MOST_REMOVED * total:
            names, parts = self._as_one(parts)
        self._write_query_side()
        listed = [{"name": n, "removed": p.removed.tolist()} for n, p in zip(names, parts, strict=True)]
        passages = any(document.parent for document in documents)
        write_json(
            self._folder / RECORD,
            {
                "format": FORMAT,
                "checkpoint": checkpoint,
                "siamese": not self._encoder.inf_free,
                "query_prompt": self._encoder.prompts.query,
                "made_of": self._made,
                "corpus": digest,
                "documents": len(documents),
                "passages": passages,
                "parts": listed,
            },
        )
        logger.info("%s: %d documents, %d of them encoded now", self._folder, len(documents), len(new))
        shutil.rmtree(self._folder / WORK, ignore_errors=True)
        for left in (self._folder / PARTS).iterdir():
            if left.name not in names and left.name.isdecimal():
                shutil.rmtree(left)

    def _vectors(self, texts: list[str]) -> csr_matrix:
        encoder, batch_size = self._encoder, self._batch_size
        folder = self._folder / WORK / f"vectors-{hash_of([self._made, hash_of(texts)])}"
        cache = VectorCache(folder, texts, lambda lists, progress: encoder.encode_blocks(lists, batch_size, progress))
        if not self._shape:
            return vstack([weights for _, weights in cache.blocks()], format="csr")
        shape_file = self._folder / SHAPE
        if not shape_file.is_file():
            made = ShapedVectors(cache, self._shape, encoder.vocabulary_size, texts, encoder.count_tokens)
            made.shaper.save(shape_file)
        shaper, rows = Shaper.load(shape_file), []
        for positions, weights in cache.blocks():
            counts = encoder.count_tokens([texts[n] for n in positions]) if shaper.words else None
            rows.append(shaper(weights, counts))
        return vstack(rows, format="csr")

    def _written(self, documents: list[Document], weights: csr_matrix) -> str:
        """The name of a new part, which is free."""
        taken = [int(path.name) for path in (self._folder / PARTS).glob("*") if path.name.isdecimal()]
        name = f"{max(taken, default=-1) + 1:06}"
        write_part(self._folder / PARTS / name, documents, weights)
        return name

    def _as_one(self, parts: list[Part]) -> tuple[list[str], list[Part]]:
        documents = [part.document(n) for part in parts for n in part.present().tolist()]
        weights = vstack([part.index.documents()[part.present()] for part in parts], format="csr")
        name = self._written(documents, weights)
        return [name], [Part(self._folder / PARTS / name, np.zeros(0, np.int64))]

    def _write_query_side(self) -> None:
        if (self._folder / QUERY / TABLE).is_file():
            return
        self._encoder.tokenizer.save_pretrained(self._folder / QUERY)
        table = self._encoder.query_table()
        weights = np.zeros(0, np.float32) if table is None else table.detach().cpu().numpy()
        write_arrays(self._folder / QUERY / TABLE, {"weight": weights})


def _document(name: str, fields: dict[str, Any]) -> Document:
    metadata = fields.get("metadata")
    parent = str(metadata.get("passage_of") or "") if isinstance(metadata, dict) else ""
    parts = name, fields["title"], fields["text"], parent
    return Document(*parts, blake2b("\0".join(parts).encode(), digest_size=16).hexdigest())


def default_folder(checkpoint: str, corpus: Path, made: str) -> Path:
    """Where the index of a model and a corpus lies if nobody says so."""
    return Path("output/search") / f"{corpus.resolve().name}-{Path(checkpoint).name}-{made[:8]}"
