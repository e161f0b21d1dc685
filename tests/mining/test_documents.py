"""Documents of files: what is read of each kind, how it is cut, what is left out and what is refused."""

import json
import re
from pathlib import Path

import pytest

from mining.documents.__main__ import main
from mining.documents.folder import Cutting, described, make_beir
from mining.documents.markup import Section, sections_of_html, sections_of_markdown
from mining.documents.passages import count_words, passages, sentences
from mining.documents.read import Document
from retrieval.beir_data import load_beir
from sparse_model.errors import UserError


def written(folder: Path, **files: str | bytes) -> Path:
    """A folder of files; name__txt is name.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def corpus(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]


def test_markdown() -> None:
    """Front matter names the title; a # within a fence is code; links and emphasis leave their text."""
    text = (
        "---\ntitle: 'The guide'\n---\nIntro with [a link](x) and **bold**.\n\n## Use\n```\n# no heading\n```\nmy_var\n"
    )
    title, sections = sections_of_markdown(text + "\nUnder\n-----\nlast")
    assert title == "The guide"
    assert sections == [
        Section("", "Intro with a link and bold."),
        Section("Use", "# no heading\nmy_var"),
        Section("Under", "last"),
    ]
    assert sections_of_markdown("# Title\nText")[0] == "Title"
    assert sections_of_markdown("Text\n\n# Heading\nmore") == ("", [Section("", "Text"), Section("Heading", "more")])


def test_html() -> None:
    """Scripts and styles are no text, blocks end words, entities are characters."""
    page = (
        "<html><head><title>A &amp; B</title><style>p {}</style><script>if (a < b) x()</script></head><body>"
        "<p>One<p>two <b>bold</b>ly<h2>Head</h2><ul><li>x</li><li>y</li></ul><script>never</script></body>"
    )
    assert sections_of_html(page) == ("A & B", [Section("", "One\ntwo boldly"), Section("Head", "x\ny")])
    assert sections_of_html("<h1>Only</h1><p>text") == ("Only", [Section("", "text")])


def test_sentences() -> None:
    assert sentences("Dr. J. Smith came. He left, e.g. Then\nA line  folded? Yes!") == [
        "Dr.",  # an abbreviation that is not known: no harm
        "J. Smith came.",
        "He left, e.g. Then",
        "A line folded?",
        "Yes!",
    ]
    assert sentences("version 1.2 is out. really") == ["version 1.2 is out. really"]
    assert sentences("今日は。明日も。") == ["今日は。", "明日も。"] and count_words("今日は ok") == 4


def test_passages_by_hand() -> None:
    """At most 6 words: two short sections together, a long one at sentences with an overlap of 2, its heading first."""
    document = Document(
        "d",
        "T",
        [Section("", "a b c"), Section("H", "d e"), Section("G", "One two. Three four. Five six. Seven.")],
    )
    found = passages(document, 6, 0)
    assert found == [
        ("H", "a b c\nH\nd e"),
        ("G", "G One two. Three four."),
        ("G", "Five six. Seven."),
    ]
    assert [part.text for part in passages(document, 6, 2)][1:] == [
        "G One two. Three four.",
        "Three four. Five six. Seven.",
    ]
    assert passages(document, None, 0) == [("H", document.text)] == passages(document, 17, 0)
    long = Document("d", "", [Section("", "w " * 25)])
    assert [count_words(part.text) for part in passages(long, 10, 0)] == [10, 10, 5], "a sentence without an end"


def test_every_sentence_stands_in_a_passage() -> None:
    text = " ".join(f"Sentence {i} has {'word ' * (i % 9)}here." for i in range(60))
    for overlap in (0, 9):
        parts = passages(Document("d", "", [Section("", text)]), 20, overlap)
        assert all(count_words(part.text) <= 20 for part in parts)
        together = " ".join(part.text for part in parts)
        assert all(sentence in together for sentence in sentences(text))


