"""python -m retrieval.encode: every form read back and scored, every kind of corpus, what was stopped, mistakes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, load_npz, vstack

import sparse_model
from retrieval.encode.__main__ import main
from retrieval.encode.formats import FORMATS, half_precision, hundredths
from retrieval.opensearch.features import feature_names, stored_precision
from sparse_model.lexical import TrainedShare
from sparse_model.pruning import Cut
from sparse_model.vocabulary import tokens_by_id
from tests.conftest import SENTENCES, write_jsonl
from tests.processes import ranks

TEXTS = [" ".join((SENTENCES[i % 6] + " " + SENTENCES[i // 6 % 6]).split()[i % 5 : 7 + i % 11]) for i in range(40)]
QUERIES = ["weather in new york", "insulin binds protein", "loud music.", "the red bird"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS)]
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", rows)


@pytest.fixture(scope="module")
def queries(corpus: Path) -> Path:
    return write_jsonl(corpus.with_name("queries.jsonl"), [{"_id": f"q{i}", "text": q} for i, q in enumerate(QUERIES)])


def encode(*words: object) -> int:
    return main([*map(str, words), "--use-cpu"])


def read_rows(path: Path, names: list[str]) -> tuple[list[str], csr_matrix]:
    """Ids and weights [n, V] of a file of any form, by none of the code that wrote it."""
    column = {name: j for j, name in enumerate(names)}
    ids, pairs = [], []
    if path.suffix == ".npz":
        with np.load(path) as file:
            ids = file["ids.txt"].decode().split("\n")
        return ids, load_npz(path)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        for row in parquet.read_table(path).to_pylist():
            ids.append(row["id"])
            pairs.append(dict(zip(row["indices"], row["values"], strict=True)))
    elif path.suffix == ".tsv":
        for line in path.read_text().splitlines():
            name, words = line.split("\t")
            ids.append(name)
            counted = {word: words.split(" ").count(word) for word in words.split(" ")}
            pairs.append({column[word]: n for word, n in counted.items()})
    else:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if path.suffix == ".ndjson":
            lines = [
                {"id": a["index"]["_id"], "vector": b["text_sparse"]}
                for a, b in zip(lines[::2], lines[1::2], strict=True)
            ]
        for line in lines:
            ids.append(line["id"])
            if "body" in line:
                clauses = [clause["rank_feature"] for clause in line["body"]["query"]["bool"]["should"]]
                line["vector"] = {c["field"].removeprefix("text_sparse."): c["boost"] for c in clauses}
            pairs.append({column[token]: weight for token, weight in line["vector"].items()})
    found = np.zeros((len(ids), len(names)), np.float32)
    for n, row in enumerate(pairs):
        for j, weight in row.items():
            found[n, j] = weight
    return ids, csr_matrix(found)


ROUNDED: dict[str, Callable[[csr_matrix], csr_matrix]] = {
    "opensearch-bulk": stored_precision,
    "seismic": half_precision,
    "anserini": hundredths,
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_gives_back_what_scores_alike(
    form: str, corpus: Path, queries: Path, any_model: Path, tmp_path: Path
) -> None:
    """Exactly the model's vectors, in the engine's precision; so the ranking is that of the exact product."""
    assert encode(any_model, corpus, tmp_path / "out", "--format", form, "--queries", queries) == 0
    encoder = sparse_model.load(any_model)
    names = tokens_by_id(encoder.tokenizer, encoder.vocabulary_size)
    assert json.loads((tmp_path / "out" / "vocabulary.json").read_text()) == names
    names = feature_names(names) if form == "opensearch-bulk" else names
    says = json.loads((tmp_path / "out" / "encoding.json").read_text())
    *files, asked = [read_rows(tmp_path / "out" / name, names) for name in says["files"]]
    ids, documents = [name for part, _ in files for name in part], vstack([weights for _, weights in files])
    assert ids == [f"d{i}" for i in range(len(TEXTS))] and asked[0] == [f"q{i}" for i in range(len(QUERIES))]
    expected, by = encoder.encode_documents(TEXTS), encoder.encode_queries(QUERIES)
    rounded = ROUNDED.get(form, lambda weights: weights)(expected)
    assert (documents != rounded).nnz == 0 and documents.nnz > 100
    assert (asked[1] != (hundredths(by) if form == "anserini" else by)).nnz == 0
    scores, found = (by @ expected.T).toarray(), (asked[1] @ documents.T).toarray()
    scores = scores * 10_000 if form == "anserini" else scores
    assert np.allclose(scores, found, rtol=0.02 if form == "anserini" else 0.004, atol=0) and scores.max() > 1


def test_a_document_that_comes_later_is_shaped_as_the_corpus_was(
    corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Cut by rarity and with a share, by the statistics of the first corpus."""
    shape = ["--lexical-share", 0.5, "--lexical-idf", "--max-active-dims", 5, "--cut-by", "weight_df"]
    assert encode(tiny_model, corpus, tmp_path / "a", "--format", "csr", *shape) == 0
    assert max(np.diff(load_npz(tmp_path / "a" / "documents.npz").indptr)) == 5
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "x.txt").write_text(TEXTS[7])
    assert encode(tiny_model, tmp_path / "later", tmp_path / "b", "--format", "csr", "--like", tmp_path / "a") == 0
    later, first = (load_npz(tmp_path / name / "documents.npz") for name in "ba")
    assert (later != first[7]).nnz == 0


