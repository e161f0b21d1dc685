"""The model card: what the hub reads of it, whose figures it shows, and that an edited one is left alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import sparse_model
from sparse_model.card import write_card


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    encoder = sparse_model.load(tiny_model, activation_type="l1_relu", max_seq_length=32)
    encoder.save(tmp_path / "run")
    return tmp_path / "run"


def put(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def evaluated(folder: Path, model: str, ndcg: float, data: str = "abc") -> None:
    record = {"dataset": "scifact", "split": "test", "metrics": ["ndcg@10"], "ndcg@10": ndcg, "flops": 1.25}
    put(folder / "evaluation" / "scifact.json", record | {"d_length": 80.5, "model": model, "data hash": data})


def test_every_checkpoint_has_one_that_the_hub_reads(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    data = ModelCard(text).data.to_dict()
    assert {"sparse-encoder", "splade", "inference-free"} <= set(data["tags"])
    assert "base_model" not in data and "license" not in data  # nobody said
    for words in (
        'sparse_model.load("path/to/run")',
        "SparseEncoder(",
        "rank_features",
        "export fastembed",
        "32 tokens",
    ):
        assert words in text
    assert "take log1p once more" in text and "None yet" in text
    sparse_model.load(folder)


def test_a_siamese_model_of_another_activation(tiny_model: Path, tmp_path: Path) -> None:
    """Is no inference-free one, and no usage is shown that would not work."""
    sparse_model.load(tiny_model, activation_type="l2_relu", inf_free=False).save(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "inference-free" not in ModelCard(text).data.tags and "export fastembed" not in text
    assert "refuses the model" in text and "take log1p 2 times more" in text


def test_settings_and_figures_with_bm25s_of_the_same_data(folder: Path) -> None:
    given = {"model_name_or_path": "google/bert_uncased_L-2_H-128_A-2", "train_file": "/home/me/secret/train.jsonl"}
    put(folder / "run.json", {"given": given | {"flops_d_lambda": 0.01, "loss_types": ["infonce"]}})
    evaluated(folder, str(folder), 0.6543)
    evaluated(folder.parent / "bm25", "bm25", 0.6789)
    evaluated(folder.parent / "bm25-of-other-data", "bm25", 0.1111, data="other")
    assert write_card(folder, "me/model", language="en", license="apache-2.0")
    text = (folder / "README.md").read_text()
    data = ModelCard(text).data
    assert (data.base_model, data.language, data.license) == (given["model_name_or_path"], "en", "apache-2.0")
    found = {result.metric_type: result.metric_value for result in data.eval_results}
    assert found == {"ndcg@10": 0.6543, "flops": 1.25, "d_length": 80.5}
    assert "| scifact | this model | 0.6543 | 1.25 | 80.5 |" in text and "| scifact | BM25 | 0.6789 |" in text
    assert "0.1111" not in text and "secret" not in text and "train.jsonl" in text and "flops_d_lambda 0.01" in text


def test_an_edited_card_is_left_alone(folder: Path) -> None:
    """Ours is brought up to date, and keeps what was said of language and licence."""
    path = folder / "README.md"
    assert write_card(folder, license="mit") and write_card(folder)
    assert "license: mit" in path.read_text()
    for mine in (path.read_text().replace("Limits", "My limits"), path.read_text() + "\nMore.\n", "# Mine\n"):
        path.write_text(mine)
        assert not write_card(folder, license="apache-2.0")
        sparse_model.load(folder).save(folder)
        assert path.read_text() == mine
    sparse_model.load(folder)
