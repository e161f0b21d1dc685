"""The quickstart's data: what a pair is, what is left out, that packages stay apart, that reruns do nothing."""

import fcntl
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoModelForMaskedLM, AutoTokenizer

import sparse_model
from pairs import quickstart as quickstart_data
from pairs import small_model
from pairs.beir import main as beir_pairs
from pairs.docstrings import Pair, deduplicate, pairs_of_source, read_packages, split_docstring, split_of
from retrieval.beir_data import load_beir
from sparse_model.errors import UserError
from sparse_model.query_weights import corpus_idf, read_idf

SOURCE = '''
def load(path, strict=True):
    """Read the settings, e.g. colours, of a :class:`Window`. Missing files count as empty.

    Raises OSError where the file cannot be read by this user.
    """
    with open(path) as file:
        return parse(file.read(), strict=strict)


def tiny():
    """Return the number of windows."""
    return 1


class Window:
    """A rectangle on the screen with settings.

    It is moved with the mouse and remembers where it was when the program ended last time.
    """

    def move(self, x, y):
        """Move the window to another place."""
        self.x, self.y = x, y
        self.draw(clear=True, border=self.border, title=self.title, colours=self.colours)


def one_line(): """A sentence on the line of its def."""
'''


def test_pairs_of_a_module() -> None:
    pairs = {pair.title: pair for pair in pairs_of_source(SOURCE, "gui.window")}
    assert list(pairs) == ["gui.window.load", "gui.window.Window", "gui.window.Window.move"]  # tiny is too short
    load = pairs["gui.window.load"]
    assert load.package == "gui"
    assert load.query == "Read the settings, e.g. colours, of a Window."
    assert load.text == (
        "def load(path, strict=True):\nMissing files count as empty.\n"
        "Raises OSError where the file cannot be read by this user.\n"
        "with open(path) as file:\n    return parse(file.read(), strict=strict)"
    )
    assert "Move the window" not in pairs["gui.window.Window"].text  # a member's sentence is its own query
    assert "def move(self, x, y):" in pairs["gui.window.Window"].text


def test_source_that_does_not_parse_gives_nothing() -> None:
    assert list(pairs_of_source("def broken(:", "broken")) == []


@pytest.mark.parametrize(
    ("docstring", "summary", "rest"),
    [
        ("One sentence.", "One sentence.", ""),
        ("Split at\nthe first stop. Not later.", "Split at the first stop.", "Not later."),
        ("No stop here\n\nMore.", "No stop here", "More."),
        ("Use ``numpy.array`` of 1.5 or so.", "Use numpy.array of 1.5 or so.", ""),
    ],
)
def test_summary_sentence(docstring: str, summary: str, rest: str) -> None:
    assert split_docstring(docstring) == (summary, rest)


def test_copies_and_ambiguous_queries_are_dropped() -> None:
    first = Pair("a", "Sort the rows of a table.", "a.sort", "def sort(rows): ...")
    copy = Pair("b", "Sort the rows of a table.", "b.sort", "def  SORT(rows): ...")
    vague = [Pair(p, "Return a  copy of it.", f"{p}.copy", f"def copy_{p}(x): ...") for p in "cd"]
    assert deduplicate([first, copy, *vague]) == [first]


def test_a_package_is_on_one_side() -> None:
    assert {split_of(name) for name in map(str, range(200))} == {"train", "dev", "test"}
    assert split_of("json") == split_of("json")


def write_library(library: Path) -> Path:
    """Forty small packages of three functions each."""
    for i in range(40):
        functions = [
            f'def open_{i}_{j}(path, mode):\n    """Open drawer {j} of cabinet {i}."""\n'
            f"    drawer = cabinet_{i}.drawers[{j}]\n    drawer.unlock(mode, path)\n    return drawer, path, mode\n"
            for j in range(3)
        ]
        (library / f"cabinet{i}.py").write_text("\n\n".join(functions))
    return library


def installed(library: Path) -> SimpleNamespace:
    """What quickstart asks of sysconfig, so that the standard library is this folder (torch asks the real one)."""
    return SimpleNamespace(get_paths=lambda: {"stdlib": str(library)})


