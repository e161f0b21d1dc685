"""Which results belong to what was asked: the recorded hashes, and the folders that name a run."""

import json
from pathlib import Path

import pytest
import yaml

from experiment.run.results import evaluation_folder, recorded_inputs, result_inputs
from experiment.settings.settings import load_settings

TRAINED = """model_name_or_path: base
train_file: rows.jsonl
data_type: kd
activation_type: l1_relu
flops_threshold: 200
idf_path: idf.json
max_seq_length: 256
prune_ratio: 0.1
output_dir: model
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder named model, with fixed bytes, in the current folder; idf.json and config/trained.yaml beside it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    (folder / "0_part").mkdir(parents=True)
    for name, text in (("config.json", '{"model_type": "bert"}'), ("modules.json", "[]"), ("run.json", "{}")):
        (folder / name).write_text(text)
    (folder / "0_part" / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(range(64)))
    (tmp_path / "idf.json").write_text('{"a": 1.5}')
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "trained.yaml").write_text(TRAINED)
    return folder


@pytest.mark.parametrize(
    ("words", "recorded"),
    [
        ("baseline=bm25", "2825a6a2ab7dca59"),
        ("model_name_or_path=model", "640d37576b9842e4"),
        ("model_name_or_path=model split=dev top_k=100 query_prune=0.1", "670069d7dba46600"),
        (
            "model_name_or_path=model idf_path=idf.json max_seq_length=128 activation_type=l1_relu use_l0=true",
            "dc2a9de7d50dab4c",
        ),
        ("model_name_or_path=model idf_path=corpus round_weights=true", "d67db89ca3ffd900"),
        ("model_name_or_path=model engine=opensearch use_two_phase=true bf16_full_eval=true", "a82565d2447c41b8"),
        ("model_name_or_path=model head_dtype=bfloat16 prune_ratio=0.2", "8419f06d0e97d050"),
        ("config/trained.yaml", "6bdd458c0fb88f4e"),
        ("config/trained.yaml max_seq_length=64", "e7a047ae69b12182"),
    ],
)
def test_hashes_of_version_0_1(checkpoint: Path, words: str, recorded: str) -> None:
    """What version 0.1 wrote as "config hash": with another one, everybody's results would be computed again."""
    assert result_inputs(load_settings(words.split()))["config hash"] == recorded
    metrics = [*words.split(), "metrics=nDCG@20"]
    assert result_inputs(load_settings(metrics))["config hash"] == recorded


RESOLVED = {
    **{"model_name_or_path": "base", "activation_type": "l1_relu", "idf_path": "idf.json", "prune_ratio": 0.1},
    **{"max_seq_length": 256, "eval_max_seq_length": None, "inf_free": True, "use_l0": False, "split_batch": 1},
    **{"train_file": "rows.jsonl", "data_type": "kd", "flops_threshold": 200, "output_dir": "model", "seed": 42},
}


@pytest.mark.parametrize("words", ["model", "model_name_or_path=model", "model/", "model top_k=10"])
def test_a_run_is_named_by_its_folder(checkpoint: Path, words: str) -> None:
    """Its results are those of its config: the same hash, the same folder, whether or not it recorded its words."""
    more = words.split()[1:]
    expected = result_inputs(load_settings(["config/trained.yaml", *more]))
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(RESOLVED))
    given = load_settings(["config/trained.yaml"]).written()
    for record in ({"given": given}, {}):
        (checkpoint / "run.json").write_text(json.dumps(record))
        settings = load_settings(words.split(), takes_folder=True)
        folder = evaluation_folder(settings)
        assert folder == Path("model/evaluation", *(["top_k-10"] if more else []))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(expected))
        assert recorded_inputs(settings, folder) == expected
    (folder / "summary.json").write_text(json.dumps({"config hash": "another"}))
    assert recorded_inputs(settings, folder) == result_inputs(settings), "other results stay other results"


@pytest.mark.parametrize("words", ["model/checkpoint-4", "model_name_or_path=model/checkpoint-4"])
def test_a_checkpoint_of_a_run(checkpoint: Path, words: str) -> None:
    (checkpoint / "checkpoint-4").mkdir()
    (checkpoint / "checkpoint-4" / "config.json").write_text("{}")
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(RESOLVED))
    settings = load_settings([words, "split=dev"], takes_folder=True)
    assert evaluation_folder(settings) == Path("model/evaluation/checkpoint-4_split-dev")
    assert result_inputs(settings)["model"] == "model/checkpoint-4"
