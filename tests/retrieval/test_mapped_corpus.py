"""A corpus that is mapped: as BEIR's own loader reads it, once for all processes, whole or not at all."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from benchmarks import synthetic_corpus
from retrieval import corpus, fingerprint, mapped_corpus
from retrieval.beir_data import BeirData, corpus_source, load_beir
from retrieval.bm25 import score_bm25
from retrieval.corpus import open_corpus
from retrieval.fingerprint import corpus_hash
from retrieval.mapped_corpus import MappedCorpus, Mend
from retrieval.score_dataset import score_dataset
from retrieval.strings import Ids, Ordered
from sparse_model.errors import RunError, UserError
from tests.conftest import write_jsonl
from tests.processes import fork
from tests.retrieval.bag_of_words import BagOfWords, random_beir, write_beir

KEPT_FROM = fingerprint.KEPT_FROM
UNUSUAL = [
    {"_id": "é", "title": "A  title", "text": " of two spaces "},
    {"_id": "z", "text": ""},
    {"_id": "10", "title": None, "text": "half \ud83d"},
    {"_id": "1", "title": "", "text": '\U0001f600 é\u2028 \\ " tab\t'},
    {"_id": "Z", "title": "A  title", "text": "of two spaces", "metadata": {"passage_of": "whole"}},
]


def map_corpus(path: Path, mend: Mend | None = None) -> MappedCorpus:
    return mapped_corpus.map_corpus(corpus_source(path, mend))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which every corpus is kept, however small."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mapped_corpus, "KEPT_FROM", 0)
    return tmp_path / "cache" / "sparse-retrieval-l0" / "corpora"


def _in_memory(read: Callable[[], BeirData]) -> BeirData:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped_corpus, "KEPT_FROM", KEPT_FROM)
        return read()


@pytest.mark.parametrize("packed", [False, True])
def test_mapped_is_as_in_memory_and_as_beirs_own_loader(tmp_path: Path, cache: Path, packed: bool) -> None:
    from beir.datasets.data_loader import GenericDataLoader

    rows = [*UNUSUAL, *({"_id": f"d{n}", "title": f"t{n % 7}", "text": f"x {n % 50}"} for n in range(9000))]
    asked = [{"_id": "z", "text": "x"}, {"_id": "é", "text": "A title"}, {"_id": "Z", "text": "of two  spaces"}]
    folder = write_beir(tmp_path / "d", rows, asked, [(q["_id"], "z", 1) for q in asked], gz=packed)
    data, again = load_beir(str(folder), ""), load_beir(str(folder), "")
    small = _in_memory(lambda: load_beir(str(folder), ""))
    assert len([*cache.iterdir()]) == 1
    for other in (again, small):
        assert (
            data == other
            and data.texts == list(other.texts)
            and other.doc_ids.order.tolist() == sorted(range(len(rows)), key=lambda n: data.doc_ids[n], reverse=True)
        )
    assert data.in_corpus == {"é", "Z"} and data.passage_of == {"Z": "whole"} and len(data.notes) == 4
    assert corpus_hash(data.doc_ids, data.texts) == corpus_hash(list(data.doc_ids), list(data.texts))
    if not packed:
        theirs, _, _ = GenericDataLoader(str(folder)).load("test")
        assert data.doc_ids == list(theirs)
        whole = [f"{row['title'] or ''} {row['text']}".strip().replace("\ud83d", "\ufffd") for row in theirs.values()]
        assert data.texts == whole


def test_scores_are_those_of_lists(tmp_path: Path, cache: Path) -> None:
    data = load_beir(str(random_beir(tmp_path / "random", 200)), "")
    lists = BeirData(**vars(data) | {"doc_ids": list(data.doc_ids), "texts": list(data.texts)})
    for score in (lambda d: score_dataset(BagOfWords(), d, 20), lambda d: score_bm25(d, 20)):
        assert score(data).rankings == score(lists).rankings


def test_another_content_is_another_folder_and_the_old_one_goes(tmp_path: Path, cache: Path) -> None:
    path = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "a", "text": "cats"}])
    map_corpus(path)
    (first,) = cache.iterdir()
    times = path.stat().st_mtime_ns
    write_jsonl(path, [{"_id": "a", "text": "dogs"}])
    os.utime(path, ns=(times, times))
    assert map_corpus(path).texts == ["dogs"] and len([*cache.iterdir()]) == 1 and not first.exists()
    assert map_corpus(path, _shout).texts == ["DOGS"] and len([*cache.iterdir()]) == 2, "both are of this content"
    assert map_corpus(path, _shout).counts["mended"] == 1 and map_corpus(path).texts == ["dogs"]
    other = write_jsonl(tmp_path / "other.jsonl", [{"_id": "a", "text": "dogs"}])
    assert map_corpus(other).texts == ["dogs"] and len([*cache.iterdir()]) == 2, "found by content"


def _shout(text: str) -> str:
    return text.upper()


def test_what_nobody_opened_for_months_goes(tmp_path: Path, cache: Path) -> None:
    paths = [write_jsonl(tmp_path / f"{n}.jsonl", [{"_id": "a", "text": str(n)}]) for n in range(3)]
    for path in paths[:2]:
        map_corpus(path)
    for folder in cache.iterdir():
        os.utime(folder, (0, 0))
    map_corpus(paths[1])
    map_corpus(paths[2])
    assert {json.loads((folder / "facts.json").read_text())["file"] for folder in cache.iterdir()} == {
        str(path) for path in paths[1:]
    }


_KILLED = """
import os, sys
from pathlib import Path
from retrieval import mapped_corpus
from retrieval.beir_data import corpus_source
mapped_corpus.KEPT_FROM = 0
if sys.argv[2] == "writing":
    mapped_corpus.Ids.repeated = lambda self: os.kill(os.getpid(), 9)
