"""The rungs, one after another; each is kept only if the held-out queries say that it helps."""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from experiment.ladder.judge import Judge, Judged, Verdict
from experiment.ladder.mined import rows_with_negatives
from experiment.ladder.shift import shift
from experiment.run.models import load_start, model_files, named
from experiment.run.train import train
from experiment.settings.settings import Settings
from retrieval.beir_data import load_beir
from retrieval.beir_files import read_records
from retrieval.distributed import is_main, on_main
from retrieval.files import whole, write_atomically
from retrieval.fingerprint import fingerprint, hash_of
from sparse_model import SparseEncoder, UserError, corpus_idf, load
from sparse_model.lexical import TrainedShare
from sparse_model.pruning import Cut
from sparse_model.query_weights import read_idf, write_idf

logger = logging.getLogger(__name__)

OF_DOCUMENTS = {"documents": None, "queries": None, "pseudo_negatives": 0}
"""Keys that are for documents alone, as a training on rows has them."""


@dataclass(frozen=True)
class Model:
    """A model as the judge takes it: a hash of its files, how it is loaded, its query weights, its lexical share."""

    files: str
    load: Callable[[], SparseEncoder]
    table_V: Tensor
    share: TrainedShare = TrainedShare()

    def judged(self, judge: Judge, label: str) -> Judged:
        """What it gives."""
        return judge.model(label, self.files, self.load, self.table_V, self.share)


@dataclass(frozen=True)
class Rung:
    """A step of the ladder: the model, what it gave, and whether it is kept (the first has no verdict)."""

    name: str
    model: Model
    judged: Judged
    verdict: Verdict | None = None

    @property
    def kept(self) -> bool:
        """Whether what follows builds on it."""
        return self.verdict is None or self.verdict.kept


@dataclass(frozen=True)
class Climbed:
    """All rungs, BM25, and how far the documents lie from the start model's home."""

    rungs: list[Rung]
    bm25: Judged
    shift: float

    @property
    def at_home(self) -> bool:
        """Whether nothing was tried."""
        return len(self.rungs) == 1

    @property
    def best(self) -> Model:
        """The model that is left at the top."""
        return next(rung.model for rung in reversed(self.rungs) if rung.kept)


