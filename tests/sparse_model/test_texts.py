"""What long texts are cut to before they are tokenised: the first tokens of the whole text, in every tokenizer."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sparse_model import tokens
from sparse_model.texts import breaks, runs, whole_characters
from tests.conftest import SENTENCES, byte_level_tokenizer, wordpiece_tokenizer
from tests.mining.models import unigram_tokenizer


def _with_added_tokens(**options: Any) -> PreTrainedTokenizerFast:
    tokenizer = wordpiece_tokenizer()
    tokenizer.add_tokens(["new york", "e.g.", "☃x"], **options)
    return tokenizer


def _spaced(normalizer: Any, pre_tokenizer: Any) -> PreTrainedTokenizerFast:
    """Learns pieces of SENTENCES; an unknown character is <unk>."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    special = ["<unk>", "<pad>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


def _like_xlm_roberta() -> PreTrainedTokenizerFast:
    collapse = normalizers.Replace(Regex(" {2,}"), " ")
    return _spaced(normalizers.Sequence([normalizers.NFKC(), collapse]), pre_tokenizers.Metaspace())


def _over_spaces() -> PreTrainedTokenizerFast:
    """Nothing splits: one word of a text is all of it."""
    return _spaced(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"))


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "BERT": wordpiece_tokenizer,
    "RoBERTa": byte_level_tokenizer,
    "T5": unigram_tokenizer,
    "XLM-RoBERTa": _like_xlm_roberta,
    "unknown": _over_spaces,
    "added": _with_added_tokens,
    "added special": lambda: _with_added_tokens(special_tokens=True),
}
MADE = {name: make() for name, make in TOKENIZERS.items()}

# What a cut could tear: words and their endings, runs of spaces, accents on their own, unknown and endless words,
# Chinese without spaces, special and added tokens, other white space, marks, and characters that normalisers widen.
_PIECES = (
    *("rain", "runs", "jumps", "new", "york", "New YORK", " ", "  ", " " * 40, "\n", "\t", "\r\n", "\u3000", "\u00a0"),
    *("\u0301", "e\u0301", "\u0338", "=", "\u200b", "x" * 150, "zq", "\u4e2d\u6587", "\u3042", "\ufb03", "\ufdfa", "."),
    *("[SEP]", "[", "]", "<mask>", "<", "/", "e.g.", "☃x", "☃", "!", "...", "'s", "12", "\u0130", "\u1112\u1161", "▁"),
    *("\U0001f600", "\U0001f468\u200d\U0001f469", "\u0d4e", "\x00", "-", "_", "rain ", " rain"),
)

_ENDLESS = (*_PIECES, "x" * 99, "x" * 100, "x" * 101, "X9" * 200, "\u0301", "\u00e9" * 60, "ab", "[UNK]", " \t\n" * 20)
_ENDLESS += (
    "\u0301" * 150,
    "e\u0301" * 110,
    "\x00" * 150,
    "\ufffd",
    "\u034f",
    "\u0345\u1b44",
    "a\u1b44",
    "\u00df\u0301" * 99,
)


def _whole(tokenizer: PreTrainedTokenizerFast, text: str, length: int) -> list[int]:
    """The first tokens of the text, all of which is tokenised."""
    return tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:length]