def test_another_form_of_kept_vectors_encodes_nothing(
    corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ["--vectors", tmp_path / "vectors"]
    assert encode(tiny_model, corpus, tmp_path / "a", "--format", "jsonl", *kept) == 0
    monkeypatch.setattr("sparse_model.encoder.encode_block", None)
    assert encode(tiny_model, corpus, tmp_path / "b", "--format", "csr", "--prune-ratio", 0.5, *kept) == 0
    assert load_npz(tmp_path / "b" / "documents.npz").nnz > 100 and not (tmp_path / "b" / ".work").exists()


def test_every_kind_of_corpus_is_the_same_corpus(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": [f"d{i}" for i in range(40)], "contents": TEXTS}), tmp_path / "c.parquet")
    write_jsonl(tmp_path / "c.jsonl", [{"docid": f"d{i}", "body": text} for i, text in enumerate(TEXTS)])
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    for i, text in enumerate(TEXTS):
        (tmp_path / "texts" / "deep" / f"{i:02}.md").write_text(text)
    found = {}
    for name, source in {
        "beir": corpus.parent,
        "parquet": tmp_path / "c.parquet",
        "jsonl": tmp_path / "c.jsonl",
        "texts": tmp_path / "texts",
    }.items():
        assert encode(tiny_model, source, tmp_path / "out" / name, "--format", "csr") == 0
        found[name] = load_npz(tmp_path / "out" / name / "documents.npz")
    assert all((matrix != found["beir"]).nnz == 0 for matrix in found.values())
    with np.load(tmp_path / "out" / "texts" / "documents.npz") as file:
        assert file["ids.txt"].decode().split("\n")[:2] == ["deep/00.md", "deep/01.md"]


def test_what_was_stopped_is_gone_on_with(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first file and all vectors stay; the second start writes the rest, encodes nothing, and leaves no work."""
    rows = [{"_id": f"d{i}", "text": TEXTS[i % 40]} for i in range(2050)]
    source, out = write_jsonl(tmp_path / "c.jsonl", rows), tmp_path / "out"
    form = FORMATS["opensearch-bulk"]

    def stopped(path: Path, blocks, tokens) -> None:
        if (out / "documents-000001.ndjson").exists():
            raise KeyboardInterrupt
        form.write(path, blocks, tokens)

    words = (tiny_model, source, out, "--format", "opensearch-bulk")
    with monkeypatch.context() as patch:
        patch.setitem(FORMATS, "opensearch-bulk", form.__class__(**{**form.__dict__, "write": stopped}))
        assert encode(*words) == 1
    first, before = out / "documents-000000.ndjson", (out / "documents-000000.ndjson").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr("sparse_model.encoder.encode_block", None)
        assert encode(*words) == 0
        assert first.stat().st_mtime_ns == before and not (out / ".work").exists()
        assert encode(*words) == 0 and "finished already: 2050 documents" in capsys.readouterr().out
    assert encode(tiny_model, source, tmp_path / "whole", "--format", "opensearch-bulk") == 0
    for path in out.glob("documents-*"):
        assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    assert len(list(out.glob("documents-*"))) == 3


@pytest.mark.distributed
def test_processes_share_the_work(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"_id": f"d{i}", "text": TEXTS[i % 40]} for i in range(2050)]
    source = write_jsonl(tmp_path / "c.jsonl", rows)
    words = (str(tiny_model), str(source), str(tmp_path / "two"), "--format", "opensearch-bulk", "--use-cpu")
    shape = ("--lexical-share", "0.25", "--cut-by", "weight_df", "--max-active-dims", "9")
    assert ranks("retrieval.encode.__main__", *words, *shape).returncode == 0
    assert encode(tiny_model, source, tmp_path / "one", "--format", "opensearch-bulk", *shape) == 0
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_mistakes(corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "a.txt").write_bytes("é".encode("latin-1"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    twice = write_jsonl(tmp_path / "twice.jsonl", [{"id": "a", "text": "x"}] * 2)
    none = write_jsonl(tmp_path / "none.jsonl", [{"id": "a"}])
    shutil.copy(corpus, tmp_path / "c.csv")
    tabbed, latin_name = tmp_path / "tabbed", tmp_path / "latin name"
    for folder, name in ((tabbed, b"a\tb.txt"), (latin_name, "café.txt".encode("latin-1"))):
        folder.mkdir()
        (folder / os.fsdecode(name)).write_text("rain")
    for source, options, message in [
        (tmp_path / "gone", [], "no such file or folder"),
        (tmp_path / "empty", [], "holds no corpus.jsonl and no .txt or .md"),
        (tmp_path / "latin", [], "a.txt: not UTF-8"),
        (tmp_path / "c.csv", [], "no .jsonl, .jsonl.gz or .parquet file"),
        (twice, [], "twice.jsonl:2: document id 'a' is also that of an earlier line"),
        (none, [], "none.jsonl:1: text is missing"),
        (corpus, ["--queries", tmp_path / "gone"], "gone: no such file"),
        (corpus, ["--queries", tmp_path / "c.csv"], "none of .jsonl, .tsv, .txt"),
        (tabbed, [], "its name holds a tab or a line break, so that no file of rankings can name it; rename it"),
        (latin_name, [], "caf\\udce9.txt: its name holds half of a surrogate pair, which is no UTF-8; rename it"),
        (corpus, ["--max-active-dims", 0], "--max-active-dims: 0"),
        (corpus, ["--prune-ratio", 2], "--prune-ratio: 2"),
        (corpus, ["--batch-size", 0], "--batch-size: 0"),
        (corpus, ["--lexical-idf"], "--lexical-idf: weighs nothing without a --lexical-share"),
        (corpus, ["--cut-by", "weight_df"], "--cut-by weight_df: cuts nothing without"),
        (corpus, ["--like", tmp_path, "--lexical-share", 0], "leave --max-active-dims and the other shaping out"),
        (corpus, ["--like", tmp_path, "--cut-by", "weight_df"], "leave --max-active-dims and the other shaping out"),
        (corpus, ["--lexical-share", -1], "--lexical-share: -1.0"),
        (corpus, ["--like", tmp_path / "gone"], "no shape of a corpus' vectors lies there"),
        (corpus, ["--like", tmp_path, "--lexical-share", 1], "leave --max-active-dims and the other shaping out"),
    ]:
        assert encode(tiny_model, source, tmp_path / "out", "--format", "jsonl", *options) == 2, message
        assert message in capsys.readouterr().err
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert encode(tiny_model, corpus, tmp_path / "full", "--format", "jsonl") == 2
    assert "holds something already" in capsys.readouterr().err
    assert encode(tiny_model, corpus, tmp_path / "out", "--format", "csr") == 0
    assert encode(tiny_model, corpus, tmp_path / "out", "--format", "csr", "--max-active-dims", 9) == 2
    assert "made otherwise (shape)" in capsys.readouterr().err


def test_a_mistake_is_told_first_and_can_be_corrected(
    corpus: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is encoded before it is told, and OUT is not lost to the command that was mistaken."""
    out, asked = tmp_path / "out", tmp_path / "asked.txt"
    asked.write_text("")
    (tmp_path / "file").write_text("mine")
    words = (tiny_model, corpus, out, "--format", "jsonl", "--queries", asked)
    assert encode(*words) == 2 and "holds no query" in capsys.readouterr().err
    assert not list(out.rglob("documents*"))
    asked.write_text("insulin")
    twice = write_jsonl(tmp_path / "twice.jsonl", [{"id": "a", "text": "x"}] * 2)
    assert encode(tiny_model, twice, *words[2:]) == 2
    assert encode(*words) == 0 and json.loads((out / "encoding.json").read_text())["finished"]
    for place in ((tmp_path / "file", "--format", "csr"), (out, "--format", "csr", "--vectors", tmp_path / "file")):
        assert encode(tiny_model, corpus, *place) == 2 and "file is no folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_precision_by_hand() -> None:
    """2.5e-9 is below half precision's least step, 65,600 above its largest number; 0.004 is no hundredth."""
    row = csr_matrix(np.array([[2.5e-9, 65_600, 1.0004, 0.004, 0.006]], dtype=np.float32))
    assert half_precision(row).toarray()[0].tolist() == [0, 65504, 1.0, np.float16(0.004), np.float16(0.006)]
    assert hundredths(row).toarray()[0].tolist() == [0, 6_560_000, 100, 0, 1]
    assert Cut(2)(hundredths(row)).nnz == 2


def test_a_model_that_was_trained_under_a_share_gets_it(tiny_model: Path, corpus: Path, tmp_path: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    encoder.trained_share = TrainedShare(0.5, True)
    encoder.save(tmp_path / "model")
    found = []
    for out, more in {
        "told": [],
        "same": ["--lexical-share", 0.5, "--lexical-idf"],
        "none": ["--lexical-share", 0],
    }.items():
        assert encode(tmp_path / "model", corpus, tmp_path / out, "--format", "csr", *more) == 0
        [path] = (tmp_path / out).glob("*.npz")
        found.append(load_npz(path).toarray())
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] >= found[2]).all() and (found[0] > found[2]).any()
