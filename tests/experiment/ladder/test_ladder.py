"""One command from a folder of documents to a checkpoint, its figures and a report; what goes on, what is refused."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sparse_model import load
from sparse_model.query_weights import read_idf
from tests.conftest import WORDS
from tests.processes import Done, begin, call

STEPS = "--max_steps=3 --save_steps=1 --per_device_train_batch_size=8 --max_seq_length=32 --eval_max_seq_length=32"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and twenty documents: each of a topic, three words that stand in each of its sentences."""
    folder, draw = tmp_path_factory.mktemp("documents"), random.Random(1)
    words = [word for word in WORDS if not word.startswith("##")]
    for number in range(120):
        topic = draw.sample(words, 3)
        body = ". ".join(" ".join([*topic, *draw.sample(words, 4)]).capitalize() for _ in range(4))
        (folder / f"{number}.txt").write_text(f"{' '.join(topic)}\n\n{body}.")
    return folder


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def words(folder: Path, tiny_model: Path) -> list[str]:
    """config/own_documents.yaml, small."""
    words = ["config/own_documents.yaml", f"documents={folder}", f"model_name_or_path={tiny_model}", *STEPS.split()]
    return [*words, "max_active_dims=[null,8]", "use_cpu=true"]


@pytest.fixture
def command(words: list[str], tmp_path: Path) -> Callable[..., Done]:
    """The command in this process."""

    def run(*more: str, out: str = "run") -> Done:
        return call("train_ir.py", *words, f"output_dir={tmp_path}/{out}", *more)

    return run


@pytest.mark.slow
def test_one_command(command: Callable[..., Done], tiny_model: Path, tmp_path: Path) -> None:
    """All that it leaves; the second time nothing is left to do, and an evaluation takes the folder."""
    done = command()
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    ladder = json.loads((run / "ladder/ladder.json").read_text())
    assert [rung["rung"] for rung in ladder["rungs"]] == [0, 1, 2, 3] and ladder["lengths"] == [None, 8]
    assert all(0 <= value <= 1 for row in [*ladder["rungs"], ladder["bm25"]] for value in row["ndcg@10"])
    assert all((rung["p"] < 0.05 and rung["gain"] > 0) or not rung["kept"] for rung in ladder["rungs"][1:])
    names = ["documents/corpus.jsonl", "pseudo/qrels/test.tsv", "ladder/index.html", "ladder/ladder.md", "config.yaml"]
    names += ["evaluation/pseudo.json", "evaluation/max_active_dims-8/pseudo.json", "report/index.html", "train.log"]
    assert all((run / name).is_file() for name in names)
    assert len(list((run / "evaluation/.vectors").iterdir())) == 1 == len(list((run / "ladder").glob("vectors-*")))
    encoder = load(str(run))
    assert encoder.inf_free and encoder.trained_share.lexical_share == ladder["lexical_share"]
    saved = read_idf(str(run / "ladder/idf.json"), encoder.tokenizer, encoder.vocabulary_size)
    kept = saved if ladder["rungs"][1]["kept"] else load(str(tiny_model), inf_free=True).idf_V
    words = encoder.tokenizer(" ".join(WORDS), add_special_tokens=False)["input_ids"]
    assert torch.allclose(encoder.idf_V[words], kept[words]), "the query weights that were kept, and no others"
    assert "BM25" in done.stdout and "What each rung gave" in done.stdout
    again = command()
    assert again.returncode == 0 and "training is finished already" in again.stderr + (run / "train.log").read_text()
    assert call("evaluate_beir.py", str(run)).returncode == 0
    other = command("passage_words=50")
    assert other.returncode == 2 and "passage_words: 200 before, 50 now" in other.stderr


@pytest.mark.slow
def test_hard_negatives(command: Callable[..., Done], tmp_path: Path) -> None:
    """They are of documents that have rows, and the training reads them."""
    done = command("pseudo_negatives=2", "sample_num_one_query=1", "per_device_train_batch_size=2")
    assert done.returncode == 0, done.stderr
    rows, mined = (read_rows(tmp_path / "run" / name / "train.jsonl") for name in ("pseudo", "ladder"))
    assert 0 < len(mined) <= len(rows) and {len(row["negs"]) for row in mined} <= {1, 2}
    assert all(neg != row["pos"] for row in mined for neg in row["negs"])
    trained = {row["passage"] for row in rows}
    corpus = {f"{row['title']} {row['text']}": row["_id"] for row in read_rows(tmp_path / "run/pseudo/corpus.jsonl")}
    assert all(corpus[neg] in trained for row in mined for neg in row["negs"])
    assert "ladder/train.jsonl" in (tmp_path / "run/training/config.yaml").read_text()


