"""Teachers that read query and document together: cross-encoders and monoT5."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from mining.teachers.batches import Rows, Runner
from mining.teachers.spec import Progress, TeacherSpec, no_progress
from mining.teachers.types import answer_ids
from sparse_model.layout import resolve
from sparse_model.tokens import beginnings

Pair = tuple[str, str]
"""(query, document)"""


class CrossEncoderTeacher:
    """A sequence classifier with one logit, which is the score."""

    encodes = False

    def __init__(self, spec: TeacherSpec, device: torch.device) -> None:
        self.spec = spec
        folder = resolve(spec.located, with_code=spec.trust_remote_code)
        self._runner = Runner(spec, AutoModelForSequenceClassification, folder, device)

    def score(self, pairs: Sequence[Pair], progress: Progress = no_progress) -> np.ndarray:
        """See `PairScorer`."""
        return _scores(self._runner, pairs, self._tokenize, self._forward, progress)

    def _tokenize(self, pairs: Sequence[Pair]) -> Rows:
        rows = self._runner.tokenizer(
            *_prefixed(self.spec, self._runner.tokenizer, pairs),
            truncation="longest_first",
            max_length=self.spec.max_length,
            return_attention_mask=False,
        )
        return dict(rows)

    def _forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self._runner.model(**inputs).logits.squeeze(-1)


class MonoT5Teacher:
    """T5 that answers "true" or "false"; the score is the log-probability of "true" between the two.

    Nogueira et al. 2020 (arXiv 2003.06713).
    """

    encodes = False

    def __init__(self, spec: TeacherSpec, device: torch.device) -> None:
        self.spec = spec
        folder = resolve(spec.located, with_code=spec.trust_remote_code)
        self._runner = Runner(spec, AutoModelForSeq2SeqLM, folder, device)
        self.answers = answer_ids(self._runner.tokenizer)

    def score(self, pairs: Sequence[Pair], progress: Progress = no_progress) -> np.ndarray:
        """See `PairScorer`."""
        return _scores(self._runner, pairs, self._tokenize, self._forward, progress)

    def _tokenize(self, pairs: Sequence[Pair]) -> Rows:
        queries, documents = _prefixed(self.spec, self._runner.tokenizer, pairs)
        return {"input_ids": prompt_ids(self._runner.tokenizer, queries, documents, self.spec.max_length)}

    def _forward(self, inputs: dict[str, Tensor]) -> Tensor:
        model = self._runner.model
        start = inputs["input_ids"].new_full((len(inputs["input_ids"]), 1), model.config.decoder_start_token_id)
        logits_NV = model(**inputs, decoder_input_ids=start).logits[:, 0]
        return logits_NV[:, self.answers].float().log_softmax(dim=-1)[:, 0]


def prompt_ids(tokenizer: object, queries: Sequence[str], documents: Sequence[str], max_length: int) -> list[list[int]]:
    """Ids of "Query: … Document: … Relevant:", the last tokens before " Relevant:" left out where they are too many.

    Only where a query alone exceeds max_length is it cut too.
    """
    texts = [f"Query: {query} Document: {document}" for query, document in zip(queries, documents, strict=True)]
    batch = tokenizer(  # type: ignore[operator]
        [f"{text} Relevant:" for text in texts],
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    rows = []
    for text, ids, offsets in zip(texts, batch["input_ids"], batch["offset_mapping"], strict=True):
        # The first token that reaches beyond the text; a space that belongs to it may lie within.
        tail = next(i for i, (_, end) in enumerate(offsets) if end > len(text))
        rows.append(ids[: min(tail, max_length - (len(ids) - tail))] + ids[tail:])
    return rows


def _prefixed(spec: TeacherSpec, tokenizer: Any, pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    """Queries and documents with their prefixes, as much of each as a teacher can read."""
    queries, documents = zip(*pairs, strict=True)
    texts = spec.prefixed(queries, "query"), spec.prefixed(documents, "document")
    return beginnings(tokenizer, texts[0], spec.max_length), beginnings(tokenizer, texts[1], spec.max_length)


def _scores(runner: Runner, pairs: Sequence[Pair], *steps: object) -> np.ndarray:
    if not pairs:
        return np.zeros(0, np.float32)
    return runner.run(pairs, *steps).cpu().numpy()  # type: ignore[arg-type]