@pytest.mark.parametrize("name", MADE)
@given(pieces=st.lists(st.sampled_from(_PIECES), min_size=1, max_size=60), length=st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_a_cut_text_has_the_first_tokens_of_the_whole(name: str, pieces: list[str], length: int) -> None:
    tokenizer, text = MADE[name], "".join(pieces)
    (head,), (encoding,) = tokens._encoded(tokenizer, [text], length)
    assert text.startswith(head)
    assert encoding.ids[:length] == _whole(tokenizer, text, length)
    assert tokens.count_longer(tokenizer, [text], length) == (len(_whole(tokenizer, text, 10**9)) > length)


@pytest.mark.parametrize("name", [name for name in MADE if name != "unknown"])
def test_every_break_is_one(name: str) -> None:
    """Whatever the text: at each place where it may be cut, the tokens before are the first of all."""
    tokenizer, text = MADE[name], "".join(_PIECES) * 2
    at = breaks(tokenizer)
    if name == "added":
        assert at is not None and not at.match(" ") and at.match("\n"), "an added token holds a space"
    assert at is not None
    for place in (place for place in range(1, len(text)) if at.match(text, place)):
        before = _whole(tokenizer, text[:place], 10**9)
        assert before == _whole(tokenizer, text, len(before)), text[place - 9 : place + 9]


@pytest.mark.parametrize("name", MADE)
@given(pieces=st.lists(st.sampled_from(_ENDLESS), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_endless_words_and_spaces_are_shortened(name: str, pieces: list[str]) -> None:
    tokenizer, text = MADE[name], "".join(pieces)
    endless = runs(tokenizer)
    assert (endless is not None) == (name == "BERT"), "an added token begins with a letter"
    if endless is not None:
        assert _whole(tokenizer, endless.sub(r"\1\2\3\4", text), 10**9) == _whole(tokenizer, text, 10**9)


@pytest.mark.parametrize("clean_text", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
@pytest.mark.parametrize("lowercase", [True, False])
@given(pieces=st.lists(st.sampled_from(_ENDLESS), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_whatever_berts_normalizer_is_told(
    clean_text: bool, strip_accents: bool, lowercase: bool, pieces: list[str]
) -> None:
    tokenizer, text = MADE["BERT"], "".join(pieces)
    before = tokenizer.backend_tokenizer.normalizer
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(clean_text, True, strip_accents, lowercase)
    try:
        endless = runs(tokenizer)
        assert endless is not None
        assert _whole(tokenizer, endless.sub(r"\1\2\3\4", text), 10**9) == _whole(tokenizer, text, 10**9)
    finally:
        tokenizer.backend_tokenizer.normalizer = before


def test_what_splits_a_word_is_not_shortened() -> None:
    digits, of_letters, spaced = (wordpiece_tokenizer() for _ in range(3))
    split = [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    digits.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    of_letters.add_tokens(["[x" + "x" * 120 + "]"])
    spaced.add_tokens(["[new  york]"])
    assert [runs(tokenizer) for tokenizer in (digits, of_letters, spaced)] == [None] * 3


def test_tokenizers_of_which_nothing_is_known_read_all() -> None:
    assert breaks(MADE["unknown"]) is None
    other = byte_level_tokenizer()
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(use_regex=False)
    assert breaks(other) is None
    left = wordpiece_tokenizer()
    left.truncation_side = "left"
    text = "rain " * 500 + "sun"
    assert tokens.document_ids(left, [text], 4)[0][-2] == left.convert_tokens_to_ids("sun")


LONG = {
    "words": "rain and snow ",
    "marks": "!",
    "minified": '{"rain":1,"snow":[2]},',
    "Chinese": "\u4e2d\u6587\u3002",
    "one word": "xY1",
    "accented": "\u00e9",
    "decomposed": "e\u0301",
    "accents": "\u0301\u0302",
    "NUL": "\x00",
    "spaces": " ",
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [*(("BERT", kind) for kind in LONG), ("RoBERTa", "words"), ("RoBERTa", "minified"), ("T5", "words")],
)
def test_a_long_text_costs_what_its_first_tokens_cost(name: str, kind: str) -> None:
    """Ten megabytes take a minute otherwise. As documents, as queries and in rows of a training batch alike."""
    tokenizer = TOKENIZERS[name]()
    tokenizer.model_max_length = 64
    text = LONG[kind] * (10_000_000 // len(LONG[kind]))
    started = time.process_time()
    document, query = tokens.document_ids(tokenizer, [text], 16)[0], tokens.query_ids(tokenizer, [text])[0]
    head = tokens.beginnings(tokenizer, [text], 16)[0]
    assert time.process_time() - started < 1 and len(head) < 1000
    room = 16 - tokenizer.num_special_tokens_to_add()
    assert str(_whole(tokenizer, text[:10_000], room))[1:-1] in str(document), "framed by special tokens"
    assert set(query) <= set(_whole(tokenizer, text[:10_000], 64))


def test_half_a_surrogate_pair() -> None:
    """A whole pair is one character of Python's; a half is read as U+FFFD, as JSON's readers elsewhere do."""
    assert whole_characters("a\ud83db\udc00") == "a\ufffdb\ufffd"
    assert whole_characters(text := "caf\u00e9 \U0001f600") is text
    tokenizer = wordpiece_tokenizer()
    for ids in (tokens.query_ids, lambda t, texts: tokens.document_ids(t, texts, 9)):
        assert ids(tokenizer, ["rain \ud83d", "sun"]) == ids(tokenizer, ["rain \ufffd", "sun"])


def test_halves_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    tokens.document_ids(wordpiece_tokenizer(), ["rain \ud83d", "sun", "\udc00"], 9)
    assert "2 texts hold half of a surrogate pair" in caplog.text
