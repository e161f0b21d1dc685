"""python -m retrieval.search: JSON, lines, a prompt, the page."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

import sparse_model
from retrieval.search.__main__ import main
from retrieval.search.index import SearchIndex
from retrieval.search.serve import make_server
from tests.conftest import write_jsonl
from tests.retrieval.search.conftest import documents


def test_json_and_lines(search: Callable[..., int], corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(corpus, "weather in new york", "-k", "2", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["query"] == "weather in new york" and len(said["hits"]) == 2
    for hit in said["hits"]:
        assert sum(token["share"] for token in hit["tokens"]) == pytest.approx(1, abs=0.01)
    assert search(corpus, "weather in new york", "-k", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert said["hits"][0]["id"] in lines[0] and "%" in lines[2]
    assert search(corpus, "[SEP]") == 0
    assert "no document" in capsys.readouterr().out


def test_any_tokenizer(
    any_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exact product's ranking; what hits are made of is told by the tokens' names."""
    monkeypatch.chdir(tmp_path)
    assert main([str(any_model), str(corpus), "weather in new york", "-k", "5", "--json", "--use-cpu"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    encoder = sparse_model.load(any_model)
    texts = [f"{row['title']} {row['text']}".strip() for row in documents(*range(20))]
    scores = (encoder.encode_queries(["weather in new york"]) @ encoder.encode_documents(texts).T).toarray()[0]
    assert [hit["score"] for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:5], rel=1e-5)
    assert all(hit["score"] == pytest.approx(scores[int(hit["id"][1:])], rel=1e-5) for hit in hits)
    known = set(encoder.tokenizer.get_vocab())
    assert all(token["token"] in known for hit in hits for token in hit["tokens"])


def test_a_prompt(
    search: Callable[..., int], corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line is a query; the folder of the index does as well as the corpus."""
    monkeypatch.setattr("sys.stdin", io.StringIO("insulin\nred bird\n\nnot read\n"))
    assert search(corpus, "--json", "--index", "index") == 0
    assert [json.loads(line)["query"] for line in capsys.readouterr().out.splitlines()] == ["insulin", "red bird"]
    assert search("index", "insulin", "--json") == 0
    assert json.loads(capsys.readouterr().out)["hits"]


def test_a_query_that_is_no_utf8(
    search: Callable[..., int], corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(corpus, "insulin \udcff", "--json") == 0
    assert json.loads(capsys.readouterr().out)["query"] == "insulin ?"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"insulin\n\xff\n"), encoding="utf-8"))
    assert search(corpus) == 2
    assert "not UTF-8" in capsys.readouterr().err


@pytest.mark.process
def test_a_reader_that_ends_is_no_mystery(search: Callable[..., int], corpus: Path, tiny_model: Path) -> None:
    """As of | head: a line, and no exception of Python's."""
    assert search(corpus, "insulin", "--index", "index") == 0
    command = [sys.executable, "-m", "retrieval.search", tiny_model, "index", "insulin", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=where, check=False)
    os.close(writing)
    assert "Exception" not in done.stderr and "BrokenPipeError" not in done.stderr


def test_what_a_document_says_acts_on_no_terminal(
    search: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"_id": "a\x1b[2J", "title": "\x1b]0;x\x07", "text": "insulin \x1b[31m\u202ered"}]
    assert search(write_jsonl(tmp_path / "evil.jsonl", rows), "insulin") == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.fixture
def page(search: Callable[..., int], corpus: Path) -> Iterator[Callable[..., tuple[int, Any]]]:
    search(corpus, "insulin", "--index", "index")
    server = make_server(SearchIndex("index"), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def get(path: str, host: str | None = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        content = answer.read().decode()
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content

    yield get
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page(page: Callable[..., tuple[int, Any]]) -> None:
    status, html = page("/")
    assert status == 200 and "innerHTML" not in html and "<form" in html
    status, found = page("/search?q=insulin%20binds&k=3")
    assert status == 200 and len(found["hits"]) == 3 and found["documents"] == 20
    assert any(is_marked for _, is_marked in found["hits"][0]["snippet"])
    assert page("/search?q=")[1]["hits"] == []


def test_what_the_page_refuses(page: Callable[..., tuple[int, Any]]) -> None:
    """A name that another site made lead here, limits that are none, paths that are not there."""
    assert page("/", host="evil.example")[0] == 403
    assert page("/search?q=x", host="evil.example:8000")[0] == 403
    assert page("/search?q=x&k=0")[0] == page("/search?q=x&k=1e9")[0] == page("/search?q=x&k=101")[0] == 400
    assert page(f"/search?q={'x' * 20_000}")[0] == 400
    assert page("/../../etc/passwd")[0] == 404
    assert page("/", host="[::1")[0] == 400


def test_a_port_that_is_taken(search: Callable[..., int], corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(corpus, "insulin", "--index", "index") == 0
    server = make_server(SearchIndex("index"), "127.0.0.1", 0)
    assert search(corpus, "--serve", "--port", server.server_address[1], "--index", "index") == 2
    assert "cannot be listened on" in capsys.readouterr().err
    server.server_close()
