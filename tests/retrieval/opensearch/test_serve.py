"""python -m retrieval.opensearch.serve on a real node: a folder of texts becomes an index behind an alias."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sparse_model
from retrieval.opensearch.client import Server
from retrieval.opensearch.features import feature_names, stored_precision, sum_of_features
from retrieval.opensearch.ingest import Loader
from retrieval.opensearch.serve import main
from sparse_model import RunError
from sparse_model.vocabulary import tokens_by_id
from tests.conftest import SENTENCES, write_jsonl

pytestmark = [pytest.mark.opensearch, pytest.mark.xdist_group("opensearch")]

TEXTS = [" ".join((SENTENCES[i % 6] + " " + SENTENCES[i // 6]).split()[i % 5 : 9 + i % 7]) for i in range(36)]


@pytest.fixture
def clean(server: Server) -> Iterator[Server]:
    """The node, without what was served on it afterwards."""
    yield server
    for row in server.call("GET", "/_cat/indices/served-*", params={"format": "json"}):
        server.call("DELETE", f"/{row['index']}")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    for i, text in enumerate(TEXTS):
        (tmp_path / "texts" / f"{i:02}.txt").write_text(text)
    return tmp_path / "texts"


def serve(server: Server, folder: Path, *words: object) -> int:
    url = server.address
    return main([*map(str, words), "--url", url, "--index", "served", "--work", str(folder / "work"), "--use-cpu"])


def behind(server: Server) -> list[str]:
    return sorted(server.call("GET", "/_alias/served", missing={}))


def test_a_folder_of_texts(
    clean: Server, any_model: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found in the exact order, with their texts, by the names that were asked for."""
    names = ["--field", "vector", "--text-field", "body"]
    assert serve(clean, tmp_path, any_model, texts, *names, "--query", "loud music") == 0
    said = capsys.readouterr().out
    encoder = sparse_model.load(any_model)
    query = encoder.encode_queries(["loud music"])
    scores = (query @ stored_precision(encoder.encode_documents(TEXTS)).T).toarray()[0]
    features = feature_names(tokens_by_id(encoder.tokenizer, encoder.vocabulary_size))
    body = {"query": sum_of_features("vector", features, query.indices, query.data), "size": 36}
    hits = clean.call("POST", "/served/_search", body)["hits"]["hits"]
    assert [hit["_score"] for hit in hits] == pytest.approx(np.sort(scores[scores > 0])[::-1].tolist(), rel=1e-6)
    assert all(hit["_source"] == {"title": "", "body": TEXTS[int(hit["_id"][:2])]} for hit in hits)
    assert "36 documents" in said and f"{hits[0]['_id']}  {hits[0]['_source']['body'][:20]}" in said
    text = clean.call("POST", "/served/_search", {"query": {"match": {"body": "music"}}})
    assert text["hits"]["total"]["value"] == sum("music" in text.split() for text in TEXTS)
    assert serve(clean, tmp_path, any_model, *names, "--query", "cold rain") == 0
    assert "'cold rain': 3 hits" in capsys.readouterr().out


def test_the_old_index_stays_until_the_new_one_is_whole(
    clean: Server, tiny_model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that is stopped leaves the alias where it was; the same command goes on and leads it to the new one."""
    rows = [{"_id": f"d{i}", "title": f"t{i}", "text": TEXTS[i % 36], "year": 2000 + i} for i in range(1100)]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", rows)
    assert serve(clean, tmp_path, tiny_model, texts) == 0
    (old,) = behind(clean)
    take = Loader._take

    def stopped(self, block) -> None:
        take(self, block)
        raise RunError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "_take", stopped)
        assert serve(clean, tmp_path, tiny_model, corpus) == 1
    assert behind(clean) == [old]
    assert serve(clean, tmp_path, tiny_model, corpus) == 0
    (new,) = behind(clean)
    assert new != old and clean.call("GET", f"/{old}", missing={}) == {}
    assert clean.call("GET", "/served/_count")["count"] == 1100
    assert clean.call("GET", "/served/_doc/d7")["_source"] == {"title": "t7", "text": TEXTS[7], "year": 2007}
    assert serve(clean, tmp_path, tiny_model, texts, "--keep-old", "--lexical-share", 0.25) == 0
    assert behind(clean) != [new] and clean.call("GET", f"/{new}/_count")["count"] == 1100


def test_mistakes(
    clean: Server, tiny_model: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = write_jsonl(tmp_path / "taken.jsonl", [{"_id": "a", "text": "cold rain", "block": 1}])
    clean.call("PUT", "/served-by-somebody")
    for words, message in [
        ([tiny_model], "CORPUS: name documents to serve"),
        ([tiny_model, "--query", "rain"], "has no such alias; serve a CORPUS first"),
        ([tiny_model, tmp_path / "gone"], "no such file or folder"),
        ([tiny_model, texts, "--field", "text"], "three different names"),
        ([tiny_model, texts, "--title-field", "a.b"], "three different names"),
        ([tiny_model, taken], "document 'a' says something of its own as block"),
        ([tiny_model, texts, "--query", "?"], "no token of it has a weight"),
        ([tiny_model, texts, "--index", "Served"], "small letters, digits"),
        ([tiny_model, texts, "--index", "served-by-somebody"], "has an index of this name"),
        ([tiny_model, texts, "--url", "ftp://x"], "not an address"),
    ]:
        url = [] if "--url" in words else ["--url", clean.address]
        index = [] if "--index" in words else ["--index", "served"]
        assert main([*map(str, words), *url, *index, "--work", str(tmp_path / "work"), "--use-cpu"]) == 2, message
        assert message in capsys.readouterr().err
