"""One command from a folder of documents to a checkpoint, its figures and a report; what goes on, what is refused."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import experiment.ladder.climb as climbing
from sparse_model import load
from sparse_model.query_weights import read_idf
from tests.conftest import WORDS
from tests.processes import Done, call

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


@pytest.fixture
def command(folder: Path, tiny_model: Path, tmp_path: Path) -> Callable[..., Done]:
    """train_ir.py config/own_documents.yaml, small."""

    def run(*more: str, out: str = "run") -> Done:
        words = ["config/own_documents.yaml", f"documents={folder}", f"model_name_or_path={tiny_model}", *STEPS.split()]
        return call(
            "train_ir.py", *words, f"output_dir={tmp_path}/{out}", "max_active_dims=[null,8]", "use_cpu=true", *more
        )

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
def test_it_goes_on(command: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stopped before its training ends as what was never stopped: the same ladder, the same weights."""
    assert command(out="whole").returncode == 0

    def stop(settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(climbing, "train", stop)
        assert command().returncode == 1
    assert (tmp_path / "run/ladder/start.json").is_file() and not (tmp_path / "run/ladder/ladder.json").exists()
    judged = (tmp_path / "run/ladder/start.json").stat().st_mtime_ns
    done = command()
    assert done.returncode == 0 and (tmp_path / "run/ladder/start.json").stat().st_mtime_ns == judged
    for name in ("ladder/ladder.json", "model.safetensors", "pseudo/train.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_dry_run_writes_nothing(command: Callable[..., Done], tmp_path: Path) -> None:
    done = command("dry_run=true")
    assert done.returncode == 0 and "120 files" in done.stdout and "lexical share of [0.1, 0.25, 0.5]" in done.stdout
    assert not (tmp_path / "run").exists()


def test_mistakes(command: Callable[..., Done], tmp_path: Path) -> None:
    """Each is told before a model is loaded, with exit code 2."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.txt").write_text("one document " * 20)
    same = tmp_path / "same"
    same.mkdir()
    for number in range(40):
        (same / f"{number}.txt").write_text("The same document in every file, word for word.")
    binary = tmp_path / "binary"
    binary.mkdir()
    (binary / "a.txt").write_bytes(b"\0\1\2")
    for words, message in [
        (["documents=nowhere"], "documents: there is no folder or file nowhere"),
        (["queries=nowhere.txt"], "queries: there is no file nowhere.txt"),
        (["train_file=a.jsonl"], "give train_file, train_file_dir or documents, one of them"),
        (["passage_overlap=150"], "passage_overlap: 150; from 0 to half of passage_words"),
        (["pseudo_kinds=titels"], "pseudo_kinds: 1: Input should be 'titles'"),
        (["document_columns={body: x}"], "document_columns"),
        (["ladder_shares=0"], "ladder_shares"),
        (["inf_free=false", "flops_q_lambda=1", "flops_q_T=1"], "documents: the ladder is for inf_free: true"),
        ([f"documents={tmp_path}/empty"], "there is nothing in it"),
        ([f"documents={tmp_path}/one"], "its 1 documents give too few queries"),
        ([f"documents={same}"], "its 1 documents give too few queries"),
        ([f"documents={binary}"], "no document is left (1 not read)"),
    ]:
        done = command(*words, out="mistaken")
        assert done.returncode == 2 and message in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