class Climb:
    """One climb in a run's folder, which holds documents/ and pseudo/; started again, it goes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, settings.output_dir
        keys = settings.evaluation
        asked = keys.max_active_dims if isinstance(keys.max_active_dims, list) else [keys.max_active_dims]
        data = load_beir(str(self._folder / "pseudo"), "", "dev")
        batch_size = settings.value("per_device_eval_batch_size") * 4
        self.judge = Judge(data, asked, self._folder / "ladder", keys.passages, batch_size)

    def climb(self) -> Climbed:
        """Try every rung in turn, unless the start model is at home."""
        bm25 = self.judge.bm25(self._settings.evaluation.bm25_language)
        best = self.start_model
        rungs = [Rung("start model", best, best.judged(self.judge, "start"))]
        apart = shift(self._start_table_V.cpu().numpy(), self._documents_idf_V.numpy(), len(self.judge.data.doc_ids))
        at_home = apart < self._settings.data.ladder_min_shift
        for step in () if at_home else (self._query_weights, self._lexical_share, self._training):
            kept = next(rung for rung in reversed(rungs) if rung.kept)
            rungs.append(step(kept.model, kept.judged))
            self._say(rungs[-1])
        return Climbed(rungs, bm25, apart)

    @property
    def start_model(self) -> Model:
        """What the ladder stands on."""
        return Model(self._start_files, lambda: self._start, self._start_table_V)

    def trained_model(self, best: Model) -> Model:
        """What the last rung's training left, with the query weights and the share of `best`."""
        folder = str(self._folder / "training")
        files = on_main(lambda: fingerprint(model_files(folder)))
        return replace(best, files=files, load=lambda: self._ready(load(folder).to(self._start.device)))

    def _query_weights(self, best: Model, before: Judged) -> Rung:
        """The documents' IDF in the query weights."""
        model, share = replace(best, table_V=self.query_weights_V), self._settings.data.ladder_idf_share
        judged = model.judged(self.judge, "query_weights")
        name = "the documents' IDF" if share == 1 else f"query weights, {share:g} of the documents' IDF"
        return Rung(name, model, judged, self.judge.verdict(judged, before))

    def _lexical_share(self, best: Model, before: Judged) -> Rung:
        """The best of a few lexical shares."""
        shares = self._settings.data.ladder_shares
        models = [replace(best, share=TrainedShare(share)) for share in shares]
        found = [model.judged(self.judge, f"share-{model.share.lexical_share:g}") for model in models]
        top = max(range(len(models)), key=lambda i: found[i].ndcg_LQ.mean())
        tried = self.judge.verdict(found[top], before, len(models))
        return Rung(f"lexical share {shares[top]:g}", models[top], found[top], tried)

    def _training(self, best: Model, before: Judged) -> Rung:
        """A training on the documents alone, under the query weights that were kept."""
        settings = self._training_settings(self._rows(best), kept_idf=best.table_V is self.query_weights_V)
        train(settings)
        model = self.trained_model(best)
        judged = model.judged(self.judge, "training")
        name = (
            f"training, {settings.model.start_share:g} of the start model" if settings.model.start_share else "training"
        )
        return Rung(name, model, judged, self.judge.verdict(judged, before))

    def _rows(self, best: Model) -> Path:
        """What is trained on: the pseudo-queries' rows, with hard negatives where they are asked for."""
        rows, mined = self._folder / "pseudo" / "train.jsonl", self._folder / "ladder" / "train.jsonl"
        count = self._settings.data.pseudo_negatives
        if not count:
            return rows
        if not on_main(mined.is_file):
            encoder = best.load()
            encoder.use_idf(best.table_V)
            known = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
            given = self.judge.data, encoder, self.judge.vector_cache(best.files, encoder), best.share, count
            on_main(lambda: _write_rows(mined, rows_with_negatives(known, *given)))
        return mined

    def _training_settings(self, rows: Path, kept_idf: bool) -> Settings:
        """The same keys, with rows of pseudo-queries and a folder of its own."""
        values: dict[str, Any] = {
            **OF_DOCUMENTS,
            "train_file": str(rows),
            "data_type": "posnegs",
            "output_dir": str(self._folder / "training"),
            "overwrite": False,
        }
        if kept_idf:
            values["idf_path"] = str(self._weights_file)
        given = {key: where for key, where in self._settings.given.items() if key not in (*OF_DOCUMENTS, "overwrite")}
        given |= dict.fromkeys(
            ("train_file", "data_type", "output_dir", *(["idf_path"] if kept_idf else [])), "the ladder"
        )
        return replace(self._settings.with_values(**values), given=MappingProxyType(given))

    @cached_property
    def _start(self) -> SparseEncoder:
        encoder, _ = load_start(self._training_settings(Path(), kept_idf=False))
        model = self._settings.model
        encoder.max_seq_length = model.eval_max_seq_length or encoder.max_seq_length
        return self._ready(encoder)

    @cached_property
    def _start_table_V(self) -> Tensor:
        return self._start.idf_V.detach().clone()  # type: ignore[union-attr]  # inf_free

    @property
    def _start_files(self) -> str:
        keys = self._settings.model
        return hash_of([on_main(lambda: fingerprint(model_files(named(keys)))), keys.idf_path, keys.max_seq_length])

    def _ready(self, encoder: SparseEncoder) -> SparseEncoder:
        encoder.cut = Cut()  # the judge cuts
        return encoder

    @property
    def _weights_file(self) -> Path:
        return self._folder / "ladder" / "idf.json"

    @cached_property
    def query_weights_V(self) -> Tensor:
        """[V] ladder_idf_share of the documents' IDF, and the start model's weights for the rest."""
        mixed = lambda: torch.lerp(  # noqa: E731
            self._start_table_V.cpu(), self._documents_idf_V, self._settings.data.ladder_idf_share
        )
        return self._table(self._weights_file, mixed)

    @cached_property
    def _documents_idf_V(self) -> Tensor:
        corpus = self._folder / "documents" / "corpus.jsonl"
        texts = (record.document for record in read_records(corpus, "document", []))
        tokenizer, size = self._start.tokenizer, self._start.vocabulary_size
        counted = lambda: corpus_idf(tokenizer, texts, size, show_progress=True)  # noqa: E731
        return self._table(self._folder / "ladder" / "documents_idf.json", counted)

    def _table(self, path: Path, made: Callable[[], Tensor]) -> Tensor:
        """A table of query weights as its file has it, which is made once."""

        def ensure() -> None:
            if not path.is_file():
                with whole(path) as partial:
                    write_idf(partial, made(), self._start.tokenizer)

        on_main(ensure)
        return read_idf(str(path), self._start.tokenizer, self._start.vocabulary_size)

    def _say(self, rung: Rung) -> None:
        if is_main() and rung.verdict:
            result = rung.verdict.result
            kept = "kept" if rung.kept else "not kept"
            p = rung.verdict.p
            logger.info("%s: %+.4f (p = %.2g), %s: %s", rung.name, result.mean, p, kept, rung.verdict.why)


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    if not lines:
        raise UserError("pseudo_negatives: no row's query finds a passage beside its own; give 0.")
    write_atomically(path, "".join(lines))
