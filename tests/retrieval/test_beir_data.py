"""Reading BEIR folders: what is read, what is noted, and the message of each mistake."""

import csv
import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval import beir_data, beir_files
from retrieval.beir_data import load_beir
from retrieval.dataset_names import BEIR_13, dataset_name, default_split
from sparse_model.errors import UserError
from tests.conftest import write_jsonl
from tests.retrieval.bag_of_words import write_beir
from tests.retrieval.conftest import CORPUS, QRELS, QUERIES


def beir_dir(tiny: Path) -> str:
    return str(tiny.parent)


def mistake(tiny: Path, name: str = "tiny", split: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        load_beir(name, beir_dir(tiny), split)
    return str(caught.value)


def test_reads_everything(tiny: Path) -> None:
    data = load_beir("tiny", beir_dir(tiny))
    assert (data.name, data.split) == ("tiny", "test")
    assert data.doc_ids == ["d1", "d2", "d3"]
    assert data.texts == ["Cats cats chase mice", "dogs chase cats", "mice eat cheese"]
    assert data.query_ids == ["q1", "q2"] and data.queries == ["cats", "cheese"]
    assert data.qrels == {"q1": {"d1": 2, "d2": 1, "d3": 0}, "q2": {"d3": 1}}
    assert data.notes == [] and len(data.fingerprint) == 16


def test_compressed_files_by_path(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "packed", CORPUS, QUERIES, QRELS, gz=True)
    data = load_beir(str(folder) + "/", "nowhere")
    assert data.name == "packed" and data.doc_ids == ["d1", "d2", "d3"] and len(data.qrels) == 2


def test_a_folder_in_reach_needs_no_separator(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.parent)
    assert load_beir("tiny", "nowhere").doc_ids == ["d1", "d2", "d3"]


def test_same_as_beirs_own_loader(tiny: Path) -> None:
    from beir.datasets.data_loader import GenericDataLoader

    corpus, queries, qrels = GenericDataLoader(str(tiny)).load("test")
    data = load_beir("tiny", beir_dir(tiny))
    assert data.doc_ids == list(corpus) and data.qrels == qrels
    assert dict(zip(data.query_ids, data.queries, strict=True)) == queries


def test_qrels_without_header_and_blank_lines(tiny: Path) -> None:
    (tiny / "qrels" / "test.tsv").write_text("q1\td1\t1\n\nq2\td3\t-1\n\n")
    assert load_beir("tiny", beir_dir(tiny)).qrels == {"q1": {"d1": 1}, "q2": {"d3": -1}}


def test_odd_things_are_noted_with_counts(tmp_path: Path) -> None:
    corpus = [*CORPUS, {"_id": "e", "text": " "}, {"_id": 7, "title": "", "text": "mice eat cheese"}]
    qrels = [*QRELS, ("q1", "gone", 1), ("nobody", "d1", 1), ("q2", "d3", 2), ("blank", "d1", 1)]
    folder = write_beir(tmp_path / "odd", corpus, [*QUERIES, {"_id": "blank", "text": ""}], qrels)
    data = load_beir(str(folder), "")
    notes = "\n".join(data.notes)
    assert data.texts[3] == "" and data.doc_ids[4] == "7"
    assert "nobody" not in data.qrels and data.qrels["q1"]["gone"] == 1 and data.qrels["q2"]["d3"] == 2
    for sentence in (
        "1 judgements repeat",
        "1 judged documents are not in the corpus",
        "1 judged queries are not in queries.jsonl",
        "1 documents have the same text",
        "1 documents are empty",
        "1 queries of the split are empty",
    ):
        assert sentence in notes
    assert len(data.notes) == 6


def test_fingerprint_follows_the_content(tiny: Path) -> None:
    before = load_beir("tiny", beir_dir(tiny)).fingerprint
    assert load_beir("tiny", beir_dir(tiny)).fingerprint == before
    with open(tiny / "qrels" / "test.tsv", "a") as file:
        file.write("q2\td1\t1\n")
    assert load_beir("tiny", beir_dir(tiny)).fingerprint != before


def test_default_splits() -> None:
    assert default_split("msmarco") == "dev" and all(default_split(name) == "test" for name in BEIR_13)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "d1", "text": "x"}\n{"_id": ', "corpus.jsonl:2: not valid JSON"),
        ("corpus.jsonl", "\n[1]", "corpus.jsonl:2: not a JSON object"),
        ("corpus.jsonl", '{"title": "x", "text": "x"}', "corpus.jsonl:1: _id is missing or empty"),
        ("corpus.jsonl", '{"_id": "", "text": "x"}', "corpus.jsonl:1: _id is missing or empty"),
        ("corpus.jsonl", '{"_id": [1], "text": "x"}', "corpus.jsonl:1: _id is not a string"),
        ("corpus.jsonl", '{"_id": "a\\tb", "text": "x"}', "corpus.jsonl:1: _id holds a tab"),
        ("corpus.jsonl", '{"_id": "a\\u0000b", "text": "x"}', "corpus.jsonl:1: _id holds a NUL"),
        ("corpus.jsonl", '{"_id": "a\\ud83d", "text": "x"}', "corpus.jsonl:1: _id holds half of a surrogate pair"),
        ("corpus.jsonl", "\n" + "[" * 200_000, "corpus.jsonl:2: not valid JSON"),
        ("corpus.jsonl", '{"_id": %s, "text": "x"}' % ("9" * 5000), "corpus.jsonl:1: not valid JSON"),
        ("queries.jsonl", '{"_id": "q1\\u0000", "text": "x"}', "queries.jsonl:1: _id holds a NUL"),
        ("queries.jsonl", '{"_id": "\\udc00", "text": "x"}', "queries.jsonl:1: _id holds half of a surrogate pair"),
        ("corpus.jsonl", '{"_id": "d1", "title": "x"}', "corpus.jsonl:1: text is missing"),
        ("corpus.jsonl", '{"_id": "d1", "text": null}', "corpus.jsonl:1: text is not a string"),
        ("corpus.jsonl", '{"_id": "d1", "title": 1, "text": ""}', "corpus.jsonl:1: title is not a string"),
        ("corpus.jsonl", '{"_id": "d1", "text": ""}\n' * 2, "corpus.jsonl:2: document id 'd1' is also"),
        ("corpus.jsonl", "\n", "corpus.jsonl: the corpus is empty"),
        ("corpus.jsonl", '{"_id": "other", "text": "x"}', "test.tsv: none of its 3 documents is in"),
        ("queries.jsonl", '{"_id": "q1", "text": ""}\n' * 2, "queries.jsonl:2: query id 'q1' is also"),
        ("queries.jsonl", '{"_id": "other", "text": "x"}', "test.tsv: none of its 2 queries is in"),
        ("queries.jsonl", "", "test.tsv: none of its 2 queries is in"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\n", "test.tsv:2: 2 columns"),
        ("qrels/test.tsv", "q1 d1 1\n", "test.tsv:1: 1 columns"),
        ("qrels/test.tsv", "q1\t0\td1\t1\n", "test.tsv:1: 4 columns"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td2\tgood\n", "test.tsv:2: grade 'good' is not an integer"),
        ("qrels/test.tsv", "q1\td1\t0.5\n", "test.tsv:1: grade '0.5' is not an integer"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "test.tsv: no judgement"),
        ("qrels/test.tsv", "q1\td1\tgood\n", "test.tsv:1: grade 'good' is not an integer"),
        ("qrels/test.tsv", "\nq1\td1\t1001\n", "test.tsv:2: grade 1001 is beyond"),
        ("qrels/test.tsv", "q1\td1\t-1001\n", "test.tsv:1: grade -1001 is beyond"),
        ("qrels/test.tsv", "q1\td1\t%s\n" % ("1" * 5000), "test.tsv:1: grade '1111"),
        ("qrels/test.tsv", "q1\td1\0\t1\n", "test.tsv:1: "),  # Python 3.10's csv refuses it before we do
        ("qrels/test.tsv", "\td1\t1\n", "test.tsv:1: query-id is empty"),
        ("qrels/test.tsv", "q1\t\t1\n", "test.tsv:1: corpus-id is empty"),
        ("qrels/test.tsv", 'q1\td1\t1\nq1\t"d2\t1\nq2\t"d3\t1\n', "test.tsv:2: corpus-id holds a tab or a line break"),
        ("qrels/test.tsv", 'q1\td1\t1\n\nq1\t"d2\t1\n', "test.tsv:3: 2 columns"),
        ("qrels/test.tsv", 'q1\td1\t1\nq1\t"d2\t1\n' + "q1\td1\t1\n" * 20_000, "test.tsv:2: field larger than"),
    ],
)
def test_unusable_files_are_named_with_the_line(tiny: Path, file: str, content: str, message: str) -> None:
    (tiny / file).write_text(content)
    assert message in mistake(tiny)


def test_bytes_that_are_no_text_and_broken_archives(tiny: Path) -> None:
    (tiny / "corpus.jsonl").write_bytes(b'{"_id": "d1", "text": "\xff"}\n')
    assert "corpus.jsonl:1: not UTF-8" in mistake(tiny)
    (tiny / "corpus.jsonl").unlink()
    (tiny / "corpus.jsonl.gz").write_bytes(gzip.compress((tiny / "queries.jsonl").read_bytes())[:-9])
    assert "corpus.jsonl.gz" in mistake(tiny) and "fetch the file again" in mistake(tiny)
    (tiny / "corpus.jsonl.gz").write_bytes(b"no archive")
    assert "cannot be read" in mistake(tiny)


def test_the_line_of_a_byte_that_is_no_utf_8(tiny: Path) -> None:
    """Lines are decoded many at a time."""
    lines = [b'{"_id": "d%d", "text": "caf\xc3\xa9"}' % n for n in range(700)]
    (tiny / "corpus.jsonl").write_bytes(b"\n".join([*lines, b'{"_id": "x", "text": "caf\xe9"}', *lines]))
    assert "corpus.jsonl:701: not UTF-8" in mistake(tiny)


def test_a_line_without_end(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes, packed, can be a line of gigabytes."""
    monkeypatch.setattr(beir_files, "LONGEST", 1000)
    (tiny / "corpus.jsonl").unlink()
    lines = b'{"_id": "d", "text": "x"}\n' + b" " * 10**6
    (tiny / "corpus.jsonl.gz").write_bytes(gzip.compress(lines))
    assert "corpus.jsonl.gz:2: longer than 1,000 characters" in mistake(tiny)


def test_quoted_ids(tmp_path: Path) -> None:
    """As Python's csv writes them: in marks, and each mark of the id twice."""
    corpus = [{"_id": 'say "a"', "text": "x"}, {"_id": '"b"', "text": "x"}]
    folder = write_beir(tmp_path / "quoted", corpus, [{"_id": 'the "q"', "text": "x"}], [])
    (folder / "qrels" / "test.tsv").write_text('"the ""q"""\t"say ""a"""\t1\n"the ""q"""\t"""b"""\t"2"\n')
    data = load_beir(str(folder), "")
    assert data.qrels == {'the "q"': {'say "a"': 1, '"b"': 2}} and "not in the corpus" not in "".join(data.notes)


# White space at the ends of a text is not kept, tabs and line ends are in no id, and NULs are refused.
_ids = st.text(st.characters(exclude_characters="\t\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@given(
    texts=st.dictionaries(_ids, _texts, min_size=1, max_size=5),
    queries=st.dictionaries(_ids, _texts, min_size=1, max_size=3),
    drawn=st.data(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_generated_folders_read_as_by_beirs_own_loader(
    tmp_path: Path, texts: dict[str, str], queries: dict[str, str], drawn: st.DataObject
) -> None:
    from beir.datasets.data_loader import GenericDataLoader

    pairs = st.tuples(st.sampled_from([*queries]), st.sampled_from([*texts]), st.integers(-3, 3))
    rows = drawn.draw(st.lists(pairs, min_size=1, max_size=8))
    folder = write_beir(tmp_path, [{"_id": k, "text": v} for k, v in texts.items()], [], [])
    write_jsonl(folder / "queries.jsonl", [{"_id": k, "text": v} for k, v in queries.items()])
    quoting = drawn.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    ends = drawn.draw(st.sampled_from(["\n", "\r\n"]))
    with open(folder / "qrels" / "test.tsv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=quoting, lineterminator=ends)
        writer.writerows([("query-id", "corpus-id", "score"), *rows])
    corpus, asked, qrels = GenericDataLoader(str(folder)).load("test")
    data = load_beir(str(folder), "")
    assert data.qrels == qrels and data.doc_ids == list(corpus)
    assert data.texts == [row["text"].strip() for row in corpus.values()]
    assert dict(zip(data.query_ids, data.queries, strict=True)) == {k: v.strip() for k, v in asked.items()}


def test_half_a_surrogate_pair_is_replaced_and_counted(tmp_path: Path) -> None:
    corpus = [{"_id": "a", "title": "\udc00", "text": "cut \ud83d"}, {"_id": "b", "text": "whole \U0001f600"}]
    folder = write_beir(tmp_path / "s", corpus, [{"_id": "q", "text": "\ud83dx"}], [("q", "a", 1)])
    data = load_beir(str(folder), "")
    assert data.texts == ["\ufffd cut \ufffd", "whole \U0001f600"] and data.queries == ["\ufffdx"]
    notes = [note for note in data.notes if "surrogate" in note]
    assert [note.partition(": ")[2][:7] for note in notes] == ["1 texts", "1 texts"]


def test_data_that_change_while_they_are_read(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise figures of the old judgements would count as those of the new ones from then on."""
    corrected = "q1\td2\t1\nq2\td1\t1\n"

    def read(*arguments: Any) -> list[str]:
        notes = beir_files.read_judgements(*arguments)
        (tiny / "qrels" / "test.tsv").write_text(corrected)
        return notes

    monkeypatch.setattr(beir_data, "read_judgements", read)
    assert "was changed while it was read; run the same command again" in mistake(tiny)
    assert load_beir("tiny", beir_dir(tiny)).qrels == {"q1": {"d2": 1}, "q2": {"d1": 1}}


def test_splits_of_a_name(tiny: Path) -> None:
    (tiny / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t1\nq3\td1\t2\n")
    other = load_beir("tiny:dev", beir_dir(tiny), split="test")
    assert other.split == "dev" and other.name == "tiny", "the name's own split counts"
    both = load_beir(f"{tiny}:dev+test", "nowhere")
    test = load_beir("tiny", beir_dir(tiny))
    assert both.doc_ids == test.doc_ids and {*both.query_ids} == {*test.query_ids, *other.query_ids}
    assert both.qrels["q2"] == {"d2": 1, "d3": 1} and both.qrels["q1"] == test.qrels["q1"]
    assert len({data.fingerprint for data in (both, other, test)}) == 3
    assert dataset_name("tiny:dev") == dataset_name(f"{tiny}:dev+test") == dataset_name("tiny") == "tiny"
    assert "no qrels/train.tsv" in mistake(tiny, "tiny:dev+train")


def test_missing_split_lists_those_that_are_there(tiny: Path) -> None:
    (tiny / "qrels" / "train.tsv.gz").write_bytes(b"")
    assert "no qrels/dev.tsv; splits that are there: test, train" in mistake(tiny, split="dev")


def test_missing_files_and_folders(tiny: Path, tmp_path: Path) -> None:
    (tiny / "queries.jsonl").unlink()
    assert "no queries.jsonl (or queries.jsonl.gz)" in mistake(tiny)
    assert "no such folder" in mistake(tiny, str(tmp_path / "nowhere"))


def test_unknown_names_get_a_suggestion(tiny: Path) -> None:
    assert "Did you mean tiny?" in mistake(tiny, "tyni")
    assert "or webis-touche2020?" in mistake(tiny, "touche-2020")
    assert "Did you mean NanoSciFact or scifact?" in mistake(tiny, "nanoscifact")
    assert "Did you mean" not in mistake(tiny, "zzzzzz")


def test_offline_names_the_folder(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = mistake(tiny, "scifact")
    assert str(tiny.parent / "scifact") in message and "scifact.zip" in message and "HF_HUB_OFFLINE" in message
