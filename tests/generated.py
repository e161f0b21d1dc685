"""Inputs with anything in one place: what the tests of generated files draw, and how much of it."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as some

IS_ATTACK = bool(os.environ.get("SPARSE_ATTACK"))
SCALARS = [None, True, False, 0, 1, -1, 2, 10**9, 10**30, 1.5, float("nan"), "", "x", "../..", "/etc/passwd", "\x00"]
VALUES = some.sampled_from([*SCALARS, "\ud800", "x" * 5000, [], [1], [[]], [None], ["x"], {}, {"a": 1}, {"type": None}])


def examples(number: int) -> Callable[[Any], Any]:
    """So many, always the same; under `make test-attack` 20 times as many, others at each start."""
    return settings(
        max_examples=number * 20 if IS_ATTACK else number,
        derandomize=not IS_ATTACK,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """Where something may be put, four keys deep at most; of long lists the first entries."""
    yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    for key, part in inner:
        if len(above) < 4:
            yield from places(part, (*above, key))


def changed(data: some.DataObject, value: Any) -> Any:
    """The value with something else, or nothing, in one of its places."""
    place = data.draw(some.sampled_from(list(places(value))), "place")
    if not place:
        return data.draw(VALUES, "value")
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    if data.draw(some.integers(0, 3), "left out where 0") == 0:
        del holder[place[-1]]
    else:
        holder[place[-1]] = data.draw(VALUES, "value")
    return value


def damaged(data: some.DataObject, content: bytes) -> bytes:
    """The bytes with a piece of others in one place, or without all that follows it."""
    at = data.draw(some.integers(0, len(content)), "at")
    pieces = [
        b"\xff",
        b"\x00",
        b"\n",
        b"\t",
        b'"',
        b"{",
        b"[" * 300,
        b"\xed\xa0\xbd",
        b"\xef\xbb\xbf",
        b"9" * 400,
        b"-",
    ]
    piece = data.draw(some.sampled_from([b"", *pieces]), "piece")
    return content[:at] + (piece + content[at:] if piece else b"")
