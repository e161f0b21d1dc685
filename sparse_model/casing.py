"""Capitals: lower-casing as a part of a tokenizer, and what is worth a warning before a tokenizer is trained with."""

from typing import TYPE_CHECKING, Any

from sparse_model.vocabulary import tokens_by_id

if TYPE_CHECKING:
    from sparse_model.encoder import SparseEncoder

MOST_CASED = 0.01
"""Share of a vocabulary with capitals, above which it is told; an uncased one has its special tokens alone."""


def lowers(tokenizer: Any) -> bool:
    """Whether New and new are one to it."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return normalizer is not None and normalizer.normalize_str("New") == normalizer.normalize_str("new")


def lowercased(tokenizer: Any) -> Any:
    """A tokenizer that lower-cases texts after all that it does to them before, and is saved so.

    It is a PreTrainedTokenizerFast, which every version of transformers reads from tokenizer.json as it stands there:
    classes of their own, such as a BertTokenizer, make their normalizer anew.
    """
    if lowers(tokenizer):
        return tokenizer
    from tokenizers import Tokenizer, normalizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    before = backend.normalizer
    backend.normalizer = normalizers.Sequence([*([before] if before else []), normalizers.Lowercase()])
    sides = "model_max_length", "padding_side", "truncation_side", "model_input_names"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{name: getattr(tokenizer, name) for name in sides},
        **tokenizer.special_tokens_map,
    )


def cautions(encoder: "SparseEncoder") -> list[str]:
    """What may weaken a model that is trained from this one, in sentences."""
    tokenizer, found = encoder.tokenizer, []
    tokens = [token for token in tokens_by_id(tokenizer, encoder.vocabulary_size) if token is not None]
    capitals = sum(map(_is_cased, tokens)) / max(len(tokens), 1)
    if capitals > MOST_CASED and not lowers(tokenizer):
        found.append(
            f"tokens are cased: {capitals:.0%} of the vocabulary has capitals, and New and new are different tokens "
            "to queries; lowercase: true makes them one"
        )
    special = {*tokenizer.all_special_ids}
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    frame = {*tokenizer("")["input_ids"]}
    if undeclared := sorted((marked | frame) - special):
        names = ", ".join(map(str, tokenizer.convert_ids_to_tokens(undeclared[:3])))
        found.append(
            f"{len(undeclared)} special tokens take weight, such as {names}: the tokenizer does not name them among "
            "its special tokens (special_tokens_map)"
        )
    if encoder.new_head:
        named = ", ".join(encoder.new_head[:3])
        found.append(f"the masked-LM head is new ({named}): it starts at random, and takes more steps and data")
    return found


def _is_cased(token: str) -> bool:
    """A capital that is no ASCII letter and below U+0150 may be a byte of a byte-level vocabulary, as Ġ is a space."""
    return any(letter != letter.lower() for letter in token if letter.isascii() or letter >= "\u0150")
