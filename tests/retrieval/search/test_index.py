"""The index finds what the model finds, and follows its corpus."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparse_model
from retrieval.arrays import write_arrays
from retrieval.search import build
from retrieval.search.__main__ import main
from retrieval.search.index import Hit, Match, SearchIndex
from retrieval.search.part import Document
from retrieval.search.snippets import snippet
from sparse_model import UserError
from tests.conftest import byte_level_tokenizer, wordpiece_tokenizer, write_jsonl
from tests.retrieval.search.conftest import documents

QUERIES = ["weather in new york", "insulin binds protein", "the red bird"]


def found(index: SearchIndex, k: int = 30) -> list[list[tuple[str, float]]]:
    return [[(hit.document.id, round(hit.score, 4)) for hit in index.search(query, k)] for query in QUERIES]


def built(search: Callable[..., int], corpus: Path, folder: str = "index", *more: object) -> SearchIndex:
    assert search(corpus, QUERIES[0], "--index", folder, *more) == 0
    return SearchIndex(folder)


def test_finds_what_the_model_finds(search: Callable[..., int], corpus: Path, tiny_model: Path) -> None:
    """Scores of dense products; what tokens add is the score; the best three are the first three of all."""
    index = built(search, corpus)
    encoder = sparse_model.load(tiny_model)
    rows = documents(*range(20))
    texts = [f"{row['title']} {row['text']}".strip() for row in rows]
    scores = (encoder.encode_queries(QUERIES) @ encoder.encode_documents(texts).T).toarray()
    for query, of_query, ranking in zip(QUERIES, scores, found(index), strict=True):
        assert dict(ranking) == pytest.approx({f"d{i}": s for i, s in enumerate(of_query) if s > 0}, abs=1e-3)
        hits = index.search(query, 3)
        assert [hit.document.id for hit in hits] == [name for name, _ in ranking[:3]]
        for hit in hits:
            assert sum(match.product for match in hit.matches) == pytest.approx(hit.score, rel=1e-4)
            explained = encoder.explain(query, f"{hit.document.title} {hit.document.text}".strip())
            assert {match.token for match in hit.matches} == {token for token, *_ in explained}


def test_follows_its_corpus(
    search: Callable[..., int], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One changed, five gone, three new: four are encoded, and the rankings are those of an index built at once."""
    built(search, corpus)
    rows = documents(*range(5, 23))
    rows[0]["text"] = "loud music in new york"
    write_jsonl(corpus, rows)
    encoded: list[int] = []
    original = build._Building._vectors
    monkeypatch.setattr(
        build._Building, "_vectors", lambda self, texts: encoded.append(len(texts)) or original(self, texts)
    )
    index = built(search, corpus)
    assert encoded == [4] and len(index) == 18 and len(index.parts) == 2
    at_once = built(search, corpus, "at-once")
    assert [sorted(ranking) for ranking in found(index)] == [sorted(ranking) for ranking in found(at_once)]
    encoded.clear()
    assert found(built(search, corpus)) == found(index) and encoded == []


def test_many_parts_become_one(search: Callable[..., int], corpus: Path) -> None:
    """Nothing is encoded for it, and rankings are those of an index built at once."""
    for last in range(20, 30):
        write_jsonl(corpus, documents(*range(last)))
        index = built(search, corpus)
    assert len(index.parts) <= build.MOST_PARTS and len(index) == 29
    assert found(index) == found(built(search, corpus, "at-once"))
    names = {part["name"] for part in json.loads(Path("index/index.json").read_text())["parts"]}
    assert {path.name for path in Path("index/parts").iterdir()} == names


def test_a_later_document_is_shaped_like_the_first(search: Callable[..., int], corpus: Path) -> None:
    """The average length and what is cut stay as they were counted first."""
    shape = "--lexical-share", "0.5", "--max-active-dims", "12"
    built(search, corpus, "index", *shape)
    before = Path("index/shape.safetensors").read_bytes()
    write_jsonl(corpus, documents(*range(25)))
    index = built(search, corpus, "index", *shape)
    assert Path("index/shape.safetensors").read_bytes() == before
    assert (np.diff(index.parts[1].index.documents().indptr) <= 12).all() and len(index) == 25


