"""Texts whose characters were encoded twice."""

import json
import os
from pathlib import Path

import pytest

from mining.repair import repair

TEXTS = [
    "it’s 5 €",
    "R.I.—died 1806",
    "société anonyme",
    "« été »",
    "Здравствуйте",
    "日本の本",
    "10 °C ± 2",
    "naïve café…",
]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_double_encoded_texts_are_mended(encoding: str) -> None:
    damaged = []
    for text in TEXTS:
        try:
            damaged.append(text.encode().decode(encoding))
        except UnicodeDecodeError:  # cp1252 has no character for five of the bytes
            continue
    assert len(damaged) >= 5 and all(repair(text) != text for text in damaged)
    assert set(map(repair, damaged)) <= set(TEXTS)


def test_healthy_texts_stay_as_they_are() -> None:
    healthy = [*TEXTS, "", "plain", "SÃO PAULO", "MÜNCHEN’S", "Ελληνικά", "Tiếng Việt", "à la carte", "½ × ¾", "“À”"]
    assert [*map(repair, healthy)] == healthy


def test_a_damaged_part_of_a_healthy_text_is_mended() -> None:
    assert repair("“good” but donâ€™t") == "“good” but don’t"


@pytest.mark.realdata
@pytest.mark.skipif("SPARSE_SHARED" not in os.environ, reason="SPARSE_SHARED names no folder of real data")
def test_ms_marco_agrees_with_decoding_whole_passages() -> None:
    """Where a whole passage can be decoded a second time, that is what it was; two in a thousand are damaged twice."""
    path = Path(os.environ["SPARSE_SHARED"], "beir/trec-dl-mini/corpus.jsonl")
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    mended = [*map(repair, texts)]
    compared = different = 0
    for text, found in zip(texts, mended, strict=True):
        try:
            expected = text.encode("latin-1").decode()
        except UnicodeError:
            continue
        compared += not text.isascii()
        different += found != expected
    assert (
        sum(a != b for a, b in zip(texts, mended, strict=True)) > 5000
        and compared > 5000
        and different < 0.002 * compared
    )
