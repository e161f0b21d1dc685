"""Lists of strings that need not lie in memory: ids that can be looked up, texts, and both in another order.

They are Arrow arrays, of a mapped file or of memory. To read one string costs about a microsecond; many together cost
less.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

AT_ONCE = 256
"""Strings that are held while a list is gone through."""


class Strings(Sequence[str]):
    """A list that is equal to a list of the same strings."""

    @abstractmethod
    def take(self, positions: Any) -> list[str]:
        """The strings at these positions, an array or a range, each from 0 to len - 1."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One string, or a list of those of a slice."""
        places = range(len(self))[index]  # negative numbers, and the IndexError
        return self.take(places) if isinstance(places, range) else self.take([places])[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), AT_ONCE):
            yield from self.take(range(start, min(start + AT_ONCE, len(self))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class Ids(Strings):
    """Distinct ids, by position and by name.

    Args:
        names: large_string [N].
        order: positions of the ids from the highest to the lowest, int32 [N] (None: sorted here).
        corpus_hash: see `retrieval.fingerprint.corpus_hash`, where it is known.
    """

    def __init__(self, names: pa.Array, order: np.ndarray | None = None, corpus_hash: str | None = None) -> None:
        self.names, self.corpus_hash = names, corpus_hash
        self.order: np.ndarray = descending(names) if order is None else order

    @classmethod
    def of(cls, ids: Sequence[str]) -> Ids:
        """The ids of a list."""
        return ids if isinstance(ids, Ids) else cls(pa.array(list(ids), pa.large_string()))

    def __len__(self) -> int:
        return len(self.names)

    def take(self, positions: Any) -> list[str]:
        """See `Strings.take`."""
        return self.names.take(pa.array(np.asarray(positions, np.int64))).to_pylist()

    def positions(self, names: Sequence[str]) -> np.ndarray:
        """Where each name stands, int64; -1: nowhere."""
        ranks = self.ranks(names)
        return np.where(ranks < 0, -1, self.order[ranks]) if len(self) else ranks

    def ranks(self, names: Sequence[str]) -> np.ndarray:
        """Where each name stands in `order`, int64; -1: nowhere. All of them are searched together, by halves."""
        wanted = pa.array(names, pa.large_string())
        low, high = np.zeros(len(wanted), np.int64), np.full(len(wanted), len(self))
        while (low < high).any():
            middle = (low + high) // 2
            is_higher = pc.greater(self._ranked(middle), wanted).to_numpy(zero_copy_only=False)
            unsure = low < high
            low, high = np.where(unsure & is_higher, middle + 1, low), np.where(unsure & ~is_higher, middle, high)
        if not len(self) or not len(wanted):
            return np.full(len(wanted), -1)
        return np.where(pc.equal(self._ranked(low), wanted).to_numpy(zero_copy_only=False), low, -1)

    def repeated(self) -> int | None:
        """The first position at which an id of an earlier one stands again; None if ids are distinct."""
        ordered = self.names.take(pa.array(self.order))
        same = pc.equal(ordered[1:], ordered[:-1]).to_numpy(zero_copy_only=False)
        # Equal ids stand together in the order, by position ascending.
        return int(self.order[1:][same].min()) if same.any() else None

    def _ranked(self, ranks: np.ndarray) -> pa.Array:
        return self.names.take(pa.array(self.order[np.minimum(ranks, len(self) - 1)]))


def descending(names: pa.Array) -> np.ndarray:
    """Positions by name from the highest to the lowest, int32; UTF-8 sorts as Python's strings do."""
    return pc.array_sort_indices(names, order="descending").to_numpy().astype(np.int32)


class Texts(Strings):
    """Texts in arrays of `rows` each, but for the last, which may be shorter."""

    def __init__(self, arrays: Sequence[pa.Array], rows: int, corpus_hash: str | None = None) -> None:
        self._arrays, self._rows, self.corpus_hash = arrays, rows, corpus_hash

    def __len__(self) -> int:
        return (len(self._arrays) - 1) * self._rows + len(self._arrays[-1]) if self._arrays else 0

    def take(self, positions: Any) -> list[str]:
        """See `Strings.take`."""
        places = (divmod(int(position), self._rows) for position in positions)
        return [self._arrays[number][row].as_py() for number, row in places]

    def __iter__(self) -> Iterator[str]:
        for array in self._arrays:
            for start in range(0, len(array), AT_ONCE):
                yield from array.slice(start, AT_ONCE).to_pylist()


class Ordered(Strings):
    """The strings of a list in another order: number n is that at order[n]."""

    def __init__(self, strings: Sequence[str], order: np.ndarray) -> None:
        self._strings, self._order = strings, order

    def __len__(self) -> int:
        return len(self._order)

    def take(self, positions: Any) -> list[str]:
        """See `Strings.take`."""
        places = self._order[np.asarray(positions, np.int64)]
        return self._strings.take(places) if isinstance(self._strings, Strings) else [self._strings[p] for p in places]
