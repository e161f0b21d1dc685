"""The loss of 50 steps under a fixed seed, recorded: what makes training faster must not change what it computes.

`python -m tests.training.test_golden_losses` records anew; do so only when a change of the loss is meant.
"""

import json
import tempfile
from pathlib import Path

import pytest

from experiment.run.train import train
from experiment.settings.settings import load_settings
from tests.conftest import SENTENCES, make_model, write_jsonl

GOLDEN = Path(__file__).with_name("golden_losses.json")
RUNS = {
    "kldiv, plain FLOPS": ["loss_types=kldiv", "data_type=kd"],
    "infonce in batch, mask and l1_relu": [
        *("loss_types=infonce", "data_type=posnegs", "use_in_batch_negatives=true"),
        *("activation_type=l1_relu", "flops_threshold=10", "idf_path=corpus", "idf_requires_grad=true"),
    ],
}


def _losses(folder: Path, keys: list[str]) -> list[float]:
    """50 losses of a tiny model on documents of unlike lengths, without dropout."""
    documents = [
        " ".join([*s.split()[i % 3 :], *SENTENCES[i - 1].split()[: 4 * (i % 4)]]) for i, s in enumerate(SENTENCES)
    ]
    rows = [
        {"query": " ".join(d.split()[:3]), "docs": [d, documents[i - 1]], "scores": [3.0, 1.0]}
        if "data_type=kd" in keys
        else {"query": " ".join(d.split()[:3]), "pos": d, "negs": [documents[i - 1], documents[i - 2]]}
        for i, d in enumerate(documents)
    ]
    dropout = 'model_overrides={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}'
    argv = [
        *(
            f"model_name_or_path={make_model(folder / 'model')}",
            f"train_file={write_jsonl(folder / 'rows.jsonl', rows)}",
        ),
        *(f"output_dir={folder / 'run'}", dropout, "per_device_train_batch_size=3", "max_steps=50", "seed=7"),
        *("learning_rate=1e-3", "flops_d_lambda=0.01", "flops_d_T=20", "max_seq_length=32", "logging_steps=1"),
        *("save_strategy=no", "disable_tqdm=true", *keys),
    ]
    train(load_settings(argv))
    log = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in log if "loss" in line]


@pytest.mark.parametrize("name", RUNS)
def test_fifty_losses_are_those_recorded(name: str, tmp_path: Path) -> None:
    recorded = json.loads(GOLDEN.read_text())[name]
    assert len(recorded) == 50
    # Another order of summation moves a loss by about 1e-7 at first; AdamW lets that grow over the steps.
    losses = _losses(tmp_path, RUNS[name])
    assert losses[:3] == pytest.approx(recorded[:3], rel=2e-6)
    assert losses == pytest.approx(recorded, rel=1e-4)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        losses = {name: _losses(Path(scratch) / str(i), keys) for i, (name, keys) in enumerate(RUNS.items())}
    GOLDEN.write_text(json.dumps(losses, indent=1) + "\n")