@pytest.mark.process
def test_pairs_are_the_same_for_any_number_of_processes(tmp_path: Path) -> None:
    library = write_library(tmp_path)
    pairs = read_packages([library], processes=1)
    assert len(pairs) == 120
    assert read_packages([library], processes=2) == pairs


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reduced form, from a folder of forty small packages in place of the standard library."""
    library = write_library(tmp_path_factory.mktemp("library"))
    folder = tmp_path_factory.mktemp("data") / "quickstart"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart_data, "sysconfig", installed(library))
        quickstart_data.build(folder, smoke=True)
    return folder


def test_folder_is_a_beir_folder_without_leaks(built: Path) -> None:
    data = load_beir(str(built), "unused", "test")
    rows = [json.loads(line) for line in (built / "train.jsonl").read_text().splitlines()]
    assert len(rows) + len(data.doc_ids) == 120
    assert data.queries and all(len(data.qrels[query]) == 1 for query in data.query_ids)
    held_out = {text.split(".")[0] for text in data.texts}
    assert not held_out & {row["pos"].split(".")[0] for row in rows}
    manifest = json.loads((built / "manifest.json").read_text())
    assert (manifest["train_pairs"], manifest["test_queries"]) == (len(rows), len(data.queries))


def test_model_and_tokenizer_load(built: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(built / "model")
    model = AutoModelForMaskedLM.from_pretrained(built / "model")
    assert tokenizer.is_fast and len(tokenizer) == model.config.vocab_size
    ids = tokenizer("Open drawer_ë")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer.tokenize("Open THE drawer") == tokenizer.tokenize("open the drawer")
    assert "##a" not in tokenizer.all_special_tokens


def test_a_rerun_does_nothing_and_other_settings_are_refused(built: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in built.rglob("*")}
    quickstart_data.build(built, smoke=True)
    assert {file: file.stat().st_mtime_ns for file in built.rglob("*")} == before
    with pytest.raises(UserError, match="remove"):
        quickstart_data.build(built, smoke=False)


def test_training_starts_at_a_documents_own_words(built: Path) -> None:
    """An untrained model weighs the tokens of a document most, and leaves nearly all others out."""
    encoder = sparse_model.load(str(built / "model"))
    text = json.loads((built / "train.jsonl").read_text().splitlines()[0])["pos"]
    weights = encoder.encode_documents([text]).toarray()[0]
    own = {i for row in encoder.tokenize_queries([text]) for i in row}
    assert set(weights.argsort()[::-1][: len(own) // 2]) <= own
    assert len(own & set(weights.nonzero()[0])) > 0.9 * len(own)


def test_query_weights_are_those_of_the_training_documents(built: Path) -> None:
    documents = [json.loads(line)["pos"] for line in (built / "train.jsonl").read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(built / "model")
    table = read_idf(str(built), tokenizer, len(tokenizer))
    assert table.equal(corpus_idf(tokenizer, documents, len(tokenizer)))


def test_a_stopped_build_leaves_nothing_in_the_folders_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    library, folder = write_library(tmp_path), tmp_path / "data" / "quickstart"
    monkeypatch.setattr(quickstart_data, "sysconfig", installed(library))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(small_model, "write_idf", stopped)
        quickstart_data.build(folder, smoke=True)
    assert not folder.exists()
    quickstart_data.build(folder, smoke=True)
    assert [path.name for path in folder.parent.iterdir() if "unfinished" in path.name] == []


def test_other_data_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("{}")
    with pytest.raises(UserError, match="holds other data"):
        quickstart_data.build(tmp_path, smoke=True)


def test_a_folder_that_another_process_makes_is_waited_for(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(built.with_name(f".{built.name}.lock"), "w") as lock:  # as another process would
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, [lock, fcntl.LOCK_UN]).start()
        quickstart_data.build(built, smoke=True)
    assert "another process is making it" in capsys.readouterr().err


def test_training_pairs_from_a_beir_folder(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "pairs" / "test.jsonl"
    assert beir_pairs([str(built), "--split", "test", "--output", str(output)]) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    data = load_beir(str(built), "unused", "test")
    assert [row["query"] for row in rows] == data.queries
    assert all(row["pos"] in data.texts for row in rows)
    assert beir_pairs([str(tmp_path), "--output", str(output)]) == 2
    assert "error:" in capsys.readouterr().err
