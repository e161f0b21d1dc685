"""A corpus, and queries, as files of vectors: encoded once, shaped, written in one of FORMATS.

    OUT/documents-000000.jsonl …   the vectors, documents in the corpus' order (documents.npz or the like: one file)
    OUT/queries.jsonl              where queries are given
    OUT/vocabulary.json            V tokens; null where an id stands for none
    OUT/shape.safetensors          what the corpus told about itself, where the shape has to know (see `Shaper`)
    OUT/encoding.json              how all this was made; that it is finished is written last of all
    OUT/.work/                     vectors in blocks, until all is finished

Blocks of vectors are what a run that was stopped goes on from, and so is each file: what is there is not made again.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix
from tqdm import tqdm

from retrieval import distributed
from retrieval.corpus import corpus_digest, open_corpus
from retrieval.encode.formats import FORMATS
from retrieval.files import alone, read_json, whole, write_json
from retrieval.fingerprint import fingerprint, hash_of
from retrieval.mapped_corpus import MappedCorpus
from retrieval.query_files import read_queries
from retrieval.shaped import Shape, ShapedVectors, Shaper
from retrieval.vectors import VectorCache
from sparse_model.errors import UserError
from sparse_model.tokens import BLOCK
from sparse_model.vocabulary import tokens_by_id

if TYPE_CHECKING:
    from sparse_model import SparseEncoder

logger = logging.getLogger(__name__)

RECORD, SHAPE, VOCABULARY, WORK = "encoding.json", "shape.safetensors", "vocabulary.json", ".work"


@dataclass(frozen=True)
class Export:
    """One OUT and what makes it.

    Args:
        encoder: without a cut of its own.
        model: all that decides the model's vectors beside the texts: hashes, lengths, precision.
        corpus, queries: see `open_corpus`, `read_queries`.
        shape: what becomes of the vectors; or a Shaper, by the statistics of an earlier corpus.
        work: where the model's vectors lie in blocks, and stay, for another form or shape too; None:
            in OUT/.work, until all is finished.
    """

    encoder: "SparseEncoder"
    model: dict[str, Any]
    corpus_path: Path
    out: Path
    form: str
    shape: Shape | Shaper
    queries: Path | None = None
    batch_size: int = 32
    work: Path | None = None

    def run(self) -> bool:
        """Write OUT, or the rest of it; False if it was finished before. To be called in every process.

        Raises:
            UserError: OUT holds something else; a corpus or queries that cannot be read.
        """
        with ExitStack() as stack:
            if distributed.is_main():
                stack.enter_context(alone(self.out))
            if distributed.is_main() and self.work:  # which another OUT may use, too
                stack.enter_context(alone(self.work))
            return self._run()

    def _run(self) -> bool:
        if distributed.on_main(self._claim):
            return False
        self._vectors.ensure(np.arange(len(self._corpus)))
        for path, blocks in self._files()[distributed.rank() :: distributed.world_size()]:
            if not path.exists():
                with whole(path) as temporary:
                    self._format.write(temporary, _Blocks(self, blocks), self._tokens)
        distributed.barrier()
        distributed.on_main(self._finish)
        return True

    def said(self) -> str:
        """What a finished OUT holds, in words."""
        says = read_json(self.out / RECORD)
        queries = f" and {says['queries']} queries" if "queries" in says else ""
        return f"{says['documents']} documents{queries} as {self.form}, in {', '.join(_shortened(says['files']))}"

    def block(self, number: int) -> tuple[Sequence[str], csr_matrix]:
        """(ids, weights [n, V]) of a block of documents, as they are written."""
        start, stop = number * BLOCK, min((number + 1) * BLOCK, len(self._corpus))
        weights = csr_matrix(self._vectors.rows(np.arange(start, stop)))
        if shaper := self._shaper:
            counts = self.encoder.count_tokens(self._corpus.texts[start:stop]) if shaper.words else None
            weights = shaper(weights, counts)
        return self._corpus.ids[start:stop], self._format.adapt(weights)

    @property
    def _format(self) -> Any:
        return FORMATS[self.form]

    @property
    def _work(self) -> Path:
        return self.work or self.out / WORK

    @cached_property
    def _tokens(self) -> list[str | None]:
        return tokens_by_id(self.encoder.tokenizer, self.encoder.vocabulary_size)

    @cached_property
    def _opened(self) -> tuple[MappedCorpus, str]:
        return open_corpus(self.corpus_path)

    @property
    def _corpus(self) -> MappedCorpus:
        return self._opened[0]

    @cached_property
    def _vectors(self) -> VectorCache:
        encode = lambda lists, progress: self.encoder.encode_blocks(lists, self.batch_size, progress)  # noqa: E731
        folder = self._work / f"vectors-{hash_of([self.model, self._opened[1]])}"
        return VectorCache(folder, self._corpus.texts, encode)

    @cached_property
    def _shaper(self) -> Shaper | None:
        """Made in all processes together."""
        if not self.shape:
            return None
        V, folder = self.encoder.vocabulary_size, self._vectors.folder
        texts, counts = self._corpus.texts, self.encoder.count_tokens
        return ShapedVectors(self._vectors, self.shape, V, texts, counts, folder).shaper

    def _files(self) -> list[tuple[Path, range]]:
        """Each file of documents with the numbers of its blocks."""
        self._shaper  # noqa: B018 - here, where all processes are
        blocks, ending = range(-(-len(self._corpus) // BLOCK)), self._format.ending
        if not (size := self._format.blocks):
            return [(self.out / f"documents.{ending}", blocks)]
        return [(self.out / f"documents-{i // size:06}.{ending}", blocks[i : i + size]) for i in blocks[::size]]

    def _claim(self) -> bool:
        """Say whose OUT is; whether it is finished. UserError if it is somebody else's."""
        like = self.shape if isinstance(self.shape, Shaper) else None
        shape = self.shape.shape if isinstance(self.shape, Shaper) else self.shape
        made_of = {
            "form": self.form,
            **shape.facts,
            "like": hash_of([like.documents, like.words and like.words.tokens]) if like else None,
            "model": hash_of(self.model),
            "corpus": corpus_digest(self.corpus_path)[:16],
            "queries": fingerprint([self.queries])[:16] if self.queries else None,
        }
        if self.queries:
            self._asked  # noqa: B018 - a mistake in it is told before hours of encoding
        says = read_json(self.out / RECORD)
        there = says.get("made of")
        if there is None and any(path.name != WORK for path in self.out.iterdir()):
            raise UserError(f"{self.out}: holds something already; name a folder that is new or empty.")
        if there not in (None, made_of) and any(self.out.glob("documents*")):
            keys = ", ".join(key for key in {**there, **made_of} if there.get(key) != made_of.get(key))
            raise UserError(f"{self.out}: holds vectors made otherwise ({keys}); name another folder, or remove it.")
        if there != made_of:  # or nothing was written: the command is typed anew after a mistake in it or the corpus
            write_json(self.out / RECORD, {"made of": made_of, "finished": False})
            return False
        return bool(says.get("finished"))

    @cached_property
    def _asked(self) -> tuple[list[str], list[str]]:
        return read_queries(self.queries) if self.queries else ([], [])

    def _finish(self) -> None:
        files = [path.name for path, _ in self._files()]
        says = read_json(self.out / RECORD) | {"documents": len(self._corpus), "files": files}
        if self.queries:
            ids, texts = self._asked
            path = self.out / f"queries.{self._format.queries_ending or self._format.ending}"
            with whole(path) as temporary:
                self._format.write_queries(temporary, [(ids, self.encoder.encode_queries(texts))], self._tokens)
            says |= {"queries": len(ids), "files": [*files, path.name]}
        write_json(self.out / VOCABULARY, self._tokens)
        if self._shaper:
            self._shaper.save(self.out / SHAPE)
        shutil.rmtree(self.out / WORK, ignore_errors=True)
        write_json(self.out / RECORD, says | {"finished": True})


def _shortened(names: Sequence[str]) -> Sequence[str]:
    return names if len(names) <= 4 else [*names[:2], "…", *names[-2:]]


class _Blocks:
    """Some blocks of an export, each made when it is asked for."""

    def __init__(self, export: Export, numbers: range) -> None:
        self._export, self._numbers = export, numbers

    def __iter__(self) -> Iterator[tuple[Sequence[str], csr_matrix]]:
        """Of each (ids, weights)."""
        for number in tqdm(self._numbers, "writing", unit="block", delay=3, disable=not distributed.is_main()):
            yield self._export.block(number)
