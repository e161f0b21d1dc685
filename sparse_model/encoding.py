"""Encoding of a block of documents: batches of similar length, each through the masked LM and the head, to sparse rows.

A GPU is sent one batch, computes another and gives back a third at the same time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor, nn

from sparse_model import hidden
from sparse_model.activations import activate
from sparse_model.device import fetched, sent
from sparse_model.errors import RunError
from sparse_model.head import Active, Head
from sparse_model.modes import without_dropout
from sparse_model.tokens import length_sorted_batches, one_ahead


class Encoder(Protocol):
    """What is asked of a `SparseEncoder`."""

    mlm: nn.Module
    activation_type: str
    vocabulary_size: int
    encoding_dtype: torch.dtype | None
    max_seq_length: int

    @property
    def device(self) -> torch.device: ...
    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]: ...
    def output_layer(self) -> tuple[Tensor, Tensor, torch.dtype | None]: ...
    def has_text(self, input_ids: Tensor) -> Tensor: ...


@torch.inference_mode()
def encode_block(
    encoder: Encoder, ids: list[list[int]], batch_size: int, progress: Callable[[int], object]
) -> csr_matrix:
    """Weights [N, V] (float32) of documents given as ids, in their order.

    Args:
        batch_size: documents of max_seq_length a batch may hold; more where they are shorter.
        progress: called with the number of documents of each batch done.

    Raises:
        RunError: for weights that are not finite.
    """
    batches = list(length_sorted_batches([len(row) for row in ids], batch_size * encoder.max_seq_length))
    with _autocast(encoder):
        head = Head(*encoder.output_layer(), sum(map(len, ids)), winners=False)
    parts = []
    with without_dropout(encoder.mlm):
        for rows in _overlapped(encoder, head, ([ids[row] for row in batch] for batch in batches)):
            parts.append(rows)
            progress(rows.shape[0])
    if not parts:
        return csr_matrix((0, encoder.vocabulary_size), dtype=np.float32)
    return vstack(parts, format="csr")[np.argsort([row for batch in batches for row in batch])]


def _overlapped(encoder: Encoder, head: Head, batches: Iterable[list[list[int]]]) -> Iterator[csr_matrix]:
    """The rows of each batch."""

    def to_device(ids: list[list[int]]) -> tuple[Tensor, Tensor, list[int]]:
        input_ids, mask = encoder.pad(ids)
        return sent(input_ids, encoder.device), sent(mask, encoder.device), [len(row) for row in ids]

    finish: Callable[[], csr_matrix] | None = None
    for input_ids, mask, lengths in one_ahead(to_device, batches):
        with _autocast(encoder):
            # Rows come longest first, and so they stay.
            hidden_TD, _ = hidden.hidden_states(encoder.mlm, input_ids, mask, lengths)
        if finish is not None:
            yield finish()
        finish = _rows(encoder, head.active(hidden_TD.float(), lengths), encoder.has_text(input_ids))
    if finish is not None:
        yield finish()


def _rows(encoder: Encoder, active: Active, has_text_N: Tensor) -> Callable[[], csr_matrix]:
    """The sparse rows of what the head found, once the device has given it back."""
    weights = activate(active.values, encoder.activation_type)
    fetch = fetched(weights, active.documents, active.entries, has_text_N)

    def rows() -> csr_matrix:
        data, documents, entries, has_text = fetch()
        kept = (data != 0) & has_text[documents]
        data, documents, entries = data[kept], documents[kept], entries[kept]
        if not np.isfinite(data).all():
            raise RunError("The model gives weights that are not finite: its own are too large, or it is damaged.")
        indptr = np.concatenate([[0], np.cumsum(np.bincount(documents, minlength=len(has_text)))])
        return csr_matrix((data, entries, indptr), shape=(len(has_text), encoder.vocabulary_size))

    return rows


def _autocast(encoder: Encoder) -> AbstractContextManager[Any]:
    dtype = encoder.encoding_dtype
    return torch.autocast(encoder.device.type, dtype=dtype) if dtype else nullcontext()
