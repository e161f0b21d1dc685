"""The page says what the model and the judgements say; nothing in it acts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import sparse_model
from experiment.inspect.__main__ import main
from experiment.inspect.collect import Explainer, Vectors, postings, spread
from experiment.inspect.page import Scored
from experiment.run.models import Chosen
from retrieval.asked import AskedShape
from retrieval.beir_data import BeirData, load_beir
from sparse_model.lexical import TrainedShare
from tests.conftest import SENTENCES, write_jsonl

TOKENS = ["a", "b", "c", "d"]


def data_of(qrels: dict[str, dict[str, int]], **more: object) -> BeirData:
    ids = ["x", "y", "z"]
    return BeirData("made", "test", ids, ["b", "c c", "d"], ["q"], ["a b"], qrels, "0" * 16, [], **more)  # type: ignore[arg-type]


def test_a_query_explained_by_hand() -> None:
    """q = (a 2, b 1). x = (a 0.5, c 1): 1. y = (b 3): 3. z, relevant and not found, = (d 1): 0.

    y leads with 3; of x, a and c are added, since it says b. z lacks a and b: with ten hits scored 0.5 at rank 10 it
    would need a weight of 0.25 or 0.5.
    """
    rows = {0: [0.5, 0, 1, 0], 1: [0, 3, 0, 0], 2: [0, 0, 0, 1]}
    vectors = Vectors(
        np.array([2, 1, 1]), np.array([1, 1, 1, 1]), np.ones(4), {n: csr_matrix([r]) for n, r in rows.items()}
    )
    explainer = Explainer(
        data_of({"q": {"y": 1, "z": 2}}),
        csr_matrix([[2.0, 1, 0, 0]]),
        vectors,
        {"x": [0], "y": [1], "z": [2], **{f"n{i}": [2] for i in range(8)}},
        ["b", "c c", "d"],
        TOKENS,
        lambda text: {TOKENS.index(word) for word in text.split()},
    )
    ranking = [("y", 3.0), ("x", 1.0), *((f"n{i}", 0.5) for i in range(8))]
    query = explainer.query(0, ranking, 0.4, 0.1)
    assert query.tokens == [("a", 2.0), ("b", 1.0)]
    first, second = query.hits[:2]
    assert (first.id, first.grade, first.score) == ("y", 1, 3.0) and second.score == 1.0
    assert [(s.token, s.product) for s in second.shared] == [("a", 1.0)]
    assert second.added == [("c", 1.0), ("a", 0.5)]
    [missed] = query.missed
    assert (missed.id, missed.rank, missed.score) == ("z", None, 0.0)
    assert missed.would_do == [("a", 0.25), ("b", 0.5)]


def test_posting_lists_by_hand() -> None:
    """Of four documents three have b, of two queries one; a: 1 of 4 and 2 of 2. FLOPS 0.375 + 0.25: 60 and 40 %."""
    vectors = Vectors(np.zeros(4), np.array([1, 3, 0]), np.array([2.0, 1.5, 0]), {})
    b, a = postings(vectors, csr_matrix([[1.0, 1, 0], [1, 0, 0]]), ["a", "b", "c"])
    assert (b.token, b.documents, b.queries, b.mean_weight) == ("b", 0.75, 0.5, 0.5)
    assert (a.token, round(a.flops, 3), round(b.flops, 3)) == ("a", 0.4, 0.6)


def test_which_queries_are_shown() -> None:
    """The worst half of what is wanted, then evenly up to the best."""
    assert spread([0.3, 0.1, 0.2], 5) == [1, 2, 0]
    assert spread([n / 10 for n in range(10)], 4) == [0, 1, 2, 9]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with a document that is a script, and a query that is markup."""
    folder = tmp_path / "made"
    folder.mkdir()
    texts = [*SENTENCES, "<script>document.title = 'owned'</script> insulin"]
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)])
    queries = [*(" ".join(s.split()[:3]) for s in SENTENCES), "<img src=x onerror=alert(1)> insulin"]
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{n}", "text": text} for n, text in enumerate(queries)])
    (folder / "qrels").mkdir()
    rows = "".join(f"q{n}\td{n}\t1\n" for n in range(len(queries)))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return folder


@pytest.fixture
def inspect(tiny_model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    return lambda *words: main([str(tiny_model), str(folder), "--use-cpu", *map(str, words)])


def test_the_page(inspect: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert inspect("--output", "page.html") == 0
    assert "NDCG@10" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert page.count('<details class="query">') == len(SENTENCES) + 1
    for place, message in (("page.html", "is there already"), ("page.html/x.html", "page.html is no folder")):
        assert inspect("--output", place) == 2
        assert message in capsys.readouterr().err
    assert inspect("--output", "page.html", "--overwrite", "--max-active-dims", "3", "--queries", "2") == 0
    cut = (tmp_path / "page.html").read_text()
    assert cut.count('<details class="query">') == 2 and "3.0 tokens a document" in cut


def test_beside_another_model(
    inspect: Callable[..., int], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same weights under another name: as good in every query."""
    sparse_model.load(tiny_model).save(tmp_path / "other")
    assert inspect("--against", tmp_path / "other", "--output", "page.html") == 0
    assert "better than other in 0, worse in 0" in (tmp_path / "page.html").read_text()
    assert inspect("--against", tmp_path / "absent", "--output", "b.html") == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_trained_share_counts(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    """As in an evaluation, unless a share is typed."""
    encoder = sparse_model.load(tiny_model)
    encoder.trained_share = TrainedShare(0.5)
    encoder.save(tmp_path / "shared")
    data = load_beir(str(folder), "")
    shares = [Scored(str(tmp_path / "shared"), data, AskedShape(lexical_share=s), True).shape for s in (None, 0.0)]
    assert [shape.lexical_share for shape in shares] == [0.5, 0.0]


def test_mistakes(
    inspect: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before anything is loaded."""
    monkeypatch.setattr(Chosen, "load", None)
    assert inspect("--queries", "0") == inspect("--lexical-share", "nan") == inspect("--max-active-dims", "0") == 2
    said = capsys.readouterr().err
    assert "--queries 0" in said and "--lexical-share" in said and "--max-active-dims: 0" in said
    for place, message in (
        ("/proc/pages/x.html", "--output: /proc/pages cannot be written (/proc: "),
        (".", "--output .: is a folder; name a file"),
    ):
        assert inspect("--output", place, "--overwrite") == 2
        assert f"error: {message}" in capsys.readouterr().err
    assert main(["absent/model", "absent/data"]) == 2
