"""Mistakes of a user's as values: where, which key, and a sentence with the remedy."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sparse_model.errors import UserError


def without_credentials(text: str) -> str:
    """The text with user and password taken out of every URL in it."""
    return re.sub(r"\b(\w+://)[^\s,]*@", r"\1", text)


@dataclass(frozen=True)
class Mistake:
    """One mistake in a config or on a command line."""

    key: str
    text: str
    where: str = ""
    """the file, or "command line"; empty: nowhere in particular, e.g. a key that is missing"""
    involves: tuple[str, ...] = ()
    """other keys that it is about: where one of them has no usable value, this is no mistake yet"""

    def __str__(self) -> str:
        return without_credentials(": ".join(part for part in (self.where, self.key, self.text) if part))


class Mistakes(UserError):
    """All mistakes that were found, a line each; the same one is said once."""

    def __init__(self, found: Iterable[Mistake]) -> None:
        self.found = tuple(dict.fromkeys(found))
        super().__init__("\n".join(map(str, self.found)))

    def __reduce__(self) -> tuple[type["Mistakes"], tuple[tuple[Mistake, ...]]]:
        """Rank 0 sends it to the other processes."""
        return Mistakes, (self.found,)


def refuse(found: Iterable[Mistake]) -> None:
    """Raise `Mistakes` if there are any."""
    if listed := list(found):
        raise Mistakes(listed)


def located(found: Iterable[Mistake], given: dict[str, str]) -> list[Mistake]:
    """The mistakes with the place where each key stands; given: key to file."""
    return [replace(mistake, where=mistake.where or given.get(mistake.key, "")) for mistake in found]


def as_mistakes(error: UserError, key: str = "") -> list[Mistake]:
    """What an error says, as mistakes."""
    return list(error.found) if isinstance(error, Mistakes) else [Mistake(key, str(error))]
