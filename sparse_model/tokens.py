"""Texts to token ids: documents framed and cut at a length, queries as sets of ids, padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

# Documents of a block: tokenised ahead, sorted by length together, kept in one file.
BLOCK = 1024
# Tokens that go through a model together on a CPU.
CPU_TOKENS = 2048

T = TypeVar("T")
U = TypeVar("U")


def document_ids(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text with the tokenizer's special tokens, cut at `max_length` ids."""
    room = max_length - tokenizer.num_special_tokens_to_add()
    rows = []
    for encoding in _encoded(tokenizer, texts):
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
    for encoding in _encoded(tokenizer, texts):
        if max_length is not None:
            _cut(tokenizer, encoding, max_length)
        rows.append(sorted(set(encoding.ids) - special))
    return rows


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[Any]:
    """Whole texts without frame. What a tokenizer is told to cut at is one state for all threads: none is ever set."""
    if not texts:
        return []
    return tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False).encodings


def _cut(tokenizer: Any, encoding: Any, length: int) -> None:
    if len(encoding) > length:
        encoding.truncate(length, direction=tokenizer.truncation_side)


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Rows of ids as input_ids and attention_mask, both int64 [N, L], padded on the right to the longest row."""
    import torch  # here, so that what only counts in blocks and tokens need not load it

    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
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