def test_what_was_stopped_is_gone_on_with(
    search: Callable[..., int], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before index.json is written, and while a part is: no index is there, and the next command makes it."""
    for name in ("write_json", "write_part"):
        with monkeypatch.context() as patched:
            patched.setattr(build, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            assert search(corpus, QUERIES[0], "--index", "index") == 1
        with pytest.raises(UserError, match="holds no search index"):
            SearchIndex("index")
    assert found(built(search, corpus)) == found(built(search, corpus, "undisturbed"))


def test_a_document_counts_once(search: Callable[..., int], tmp_path: Path) -> None:
    """Of its passages the best one is shown."""
    rows = [{**row, "metadata": {"passage_of": f"doc{n // 3}"}} for n, row in enumerate(documents(*range(12)))]
    index = built(search, write_jsonl(tmp_path / "passages.jsonl", rows))
    for query in QUERIES:
        hits = index.search(query, 4)
        parents = [hit.document.parent for hit in hits]
        assert len(set(parents)) == len(parents)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_what_is_damaged_is_named(search: Callable[..., int], corpus: Path) -> None:
    built(search, corpus)
    part = next(Path("index/parts").iterdir()) / "postings.safetensors"
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged; remove index"):
        SearchIndex("index")


def test_mistakes(search: Callable[..., int], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert search(tmp_path / "absent", "x") == 2
    assert search(corpus, "x", "--index", "full") == 2
    assert search(corpus, "x", "-k", "0") == 2
    assert search(corpus, "x", "--lexical-share", "-1") == 2
    assert search(corpus, "x", "--max-active-dims", "0") == 2
    assert search(corpus, "x", "--index", "index") == 0
    assert search(corpus, "x", "--index", "index", "--max-active-dims", "5") == 2
    said = capsys.readouterr().err
    for words in (
        "absent: no such file or folder",
        "full holds notes.txt and no index",
        "k: 0; from 1",
        "--lexical-share: -1.0",
        "--max-active-dims: 0",
        "index is an index of another model or shape",
    ):
        assert words in said, words
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_queries_go_through_the_model_of_the_index(
    search: Callable[..., int], corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = sparse_model.load(tiny_model, inf_free=False)
    for name, weight in (("one", 1.0), ("other", 2.0)):
        next(encoder.parameters()).data.mul_(weight)
        encoder.save(tmp_path / name)
    words = [str(corpus), "insulin", "--index", "index", "--use-cpu"]
    assert main([str(tmp_path / "one"), *words]) == 0
    assert main([str(tmp_path / "one"), "index", "insulin", "--use-cpu"]) == 0
    capsys.readouterr()
    assert main([str(tmp_path / "other"), "index", "insulin", "--use-cpu"]) == 2
    assert "is an index of" in capsys.readouterr().err


def test_what_a_user_has_stays(search: Callable[..., int], corpus: Path) -> None:
    """A folder whose files are called like an index's is none; nor is anything removed beside an index's own parts."""
    mine = Path("mine/parts/notes/thesis.txt")
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert search(corpus, "x", "--index", "mine") == 2
    built(search, corpus)
    beside = Path("index/parts/notes.txt")
    beside.write_text("mine")
    write_jsonl(corpus, documents(*range(22)))
    built(search, corpus)
    assert mine.read_text() == beside.read_text() == "mine"


def test_a_stopped_building_leaves_no_table_of_another_model(
    search: Callable[..., int], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(build, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert search(corpus, "x", "--index", "index") == 1
    table = Path("index/query/weights.safetensors")
    expected = table.read_bytes()
    write_arrays(table, {"weight": np.full(3, 7, np.float32)})
    built(search, corpus)
    assert table.read_bytes() == expected


def test_mistakes_are_told_before_anything_is_encoded(
    search: Callable[..., int], corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("mine")
    Path("damaged").mkdir()
    Path("damaged/index.json").write_text('{"format": 1}')
    for words, said in (
        (("x", "-k", "0"), "k: 0; from 1"),
        (("--serve", "--port", "-1"), "--port -1: from 0"),
        (("x", "--index", "file"), "--index: file is no folder; name another"),
        (("x", "--index", "/proc/x"), "--index: /proc/x cannot be written (/proc: "),
        (("x", "--index", "damaged"), "damaged/index.json is damaged; remove damaged"),
    ):
        assert search(corpus, *words) == 2
        assert said in capsys.readouterr().err
    assert not Path("output").exists() and Path("file").read_text() == "mine"


def test_a_snippet_marks_words_and_finds_the_best_place(search: Callable[..., int], corpus: Path) -> None:
    index = built(search, corpus)
    [hit] = index.search("insulin", 1)
    text = "music " * 100 + "here insulin binds " + "music " * 100
    pieces = snippet(Hit(Document("x", "", text, "", ""), hit.score, hit.matches), index.tokenizer, 80)
    shown = "".join(text for text, _ in pieces)
    assert shown.startswith("… ") and shown.endswith(" …") and len(shown) <= 90
    assert [text for text, is_marked in pieces if is_marked] == ["insulin"]
    assert snippet(Hit(Document("x", "", "", "", ""), 1.0, hit.matches), index.tokenizer) == []


@pytest.mark.parametrize("make_tokenizer", [wordpiece_tokenizer, byte_level_tokenizer])
@pytest.mark.parametrize(
    "text",
    ["rain " * 2_000_000, "x" * 10_000_000, "東京雨" * 3_333_333, "x" * 5_000_000 + " rain" * 1_000_000],
    ids=["every word counts", "one word", "no spaces", "a word, then all that counts"],
)
def test_ten_megabytes_are_shown_at_once(make_tokenizer: Callable[[], Any], text: str) -> None:
    """In seconds of this process; half of one is ten times what it takes."""
    tokenizer = make_tokenizer()
    matches = [Match(id, "", 1.0, 1.0) for id in tokenizer(" rain", add_special_tokens=False)["input_ids"]]
    started = time.process_time()
    pieces = snippet(Hit(Document("x", "", text, "", ""), 1.0, matches), tokenizer)
    assert time.process_time() - started < 0.5
    assert sum(len(text) for text, _ in pieces) < 260


def test_a_text_that_is_moved_has_its_new_name(
    search: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Contents and the last part of the path are as they were."""
    for name in ("a/x.txt", "b/y.txt"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True)
        (tmp_path / "texts" / name).write_text("insulin binds")
    assert search("texts", "insulin", "--index", "index") == 0
    (tmp_path / "texts" / "a").rename(tmp_path / "texts" / "A")
    capsys.readouterr()
    assert search("texts", "insulin", "--index", "index", "--json") == 0
    assert {hit["id"] for hit in json.loads(capsys.readouterr().out)["hits"]} == {"A/x.txt", "b/y.txt"}


def test_an_index_is_asked_as_what_it_is(
    search: Callable[..., int], corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named in place of the documents, it answers for no other model and in no other shape."""
    assert search(corpus, "insulin", "--index", "index", "--max-active-dims", "5") == 0
    assert search("index", "insulin") == 0 == search("index", "insulin", "--max-active-dims", "5")
    for options in (["--max-active-dims", "6"], ["--lexical-share", "1"]):
        assert search("index", "insulin", *options) == 2
        assert "or shaped otherwise; name what it is of" in capsys.readouterr().err
    assert main(["another", "index", "insulin"]) == 2
    assert "index is an index of" in capsys.readouterr().err
