"""Prompts: what stands before every query, and before every document, as texts are encoded.

A checkpoint says them as sentence-transformers does (prompts in config_sentence_transformers.json), and its
encode_query and encode_document put them there too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sparse_model.errors import UserError

Role = Literal["query", "document"]


@dataclass(frozen=True)
class Prompts:
    """The text before each query and before each document; "": none.

    Raises:
        UserError: for what is no text.
    """

    query: str = ""
    document: str = ""

    def __post_init__(self) -> None:
        for role, text in asdict(self).items():
            if not isinstance(text, str):
                raise UserError(f"{role}_prompt: {repr(text)[:60]} is no text.")

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.query or self.document)

    def before(self, role: Role, texts: Sequence[str]) -> Sequence[str]:
        """The texts with their role's prompt. One of nothing but spaces stays alone: it has nothing to be found by."""
        prompt = self.query if role == "query" else self.document
        return [prompt + text if text.strip() else text for text in texts] if prompt else texts

    def refuse(self, reader: str) -> None:
        """Raise a UserError naming a program that reads texts as they are, where there is any prompt."""
        if self:
            raise UserError(f"{reader} reads texts as they are, but the model was made for {self.words}.")

    @property
    def words(self) -> str:
        """Which there are, for people: "query_prompt 'query: '"."""
        return " and ".join(f"{role}_prompt {text!r}" for role, text in asdict(self).items() if text)


def are_prompts(value: Any) -> bool:
    """Whether it is what sentence-transformers may store as prompts: names → texts, or nothing."""
    texts = value.values() if isinstance(value, dict) else ()
    return value is None or (isinstance(value, dict) and all(isinstance(text, str | None) for text in texts))


def obeyed(says: Mapping[str, Any]) -> Prompts:
    """What encode_query and encode_document of sentence-transformers put before texts.

    Prompts by other names, default_prompt_name's included, have no part in either.

    Args:
        says: what config_sentence_transformers.json holds.
    """
    named = says.get("prompts") or {}
    return Prompts(named.get("query") or "", named.get("document") or "")
