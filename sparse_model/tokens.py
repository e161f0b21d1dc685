"""Texts to token ids: documents framed and cut at a length, queries as sets of ids, padding."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sparse_model.texts import beginning, breaks, runs, whole_characters

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

# Documents of a block: tokenised ahead, sorted by length together, kept in one file.
BLOCK = 1024
# Tokens that go through a model together on a CPU.
CPU_TOKENS = 2048
# Of a long text, so many for each token that is needed are tokenised first.
CHARACTERS = 8
# Of a text that is read beyond so many characters, endless words and spaces are shortened first.
LONG = 2**16

T = TypeVar("T")
U = TypeVar("U")


def document_ids(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text with the tokenizer's special tokens, cut at `max_length` ids."""
    room = max_length - tokenizer.num_special_tokens_to_add()
    rows = []
    for encoding in _encoded(tokenizer, texts, room)[1]:
        _cut(tokenizer, encoding, room)
        rows.append(tokenizer.backend_tokenizer.post_process(encoding).ids)
    # Where a tokenizer frames nothing, an empty text has no token at all, and a model needs one.
    return [row or [tokenizer.pad_token_id or 0] for row in rows]


def query_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The distinct ids of each text, ascending, special tokens left out; cut only at the tokenizer's own limit."""
    return distinct_ids(tokenizer, texts, tokenizer.model_max_length)


def distinct_ids(tokenizer: Any, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
    """The distinct ids of each text (of its first max_length tokens), ascending, special tokens left out."""
    special = set(tokenizer.all_special_ids)
    rows = []
    for encoding in _encoded(tokenizer, texts, max_length)[1]:
        if max_length is not None:
            _cut(tokenizer, encoding, max_length)
        rows.append(sorted(set(encoding.ids) - special))
    return rows


def count_longer(tokenizer: Any, texts: Sequence[str], length: int) -> int:
    """How many texts have more than so many tokens, special tokens left out."""
    return sum(len(encoding) > length for encoding in _encoded(tokenizer, texts, length + 1)[1])


def beginnings(tokenizer: Any, texts: Sequence[str], n_tokens: int) -> list[str]:
    """The texts, cut somewhere behind their first n_tokens tokens where they are long."""
    is_long = [len(text) > CHARACTERS * n_tokens for text in texts]
    heads = iter(_encoded(tokenizer, [text for text, long in zip(texts, is_long, strict=True) if long], n_tokens)[0])
    return [next(heads) if long else whole_characters(text) for text, long in zip(texts, is_long, strict=True)]


def _encoded(tokenizer: Any, texts: Sequence[str], n_tokens: int | None) -> tuple[list[str], list[Any]]:
    """(beginnings of the texts, their encodings without frame): the first n_tokens (None: all) are the whole text's.

    In beginnings of more than LONG characters, what `runs` finds is shortened.

    What a tokenizer is told to cut at is one state for all threads: none is ever set.
    """
    texts = _whole(texts)
    heads, left = list(texts), list(range(len(texts)))
    encodings: list[Any] = [None] * len(texts)
    needed = n_tokens if n_tokens is not None and tokenizer.truncation_side == "right" else sys.maxsize
    size = CHARACTERS * max(needed, 1)
    at = breaks(tokenizer) if max(map(len, texts), default=0) > size else None
    endless = runs(tokenizer) if max(map(len, texts), default=0) > LONG else None
    while left:
        for i in left:
            if endless and min(size, len(texts[i])) > LONG:
                texts[i] = endless.sub(r"\1\2\3\4", texts[i])
            heads[i] = beginning(texts[i], size, at)
        options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        for i, encoding in zip(left, tokenizer([heads[i] for i in left], **options).encodings, strict=True):
            encodings[i] = encoding
        left = [i for i in left if len(heads[i]) < len(texts[i]) and len(encodings[i]) < needed]
        size *= 4
    return heads, encodings


def _whole(texts: Sequence[str]) -> list[str]:
    whole = list(map(whole_characters, texts))
    changed = sum(a != b for a, b in zip(texts, whole, strict=True))
    if changed:
        logger.warning("%d texts hold half of a surrogate pair; it is read as U+FFFD", changed)
    return whole


def _cut(tokenizer: Any, encoding: Any, length: int) -> None:
    if len(encoding) > length:
        encoding.truncate(length, direction=tokenizer.truncation_side)


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Rows of ids as input_ids and attention_mask, both int64 [N, L], padded on the right to the longest row."""
    import torch  # here, so that what only counts in blocks and tokens need not load it

    # By way of numpy: a fifth of the time, in which no other thread can work.
    tensors = [torch.from_numpy(np.array(row, dtype=np.int64)) for row in rows]
    input_ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(row) for row in rows])
    return input_ids, (torch.arange(input_ids.shape[1]) < lengths.unsqueeze(1)).long()


def length_sorted_batches(
    lengths: Sequence[int], max_tokens: float = float("inf"), shortest: float = 0.0
) -> Iterator[list[int]]:
    """Row numbers in batches of similar length, longest first.

    Args:
        max_tokens: padded tokens of a batch at most (or one row);
        shortest: no row of a batch is shorter than this share of its longest.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batch[0]] if batch else 0
        if batch and ((len(batch) + 1) * longest > max_tokens or lengths[row] < shortest * longest):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def one_ahead(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """`function` of each item in turn; while one is used, the next is computed on another thread."""
    with ThreadPoolExecutor(1) as pool:
        upcoming: Future[U] | None = None
        for item in items:
            current, upcoming = upcoming, pool.submit(function, item)
            if current is not None:
                yield current.result()
        if upcoming is not None:
            yield upcoming.result()
