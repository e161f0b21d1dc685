"""Queries made of passages: each kind by hand, and the folder that holds rows on one side and queries on the other."""

import json
import random
from pathlib import Path

import pytest

from pairs.beir import pairs
from pairs.pseudo import main as command
from pairs.pseudo import make_pseudo, read_log, side
from pairs.pseudo_queries import KEPT, KINDS, Passage, Query, Rarity, drawn, several
from retrieval.beir_data import load_beir
from sparse_model.errors import UserError

PASSAGE = Passage(
    "d#2",
    "d",
    "Aspirin",
    "Use",
    "Use\nAspirin blocks pain in most adults. It thins the blood after a stroke.\nToo short. "
    "Some take 1 a day, every day.",
)


def asked(kind: str, seed: int = 0, rarity: Rarity | None = None) -> Query | None:
    return KINDS[kind](PASSAGE, random.Random(seed), rarity or Rarity())


def test_each_kind_by_hand() -> None:
    """Two of the passage's sentences have fewer than 4 words and ask nothing."""
    assert asked("titles") == Query("Aspirin", "Aspirin") and asked("headings") == Query("Use", "Use")
    first = "Aspirin blocks pain in most adults."
    assert asked("first_sentences") == Query(first, first)
    clozes = {asked("cloze", seed).text for seed in range(50)}  # type: ignore[union-attr]
    assert clozes == {first, "It thins the blood after a stroke.", "Some take 1 a day, every day."}
    words = PASSAGE.text.split()
    for seed in range(20):
        span = asked("spans", seed).text.split()  # type: ignore[union-attr]
        assert 3 <= len(span) <= 8 and " ".join(span) in " ".join(words) and asked("spans", seed).gone == ""  # type: ignore[union-attr]


def test_keywords_are_drawn_by_idf() -> None:
    """aspirin stands in 1 of 10 passages (ln 10, twice here), the in 8 (too common to ask by), blood in 2."""
    rarity = Rarity()
    for number in range(10):
        rarity.add(" ".join(["aspirin"] * (number == 0) + ["the"] * (number < 8) + ["blood blood"] * (number < 2)))
    assert rarity.idf("aspirin") == pytest.approx(2.302585) and rarity.idf("the") == 0
    assert rarity.idf("blood") == pytest.approx(1.609438)
    found = [asked("keywords", seed, rarity).text.split() for seed in range(300)]  # type: ignore[union-attr]
    assert all(2 <= len(words) == len(set(words)) <= 5 and "the" not in words for words in found)
    first = [words[0] for words in found]
    assert first.count("aspirin") > 1.5 * first.count("blood"), "2 · 2.3 against 1.6"


def test_a_log_says_how_long_and_of_what(tmp_path: Path) -> None:
    """All queries of the log have one word, mostly stroke: so have keywords; spans have two at least."""
    (tmp_path / "log.txt").write_text("stroke\n\nStroke\nadults\n" + "stroke\n" * 50)
    log = read_log(tmp_path / "log.txt")
    rarity = Rarity(log)
    for text in (PASSAGE.whole, *["other words"] * 9):
        rarity.add(text)
    found = [asked("keywords", seed, rarity).text for seed in range(100)]  # type: ignore[union-attr]
    assert len(log) == 53 and all(len(words.split()) == 1 for words in found) and found.count("stroke") > 50
    assert {len(span.text.split()) for seed in range(9) if (span := asked("spans", seed, rarity))} == {2}
    (tmp_path / "log.jsonl").write_text('{"text": "a b"}\n{"query": "c"}\n[]\n')
    with pytest.raises(UserError, match="log.jsonl:3: no query"):
        read_log(tmp_path / "log.jsonl")
    (tmp_path / "none.txt").write_text("\n \n")
    with pytest.raises(UserError, match="holds no query"):
        read_log(tmp_path / "none.txt")


def test_several_queries_of_one_document_leave_each_other_answered() -> None:
    """Each of another kind; a span stands in what title and sentence leave; of one alone, any kind comes."""
    first = set()
    for seed in map(str, range(60)):
        found = several(["titles", "spans", "cloze"], [PASSAGE], 9, seed, Rarity())
        asked = {kind: query for kind, _, query in found}
        assert list(asked) in (["titles", "cloze", "spans"], ["cloze", "titles", "spans"])
        left = PASSAGE.without(asked["titles"].gone).without(asked["cloze"].gone)
        assert asked["spans"].text in " ".join(left.text.split())
        [(kind, _, _)] = several(["titles", "cloze", "spans"], [PASSAGE], 1, seed, Rarity())
        first.add(kind)
    assert first == {"titles", "cloze", "spans"}


def test_what_a_passage_loses() -> None:
    """The title, or the sentence wherever it stands; one in ten stays whole; too little text is no answer."""
    assert PASSAGE.without("Aspirin").title == "" and "blocks pain" in PASSAGE.without("Aspirin").text
    assert "stroke" not in PASSAGE.without("It thins the blood after a stroke.").text
    whole = sum(drawn("cloze", PASSAGE, str(seed), Rarity())[1] == PASSAGE for seed in range(2000))  # type: ignore[index]
    assert 0.7 * KEPT < whole / 2000 < 1.3 * KEPT
    assert drawn("titles", Passage("x", "x", "Title", "", "too few words"), "1", Rarity()) is None
    assert drawn("headings", Passage("x", "x", "Title", "", "w " * 30), "1", Rarity()) is None