else:
    Path.rename = lambda *paths: os.kill(os.getpid(), 9)
mapped_corpus.map_corpus(corpus_source(Path(sys.argv[1])))
"""


@pytest.mark.process
@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_killed_half_way_it_is_made_anew(tmp_path: Path, cache: Path, moment: str) -> None:
    path = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": str(n), "text": "x"} for n in range(10)])
    ended = subprocess.run([sys.executable, "-c", _KILLED, str(path), moment], cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert left.name.startswith(".")
    assert len(map_corpus(path).texts) == 10 and not left.exists() and len([*cache.iterdir()]) == 1


def test_a_mistake_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": str(n), "text": "x"} for n in (1, 2, 3, 2, 1)])
    with pytest.raises(UserError, match=r"corpus.jsonl:4: document id '2' is also that of an earlier line"):
        map_corpus(path)
    assert [*cache.iterdir()] == []
    write_jsonl(path, [{"_id": "1", "text": "x"}])

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped_corpus, "_write", full)
    with pytest.raises(RunError, match="the disk of .*corpora.* is full"):
        map_corpus(path)
    assert [*cache.iterdir()] == []


def test_no_room_is_told_before_it_is_read(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "1", "text": "x"}])
    monkeypatch.setattr(mapped_corpus, "BYTES_A_BYTE", 10**15)
    with pytest.raises(UserError, match="XDG_CACHE_HOME: .* are free where it lies, reading .*corpus.jsonl needs"):
        map_corpus(path)


def test_a_cache_that_cannot_be_written(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    path = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": "1", "text": "x"}])
    assert map_corpus(path).texts == ["x"]


def test_ids_are_found_by_name(cache: Path) -> None:
    names = ["b", "é", "", "a", "10", "9", "\U0001f600", "\uffff", "ab"]
    ids, random = Ids.of(names), np.random.default_rng(0).permutation(5000)
    assert ids.positions(names).tolist() == [*range(len(names))]
    assert ids.positions(["c", "b", "~", "\U0001f601", "b"]).tolist() == [-1, 0, -1, -1, 0]
    assert [names[n] for n in ids.order] == sorted(names, reverse=True) == list(Ordered(ids, ids.order))
    assert Ids.of([]).positions(["a"]).tolist() == [-1] and ids.positions([]).tolist() == []
    many = Ids.of([str(n) for n in random])
    assert many.positions([str(n) for n in range(-5, 5005)]).tolist() == [
        *[-1] * 5, *np.argsort(random).tolist(), *[-1] * 5
    ]  # fmt: skip


def test_strings_are_lists_to_who_reads_them(tmp_path: Path, cache: Path) -> None:
    texts = [f"text {n}" for n in range(20_000)]
    path = write_jsonl(tmp_path / "corpus.jsonl", [{"_id": str(n), "text": text} for n, text in enumerate(texts)])
    found = map_corpus(path).texts
    assert list(found) == texts and found[-1] == texts[-1] and found[8190:8194] == texts[8190:8194]
    assert found[::5000] == texts[::5000] and found != texts[:-1] and found != [*texts[:-1], "x"]
    turned = Ordered(found, np.arange(20_000)[::-1])
    assert turned[:3] == texts[:-4:-1] and turned[np.int64(0)] == texts[-1]
    with pytest.raises(IndexError):
        found[20_000]


def test_a_synthetic_folder_is_one_of_beir(tmp_path: Path) -> None:
    synthetic_corpus.write(tmp_path / "made", documents=500, queries=20, n_words=3000)
    data = load_beir(str(tmp_path / "made"), "", "dev")
    assert (len(data.texts), len(data.queries), data.notes) == (500, 20, [])
    for query, grades in zip(data.queries, data.qrels.values(), strict=True):
        (place,) = data.doc_ids.positions([*grades])
        assert {*query.split()} <= {*data.texts[place].rstrip(".").split()}
    assert 50 < np.mean([len(text.split()) for text in data.texts]) < 70


def _private_bytes() -> int:
    """Anonymous memory: pages of a file that is mapped are the system's, also where only one process looked at them."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def _loads(rank: int, folder: str, out: str) -> None:
    torch.set_num_threads(1)
    os.environ["XDG_CACHE_HOME"] = f"{out}/cache"
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=2)
    reads = []
    own, mapped_corpus._write = mapped_corpus._write, lambda *a: reads.append(1) or own(*a)  # type: ignore[assignment,func-returns-value]
    load_beir(folder, "")
    before = _private_bytes()
    data = load_beir(folder, "")
    length = sum(map(len, data.texts))
    Path(out, f"{rank}.json").write_text(json.dumps([len(reads), _private_bytes() - before, length]))
    dist.barrier()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="anonymous memory is read from /proc")
