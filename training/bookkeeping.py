"""Between steps: epochs for the sampler, metrics.jsonl, query weights, the guards."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from training import step_checkpoints as checkpoints

# Steps between two looks for collapse or NaN; each look waits for the device.
GUARD_STEPS = 50


class Bookkeeping(TrainerCallback):
    """Of a `training.trainer.Trainer`."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.started = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started = time.perf_counter() - checkpoints.seconds_logged(Path(args.output_dir) / "metrics.jsonl")

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.sampler.set_epoch(int((state.epoch or 0.0) + 1e-6))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        table = self.trainer.encoder.idf_V
        if table is not None and table.requires_grad:
            with torch.no_grad():
                if self.trainer.start_V is not None:
                    table.lerp_(self.trainer.start_V.to(table.device), self._pull())
                table.clamp_(min=0.0)  # query weights of every consumer are non-negative
        if state.global_step % GUARD_STEPS == 0:
            self.trainer.check()
            warm_up = args.get_warmup_steps(state.max_steps)
            self.trainer.guard.end_block(counts=state.global_step >= warm_up + GUARD_STEPS)

    def _pull(self) -> float:
        """The share of the way to its start that a step takes the query table: learning rate × decay."""
        groups = self.trainer.optimizer.param_groups  # type: ignore[union-attr]
        return min(1.0, groups[-1]["lr"] * self.trainer.idf_decay)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.check()
        if self.trainer.dial:
            self.trainer.log(self.trainer.dial.at_end())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if state.is_world_process_zero:
            seconds = round(time.perf_counter() - self.started, 3)
            entry = {"step": state.global_step, **(logs or {}), "train_seconds": seconds, "time": round(time.time(), 3)}
            with open(Path(args.output_dir) / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