def corpus(folder: Path, documents: int) -> Path:
    """Documents of two passages each, of words of their own."""
    folder.mkdir()
    with open(folder / "corpus.jsonl", "w") as file:
        for i in range(documents):
            for part in (1, 2):
                own = " ".join(f"word{i}x{part}x{j} is here" for j in range(6))
                text = f"The first part{i}x{part} of it all stands here. {own.capitalize()}. The last{i} ends it now."
                metadata = {"passage_of": f"d{i}", "heading": f"Heading {i}"}
                file.write(
                    json.dumps({"_id": f"d{i}#{part}", "title": f"Title {i}", "text": text, "metadata": metadata})
                    + "\n"
                )
    return folder


def test_the_folder(tmp_path: Path) -> None:
    """A BEIR folder with two held-out splits; no document of theirs has a row; an asked document lacks the query."""
    record = make_pseudo(corpus(tmp_path / "in", 200), tmp_path / "out", ["titles", "cloze"])
    data = {split: load_beir(str(tmp_path / "out"), "", split) for split in ("dev", "test")}
    assert record["documents"] == 200 and record["passages"] == 400 == len(data["dev"].doc_ids)
    judged = {split: [next(iter(of)) for of in found.qrels.values()] for split, found in data.items()}
    assert len(judged["dev"]) == record["dev"] > 15 and set(judged["dev"]).isdisjoint(judged["test"])
    rows = [json.loads(line) for line in (tmp_path / "out/train.jsonl").read_text().splitlines()]
    train = [i for i in range(200) if side(f"d{i}", "42", 0.15) == "train"]
    assert len(rows) == record["rows"] == 2 * 2 * len(train) and {row["kind"] for row in rows} == {"titles", "cloze"}
    texts = " ".join(row["pos"] for row in rows)
    assert not any(f"word{document[1:]}x1x0 " in texts for document in judged["dev"] + judged["test"])
    kept = 0
    for qid, query in zip(data["dev"].query_ids, data["dev"].queries, strict=True):
        [document] = data["dev"].qrels[qid]
        found = " ".join(
            t for i, t in zip(data["dev"].doc_ids, data["dev"].texts, strict=True) if i.startswith(f"{document}#")
        )
        kept += query in found
    assert kept < 0.35 * len(judged["dev"])


def test_twice_the_same_bytes_and_nothing_overwritten(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "in", 150)
    for name in ("one", "two"):
        make_pseudo(folder, tmp_path / name)
    for name in ("corpus.jsonl", "train.jsonl", "queries.jsonl", "qrels/dev.tsv", "pseudo.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with pytest.raises(UserError, match="of something else, or otherwise"):
        make_pseudo(folder, tmp_path / "one", ["cloze"])


def test_copies_are_on_neither_side(tmp_path: Path) -> None:
    """Two documents of the same text give no row and no query, and a title of two asks nothing."""
    folder = corpus(tmp_path / "in", 150)
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    copies = [json.dumps({**json.loads(line), "_id": f"c{i}", "metadata": {}}) for i, line in enumerate(lines[::2])]
    (folder / "corpus.jsonl").write_text("\n".join([*lines, *copies]) + "\n")
    make_pseudo(folder, tmp_path / "out", ["cloze", "titles"])
    rows = (tmp_path / "out/train.jsonl").read_text()
    assert '"kind": "titles"' not in rows and "part0x1" not in rows and "x1x0" not in rows and "x2x0" in rows
    queries = [json.loads(line)["_id"] for line in (tmp_path / "out/queries.jsonl").read_text().splitlines()]
    assert queries and all(name.startswith("cloze:") and name.endswith("#2") for name in queries)


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = corpus(tmp_path / "few", 12)
    for words, message in [
        ([str(few), "--kinds", "titels"], "titels: unknown; there are titles"),
        ([str(few), "--kinds", ","], "name at least one"),
        ([str(tmp_path)], "python -m mining.documents FOLDER OUT makes one"),
        ([str(few), "--rows", "0"], "rows: 0; 1 or more"),
        ([str(few), "--queries", str(tmp_path / "gone")], "gone: no such file"),
        ([str(few)], "its 12 documents give too few queries"),
    ]:
        assert command([words[0], str(tmp_path / "out"), *words[1:]]) == 2
        assert message in capsys.readouterr().err
    assert command([str(few), str(few / "corpus.jsonl")]) == 2
    assert "corpus.jsonl is no folder; name another" in capsys.readouterr().err
    assert not (tmp_path / "out/train.jsonl").exists()
    assert make_pseudo(corpus(tmp_path / "more", 150), tmp_path / "out")["dev"] >= 10, (
        "what was cut short is made again"
    )


def test_pairs_of_documents_that_were_cut(tmp_path: Path) -> None:
    """A judged document is its passages one after another."""
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "d#1", "text": "one", "metadata": {"passage_of": "d"}}\n'
        '{"_id": "d#2", "text": "two", "metadata": {"passage_of": "d"}}\n'
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "ask"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/test.tsv").write_text("q\td\t1\n")
    assert list(pairs(load_beir(str(tmp_path), "", "test"))) == [{"query": "ask", "pos": "one two"}]