@pytest.mark.slow
def test_teachers(command: Callable[..., Done], tiny_model: Path, tmp_path: Path) -> None:
    """The start model's siamese form scores the batches of the last rung; its rows are like what people asked."""
    (tmp_path / "log.txt").write_text("york city\nrain snow wind\n")
    teachers = f"kd_ensemble_teacher_kwargs={{types: [sparse], model_ids: [{tiny_model}]}}"
    done = command("loss_types=infonce,kldiv", teachers, f"queries={tmp_path}/log.txt")
    assert done.returncode == 0, done.stderr
    logged = read_rows(tmp_path / "run/training/metrics.jsonl")
    assert any("kldiv" in row for row in logged) and (tmp_path / "run/model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.process
def test_it_goes_on_after_kills(command: Callable[..., Done], words: list[str], tmp_path: Path) -> None:
    """kill -9 at each stage ends as what was never stopped: the same ladder, the same weights, the same figures."""
    run = tmp_path / "run"
    stages = ("pseudo/pseudo.json", "ladder/start.json", "training/checkpoint-2/complete.json", "ladder/training.json")
    for marker in stages:
        process = begin("train_ir.py", *words, f"output_dir={run}")
        while not (run / marker).exists() and process.is_alive():
            time.sleep(0.002)
        process.kill()
        process.join()
        assert (run / marker).exists() and not (run / "model.safetensors").exists(), marker
    judged = (run / "ladder/start.json").stat().st_mtime_ns
    assert command().returncode == 0 and command(out="whole").returncode == 0
    assert (run / "ladder/start.json").stat().st_mtime_ns == judged, "what was judged is not judged again"
    for name in ("ladder/ladder.json", "model.safetensors", "pseudo/train.jsonl", "pseudo/queries.jsonl"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    figures = [json.loads((tmp_path / name / "evaluation/pseudo.json").read_text()) for name in ("run", "whole")]
    assert figures[0]["ndcg@10"] == figures[1]["ndcg@10"]


@pytest.mark.slow
def test_at_home_nothing_is_tried(command: Callable[..., Done], tmp_path: Path) -> None:
    """Query weights that were counted on the documents themselves: the start model is handed over, and evaluated."""
    assert command("max_steps=1", "save_steps=1").returncode == 0
    counted = tmp_path / "run/ladder/documents_idf.json"
    done = command(f"idf_path={counted}", out="home")
    assert done.returncode == 0, done.stderr
    ladder = json.loads((tmp_path / "home/ladder/ladder.json").read_text())
    assert ladder["at_home"] and ladder["shift"] < 0.03 and len(ladder["rungs"]) == 1
    assert "is at home" in done.stdout and not (tmp_path / "home/training").exists()
    encoder = load(str(tmp_path / "home"))
    assert torch.equal(encoder.idf_V, read_idf(str(counted), encoder.tokenizer, encoder.vocabulary_size))
    assert (tmp_path / "home/evaluation/pseudo.json").is_file() and (tmp_path / "home/report/index.html").is_file()
    tried = command(f"idf_path={counted}", "ladder_min_shift=0", "max_steps=1", "save_steps=1", out="tried")
    assert tried.returncode == 0 and (tmp_path / "tried/training").is_dir()


def test_a_dry_run_writes_nothing(command: Callable[..., Done], tmp_path: Path) -> None:
    done = command("dry_run=true")
    assert done.returncode == 0 and "120 files" in done.stdout and "lexical share of [0.1, 0.25, 0.5]" in done.stdout
    assert not (tmp_path / "run").exists()


def folder_of(path: Path, *contents: str | bytes, ending: str = "txt") -> Path:
    path.mkdir()
    for number, content in enumerate(contents):
        (path / f"{number}.{ending}").write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def own(place: Path, name: str) -> Path:
    """Documents that are a mistake."""
    texts = [f"Words of {i}: " + "word " * 20 for i in range(150)]
    rows = [json.dumps({"_id": "twice", "text": text}) for text in texts]
    made: dict[str, Callable[[], Path]] = {
        "empty": lambda: folder_of(place / name),
        "pictures": lambda: folder_of(place / name, b"\x89PNG", b"\x89PNG", ending="png"),
        "binary": lambda: folder_of(place / name, b"\0\1\2"),
        "latin": lambda: folder_of(place / name, "un caf\u00e9".encode("latin-1")),
        "blank": lambda: folder_of(place / name, " \n", ""),
        "one": lambda: folder_of(place / name, "one document " * 20),
        "same": lambda: folder_of(place / name, *["The same document in every file, word for word."] * 40),
        "untitled": lambda: folder_of(place / name, *texts),
        "columns": lambda: folder_of(place / name, "id,body\n1,words\n", ending="csv"),
        "broken": lambda: folder_of(place / name, '{"text": "a"}\n{"text": ', ending="jsonl"),
        "twice": lambda: folder_of(place / name, "\n".join(rows), ending="jsonl"),
        "large": lambda: folder_of(place / name, ""),
    }
    found = made[name]()
    if name == "large":
        os.truncate(found / "0.txt", 200 * 2**20)
    return found


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("empty", "there is nothing in it; documents are read of .txt"),
        ("pictures", "there is only 2 .png in it"),
        ("binary", "no document is left (1 not read: 0.txt: binary"),
        ("latin", "no document is left (1 not read: 0.txt: line 1 is not UTF-8"),
        ("large", "200 MiB are too many for one document; split it, or give rows (.jsonl)"),
        ("blank", "no document is left (2 empty: 0.txt); give documents"),
        ("one", "its 1 documents give too few queries"),
        ("same", "its 1 documents give too few queries"),
        ("untitled", "give more documents, or other kinds"),
        ("columns", "no column text; there are id, body. Name them (document_columns"),
        ("broken", "0.jsonl:2"),
        ("twice", "the id 'twice' stands twice; give each document one of its own"),
    ],
)
def test_mistaken_documents(command: Callable[..., Done], tmp_path: Path, documents: str, message: str) -> None:
    """Each ends with exit code 2 and a sentence, before a model is loaded."""
    kinds = ["pseudo_kinds=titles"] if documents == "untitled" else []
    done = command(f"documents={own(tmp_path, documents)}", *kinds, out="mistaken")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_mistaken_keys(command: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n")
    for words, message in [
        (["documents=nowhere"], "documents: there is no folder or file nowhere"),
        (["queries=nowhere.txt"], "queries: there is no file nowhere.txt"),
        ([f"queries={tmp_path}/blank.txt"], "holds no query; give a line for each"),
        (["train_file=a.jsonl"], "give train_file, train_file_dir or documents, one of them"),
        (["passage_overlap=150"], "passage_overlap: 150; from 0 to half of passage_words"),
        (["pseudo_kinds=titels"], "pseudo_kinds: 1: Input should be 'titles'"),
        (["bm25_language=klingon"], "bm25_language: Input should be 'danish', 'dutch', 'english'"),
        (["document_columns={body: x}"], "document_columns"),
        (["pseudo_negatives=1"], "pseudo_negatives: 1, but an example takes 2 (sample_num_one_query); give as many"),
        (["pseudo_negatives=2", "documents=null"], "pseudo_negatives: is for documents; rows (train_file) bring"),
        (["ladder_shares=0"], "ladder_shares"),
        (["ladder_shares=[0.1,1001]"], "ladder_shares: 2: Input should be less than or equal to 1000"),
        (["inf_free=false", "flops_q_lambda=1", "flops_q_T=1"], "documents: the ladder is for inf_free: true"),
    ]:
        done = command(*words, out="mistaken")
        assert done.returncode == 2 and message in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_run_lies_in_no_folder_of_documents(command: Callable[..., Done], tmp_path: Path) -> None:
    folder_of(tmp_path / "files", "one document " * 20)
    done = command(f"documents={tmp_path}/files", out="files/run")
    assert done.returncode == 2 and "where it would be read as documents; name another folder" in done.stderr