@pytest.mark.distributed
def test_two_processes_share_what_one_has_read(tmp_path: Path, cache: Path) -> None:
    """60 MB of text: a copy of a process's own would be far more than the 8 MB that each may take."""
    rows = [{"_id": str(n), "text": f"{n} " + "x" * 12_000} for n in range(5000)]
    folder = write_beir(tmp_path / "d", rows, [{"_id": "q", "text": "x"}], [("q", "1", 1)])
    fork(_loads, str(folder), str(tmp_path))
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [reads for reads, _, _ in found] == [1, 0]
    assert all(length > 60e6 for _, _, length in found)
    assert all(private < 8e6 for _, private, _ in found), found


def test_all_that_documents_say_is_kept_where_it_is_shown(tmp_path: Path, cache: Path) -> None:
    """Mapped as in memory: titles and texts as they are, white space too, and the rest; no text is written twice."""
    rows = [*UNUSUAL, {"id": "own", "contents": " two ", "year": 1999, "tags": ["a"]}]
    rows += [{"_id": "none", "title": " ", "text": "\n\t"}, {"_id": "ends", "title": "\ta", "text": "b\n"}]
    rows.append({"_id": "long", "title": "t", "text": "x" * 10_000 + "\n"})
    path = write_jsonl(tmp_path / "corpus.jsonl", rows)
    mapped, digest = open_corpus(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped_corpus, "KEPT_FROM", KEPT_FROM)
        small, same = open_corpus(path)
    assert digest == same and len(mapped) == len(rows) and mapped.ids == small.ids and mapped.texts == small.texts
    assert [mapped.fields(n) for n in range(len(rows))] == [small.fields(n) for n in range(len(rows))]
    assert mapped.fields(5) == {"title": "", "text": " two ", "year": 1999, "tags": ["a"]}
    assert mapped.fields(0) == {"title": "A  title", "text": " of two spaces "} and mapped.texts[5] == "two"
    for n, row in [*enumerate(rows)][-3:]:
        assert mapped.fields(n) == {"title": row["title"], "text": row["text"]}
    (folder,) = cache.iterdir()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 18_000
    assert {file.name for file in folder.iterdir()} == {"ids.arrow", "texts.arrow", "said.arrow", "facts.json"}


def test_a_folder_of_texts_is_found_by_names_and_content(tmp_path: Path, cache: Path) -> None:
    for name in ("a/x.txt", "b/x.txt"):
        (tmp_path / "texts" / name).parent.mkdir(parents=True)
        (tmp_path / "texts" / name).write_text("same")
    assert open_corpus(tmp_path / "texts")[0].ids == ["a/x.txt", "b/x.txt"]
    (tmp_path / "texts" / "b").rename(tmp_path / "texts" / "c")
    assert open_corpus(tmp_path / "texts")[0].ids == ["a/x.txt", "c/x.txt"] and len([*cache.iterdir()]) == 1


@pytest.mark.parametrize("name", ["ids.arrow", "texts.arrow", "said.arrow", "facts.json"])
def test_a_damaged_folder_is_made_anew(tmp_path: Path, cache: Path, name: str) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", UNUSUAL)
    found, _ = open_corpus(path)
    before = [*found.ids], [*found.texts], found.fields(0)
    (folder,) = cache.iterdir()
    for damage in (lambda file: os.truncate(file, file.stat().st_size // 2), Path.unlink):
        damage(folder / name)
        again, _ = open_corpus(path)
        assert ([*again.ids], [*again.texts], again.fields(0)) == before


def test_halves_of_characters_are_replaced_in_all_that_is_said(tmp_path: Path, cache: Path) -> None:
    more = {"metadata": {"passage_of": "d\ud83d", "n": [1]}, "k\udc00": "v\ud83d", "smile": "\U0001f600"}
    found, _ = open_corpus(write_jsonl(tmp_path / "c.jsonl", [{"_id": "a", "text": "x", **more}]))
    whole = {"metadata": {"passage_of": "d\ufffd", "n": [1]}, "k\ufffd": "v\ufffd", "smile": "\U0001f600"}
    assert found.fields(0) == {"title": "", "text": "x", **whole} and found.passage_of == {"a": "d\ufffd"}


def test_what_is_changed_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a small corpus, which is read into memory; a file that goes is a change."""
    folder, original = tmp_path / "texts", corpus.map_corpus
    folder.mkdir()
    for change in (lambda: (folder / "a.txt").write_text("other"), (folder / "b.txt").unlink):
        for name in ("a.txt", "b.txt"):
            (folder / name).write_text("as it was")
        changing = lambda source, change=change: (change(), original(source))[1]  # noqa: E731
        monkeypatch.setattr(corpus, "map_corpus", changing)
        with pytest.raises(UserError, match="texts: was changed while it was read; run the same command again"):
            open_corpus(folder)
