"""Short training runs and what they leave."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from experiment.run.train import build_objective, load_examples
from experiment.settings.settings import Settings
from training.data import Examples
from training.objective import Objective

NO_DROPOUT = 'model_overrides={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}'


def words_for(model: Path, file: Path, output: Path, *more: str) -> list[str]:
    data_type = "kd" if "kd" in str(file) else "posnegs"
    loss = ["loss_types=kldiv"] if data_type == "kd" else ["loss_types=infonce", "use_in_batch_negatives=true"]
    return [
        *(f"model_name_or_path={model}", f"train_file={file}", f"data_type={data_type}", f"output_dir={output}"),
        *loss,
        *("max_seq_length=16", "per_device_train_batch_size=4", "max_steps=4", "learning_rate=1e-3"),
        *("flops_d_lambda=0.01", "flops_d_T=2", "logging_steps=1", "save_strategy=no", "disable_tqdm=true", *more),
    ]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def parts(settings: Settings) -> tuple[list[Examples], Objective]:
    """The examples and the loss that settings describe."""
    examples = load_examples(settings.data, settings.loss.use_in_batch_negatives, settings.value("seed"))
    return examples, build_objective(settings.loss, settings.data.temperature, settings.model.inf_free)


def stop_before(run: Path, *steps: int) -> None:
    """Make a finished run one that was killed: these checkpoints not written to their ends, no final model."""
    for step in steps:
        (run / f"checkpoint-{step}" / "complete.json").unlink()
    record = json.loads((run / "run.json").read_text())
    del record["finished"]
    (run / "run.json").write_text(json.dumps(record))
    (run / "model.safetensors").unlink()
