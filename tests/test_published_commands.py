"""The published commands as they are typed, over stand-ins for the repositories that they name, in two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml

from tests.conftest import WORDS
from tests.hub import CODE
from tests.processes import PATIENCE_S, ROOT
from tests.retrieval.bag_of_words import write_beir
from tests.stand_ins import MINER, fill_hub

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.xdist_group("published")]

CONFIG = "config/mask_vary_threshold/200_0.04.yaml"
FEW_STEPS = "max_steps=4 warmup_steps=2 flops_d_T=2 logging_steps=2 save_steps=2".split()
DATA_SETS = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["beir_datasets"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it was cloned, with small data sets where the commands look for them."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name not in ("data", "output"):
            (folder / path.name).symlink_to(path)
    for name in ("msmarco", *DATA_SETS):
        _write_data_set(folder / "data" / "beir" / name, *((110, 8, "train") if name == "msmarco" else (20, 3, "test")))
    fill_hub(folder / "data" / "hf" / "hub", tmp_path_factory.mktemp("models"))
    return folder


def _write_data_set(folder: Path, documents: int, queries: int, split: str) -> None:
    rng = np.random.default_rng(len(folder.name))
    corpus = [{"_id": f"d{i}", "title": "", "text": " ".join(rng.choice(WORDS, 8))} for i in range(documents)]
    asked = [{"_id": f"q{i}", "text": " ".join(rng.choice(WORDS, 3))} for i in range(queries)]
    write_beir(folder, corpus, asked, [(f"q{i}", f"d{i}", 1) for i in range(queries)], split=split)


def _type(checkout: Path, *words: str) -> str:
    """What a command says that succeeds."""
    here = {"HF_HOME": str(checkout / "data" / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "NPROC": "2"}
    done = subprocess.run(
        words,
        cwd=checkout,
        env={**os.environ, **here, "PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_prepared_trained_evaluated_and_reported(checkout: Path) -> None:
    """The default teachers: pickled weights, a tokenizer of SentencePiece's, code of a repository at its commit."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    said = _type(checkout, *torchrun, "data_preparation.py", "--model_name_or_path", MINER)
    assert said.count(f"code of {CODE} runs, at the commit") == 1
    rows = datasets.load_from_disk(str(checkout / "data" / "msmarco_ft"))
    assert len(rows) == 8 and all(len(row) == 100 for row in rows["scores"])
    for name, scores in rows[0]["teacher_scores"].items():
        assert np.isfinite(scores).all() and np.std(scores) > 0, name
    assert len(rows[0]["teacher_scores"]) == 4

    _type(checkout, "bash", "run_reproduce.sh", CONFIG, "--", *FEW_STEPS, "engine=exact")
    run = checkout / "output" / "mask_vary_threshold" / "200_0.04"
    assert json.loads((run / "run.json").read_text())["processes"] == 2
    assert {path.stem for path in run.glob("evaluation/*/*.json")} >= set(DATA_SETS)
    assert (checkout / "output" / "report" / "mask_vary_threshold" / "index.html").is_file()


@pytest.mark.opensearch
def test_evaluated_in_opensearch(checkout: Path) -> None:
    """As published, on a node with its default heap; after the test above, whose model it is."""
    if not (home := os.environ.get("OPENSEARCH_HOME")):
        pytest.skip("OPENSEARCH_HOME (an unpacked OpenSearch with mapper-extras) is not set")
    node = [f"opensearch_home={home}", "beir_datasets=scifact,arguana"]
    said = _type(checkout, "bash", "run_reproduce.sh", CONFIG, "--", *FEW_STEPS, *node)
    assert said.count("is complete: 20 documents") == 2 and "1 of 1 runs are evaluated" in said
