"""Texts on their way to a tokenizer: characters that it cannot read, and where a long text may be cut.

Tokenizers read a whole text before they cut it: seconds for each megabyte. `breaks` tells where a text can be cut by
characters first: the tokens before such a place do not depend on what comes after it.
"""

import json
import re
import string
from typing import Any

_HALF_PAIR = re.compile("[\ud800-\udfff]")


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which a JSON file can hold and no tokenizer reads."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)


# They change a character by itself or by the accents that follow it, and join no letter with a space.
_LOCAL = (
    "BertNormalizer NFC NFD NFKC NFKD Lowercase StripAccents Strip Prepend Nmt Precompiled".split()  # noqa: SIM905
)
# They let no token begin before a space and end behind it.
_SPLIT_AT_SPACES = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "ByteLevel", "Metaspace")


def breaks(tokenizer: Any) -> re.Pattern[str] | None:
    """What a break begins with: of a text that is cut there, the tokens are the first ones of the whole text.

    Of pre-tokenizers, BERT's splits at white space, ASCII punctuation and Chinese characters, whatever stands before;
    GPT-2's between a letter or digit and the first two; others are known to split between these and a space. A
    character of an added token ("[SEP]"), which is looked for before all else, is no break. None: the tokenizer has
    parts of which nothing is known.
    """
    backend = tokenizer.backend_tokenizer
    normalizers, splitters = _parts(backend.normalizer), _parts(backend.pre_tokenizer)
    first = splitters[0] if splitters else {}
    splits = first.get("type") in _SPLIT_AT_SPACES and first.get("split") is not False
    if not splits or first.get("use_regex") is False or not all(map(_is_local, normalizers)):
        return None
    added = "".join(token.content for token in backend.get_added_tokens_decoder().values())
    added += backend.normalizer.normalize_str(added) if backend.normalizer else ""
    kinds = {part["type"] for part in normalizers}
    is_bert = first["type"] == "BertPreTokenizer" and kinds <= {"BertNormalizer"}
    splits_marks = is_bert or first["type"] == "ByteLevel" and not kinds & {"Replace", "Precompiled", "Nmt"}
    characters = " \t\n\r" + string.punctuation if splits_marks else " "
    places = "".join(re.escape(character) for character in characters if character not in added)
    if not is_bert:
        return re.compile(rf"(?<=[^\W_])[{places}]") if places else None
    splits_chinese = any(part["handle_chinese_chars"] for part in normalizers)
    chinese = "\u4e00-\u9fff" if splits_chinese and not re.search("[\u4e00-\u9fff]", added) else ""
    return re.compile(f"[{places}{chinese}]") if places or chinese else None


def beginning(text: str, size: int, at: re.Pattern[str] | None) -> str:
    """The text up to the last break among its first `size` characters; "" if the second half of these has none."""
    if at is None or len(text) <= size:
        return text
    return text[: next((place for place in range(size, size // 2, -1) if at.match(text, place)), 0)]


# Of Latin 1, those with accents included; accents that stand above or below a letter (not U+034F, which parts them).
_LETTERS = "A-Za-z0-9\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00ff"
_ACCENTS = "\u0300-\u034e\u0350-\u036f"


def runs(tokenizer: Any) -> re.Pattern[str] | None:
    """What of a text can be its groups alone: the tokens are the same.

    With BERT's normalizer and splitter a word of more than so many characters is one unknown token, however long it is,
    and white space is none. Of a word only letters and digits are left out, each with its accents: none splits a word,
    and each leaves a character of it at least, whether accents are stripped or not. Accents alone, NUL and U+FFFD leave
    nothing, or a word. A word that is left is longer than any added token, which begins and ends with punctuation.
    None: nothing is known of the tokenizer.
    """
    backend = tokenizer.backend_tokenizer
    longest = getattr(backend.model, "max_input_chars_per_word", None)
    kinds = [part["type"] for part in (*_parts(backend.normalizer), *_parts(backend.pre_tokenizer))]
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    if longest is None or kinds != ["BertNormalizer", "BertPreTokenizer"]:
        return None
    if not all(re.fullmatch(r"[!-/:-@[-`{-~](\S*[!-/:-@[-`{-~])?", token) and len(token) <= longest for token in added):
        return None
    more, letter = longest + 1, f"[{_LETTERS}][{_ACCENTS}]{{0,{longest}}}"
    words = rf"(?<![{_LETTERS}{_ACCENTS}])((?:{letter}){{{more}}})[{_LETTERS}{_ACCENTS}]+"
    others = (f"([{kind}]{{{more}}})[{kind}]+" for kind in (_ACCENTS, "\x00\ufffd"))
    return re.compile("|".join([words, *others, r"([ \t\n\r])[ \t\n\r]+"]))


def _parts(component: Any) -> list[dict[str, Any]]:
    """The fields of a normalizer or pre-tokenizer, or of those that it is made of, in order."""
    if component is None:
        return []
    try:
        fields = json.loads(component.__getstate__())
    except Exception:  # tokenizers' own, for one that is written in Python
        return [{"type": "unknown"}]
    return _flat(fields)


def _flat(fields: dict[str, Any]) -> list[dict[str, Any]]:
    inner = fields.get("pretokenizers") or fields.get("normalizers")
    return [part for one in inner for part in _flat(one)] if inner else [fields]


def _is_local(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] != "Replace":
        return normalizer["type"] in _LOCAL
    pattern = normalizer["pattern"]
    return pattern == {"Regex": " {2,}"} or " " not in pattern.get("String", " ")