def test_a_folder_of_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of file, one level down too; what is left out is counted and named with its reason."""
    docs = written(
        tmp_path / "docs",
        a__txt="A title\n\nThe text.",
        b__md="# B\nText of b.",
        same__txt="a  TITLE\n\nthe text.",
        empty__txt=" \n",
        binary__txt=b"\x7fELF\0\0\xff",
        latin__txt="caf\u00e9".encode("latin-1"),
        picture__png=b"\x89PNG",
        __hidden__txt="not read",
    )
    written(docs / "sub", c__html="<p>Text of c", rows__csv="id,title,text,,\nr1,T,row one,,\n,,row two,,\n")
    record = make_beir(docs, tmp_path / "out")
    assert [(row["_id"], row["title"], row["text"]) for row in corpus(tmp_path / "out")] == [
        ("a.txt", "A title", "The text."),
        ("b.md", "B", "Text of b."),
        ("sub/c.html", "", "Text of c"),
        ("r1", "T", "row one"),
        ("sub/rows.csv:2", "", "row two"),
    ]
    assert described(record) == (
        "5 documents, 0 of them cut: 5 passages; left out: 1 empty, 1 the same as an earlier one, 2 not read"
    )
    dropped = [json.loads(line) for line in (tmp_path / "out/dropped.jsonl").read_text().splitlines()]
    assert {row["document"]: row.get("same") for row in dropped}["same.txt"] == "a.txt"
    assert "latin.txt: line 1 is not UTF-8" in caplog.text and "binary.txt: binary, or UTF-16" in caplog.text
    assert "1 files are of other kinds and not read: 1 .png" in caplog.text


def test_twice_the_same_bytes_and_nothing_overwritten(tmp_path: Path) -> None:
    docs = written(tmp_path / "docs", a__txt="First words. " * 30, b__txt="Other words. " * 30)
    make_beir(docs, tmp_path / "one", Cutting(words=20, overlap=5))
    make_beir(docs, tmp_path / "two", Cutting(words=20, overlap=5))
    for name in ("corpus.jsonl", "documents.json", "dropped.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    before = (tmp_path / "one/corpus.jsonl").stat().st_mtime_ns
    make_beir(docs, tmp_path / "one", Cutting(words=20, overlap=5))
    assert (tmp_path / "one/corpus.jsonl").stat().st_mtime_ns == before, "it is there already"
    with pytest.raises(UserError, match="of something else, or otherwise"):
        make_beir(docs, tmp_path / "one", Cutting(words=30))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(UserError, match="by something else"):
        make_beir(docs, tmp_path / "mine")


def test_a_beir_folder_keeps_its_judgements(tmp_path: Path) -> None:
    """Its corpus alone is read, the same documents stay, and passages lead back to what is judged."""
    long = '{"_id": "d1", "title": "T", "text": "%s"}\n' % ("Some words here. " * 8)
    beir = written(
        tmp_path / "beir",
        corpus__jsonl=long + '{"_id": "d2", "text": "x"}\n{"_id": "d3", "text": "x"}\n',
        queries__jsonl='{"_id": "q1", "text": "words"}\n',
    )
    written(beir / "qrels", test__tsv="query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    record = make_beir(beir, tmp_path / "out", Cutting(words=12))
    assert (record["documents"], record["passages"], record["longest"]) == (3, 4, 2)
    data = load_beir(str(tmp_path / "out"), "", "test")
    assert data.doc_ids == ["d1#1", "d1#2", "d2", "d3"] and data.passage_of == {"d1#1": "d1", "d1#2": "d1"}
    assert data.texts[1].startswith("T Some words") and data.qrels == {"q1": {"d1": 1}}
    assert not any("not in the corpus" in note for note in data.notes)


MISTAKES = {
    "no such folder": ({}, "missing", "no such folder or file"),
    "empty folder": ({}, "", "there is nothing in it"),
    "only pictures": ({"a__png": b"x"}, "", "there is only 1 .png in it; documents are read of .txt"),
    "only binary": ({"a__txt": b"\0\1"}, "", r"no document is left \(1 not read: a.txt: binary"),
    "only empty": ({"a__txt": "", "b__md": "\n"}, "", r"no document is left \(2 empty: a.txt\)"),
    "a picture": ({"a__png": b"x"}, "a.png", "documents are read of"),
    "no column": (
        {"a__csv": "name,body\nx,y\n"},
        "",
        r"no column text; there are name, body. Name them \(document_columns",
    ),
    "json line": ({"a__jsonl": '{"text": "x"}\n{"text": \n'}, "", r"a.jsonl:2: not valid JSON"),
    "json list": ({"a__jsonl": "[1]\n"}, "", r"a.jsonl:1: not a JSON object"),
    "not UTF-8 rows": ({"a__jsonl": b'{"text": "x"}\n{"text": "\xe9"}\n'}, "", r"a.jsonl:2: not UTF-8"),
    "no text": ({"a__jsonl": '{"text": 3}\n'}, "", r"a.jsonl:1: text is no text \(int\)"),
    "csv fields": ({"a__csv": "id,text\n1,x,y\n"}, "", r"a.csv:2: other fields than the first line names"),
    "csv columns": ({"a__csv": "id,text,text\n1,x,y\n"}, "", "a.csv: more than one column is named text; rename all"),
    "csv not UTF-8": ({"a__csv": b"id,text\n1,\xe9\n"}, "", r"a.csv: not UTF-8 after line 1"),
    "parquet": ({"a__parquet": b"no"}, "", "a.parquet: cannot be read after row 0"),
    "one id twice": ({"a__jsonl": '{"id": "x", "text": "a"}\n{"id": "x", "text": "b"}\n'}, "", "id 'x' stands twice"),
    "an id of two lines": (
        {"a__jsonl": '{"id": "x\\ny", "text": "a"}\n'},
        "",
        "a.jsonl:1: its id holds a tab or a line",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its message and exit code 2, and nothing is left."""
    files, name, message = MISTAKES[case]
    written(tmp_path / "docs", **files)  # type: ignore[arg-type]
    assert main([str(tmp_path / "docs" / name), str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told) and told.startswith("error: ")
    assert not (tmp_path / "out/corpus.jsonl").exists()


def test_a_file_that_is_too_large_for_one_document(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    docs = written(tmp_path / "docs", a__txt="text")
    with open(docs / "huge.txt", "wb") as file:
        file.truncate(200 * 2**20)
    make_beir(docs, tmp_path / "out")
    assert "huge.txt: 200 MiB are too many for one document" in caplog.text


def test_where_it_may_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = written(tmp_path / "docs", a__txt="text")
    assert main([str(docs), str(docs / "out")]) == 2 and "would be read as documents" in capsys.readouterr().err
    assert main([str(docs), str(tmp_path / "out"), "--words", "3"]) == 2 and "10 or more" in capsys.readouterr().err
    assert main([str(docs), str(tmp_path / "out"), "--columns", "body=x"]) == 2
    assert main([str(docs), str(tmp_path / "out"), "--overlap", "150"]) == 2
    assert main([str(docs), str(tmp_path / "out")]) == 0 and "1 documents" in capsys.readouterr().out


def test_named_columns_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    docs = tmp_path / "pages.parquet"
    parquet.write_table(pa.table({"key": [7, 8], "body": ["one", "two"], "name": ["N", None]}), docs)
    make_beir(docs, tmp_path / "out", Cutting(columns={"text": "body", "title": "name", "id": "key"}))
    assert [(row["_id"], row["title"], row["text"]) for row in corpus(tmp_path / "out")] == [
        ("7", "N", "one"),
        ("8", "", "two"),
    ]
    with pytest.raises(UserError, match="no column subject"):
        make_beir(docs, tmp_path / "other", Cutting(columns={"text": "body", "title": "subject"}))
