"""Checkpoints on the way: which are whole, which is the last, which may go.

A marker is written last, so that its existence means that the checkpoint is complete on every process.
"""

import json
import logging
import pickle
import re
import shutil
from pathlib import Path

from retrieval.files import write_atomically
from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

MARKER = "complete.json"


def mark_complete(folder: Path, step: int) -> None:
    """Say that everything of the checkpoint is on disk."""
    (folder / MARKER).write_text(json.dumps({"step": step}), encoding="utf-8")


def complete_checkpoints(output_dir: Path) -> list[Path]:
    """The whole checkpoint-N folders, by N."""
    return [folder for folder in _numbered(output_dir) if (folder / MARKER).is_file()]


def step_of(folder: Path) -> int:
    """N of checkpoint-N."""
    return int(folder.name.rsplit("-", 1)[1])


def remove_incomplete(output_dir: Path) -> None:
    """Delete what a killed run left half-written."""
    for folder in _numbered(output_dir):
        if not (folder / MARKER).is_file():
            logger.warning("%s was not written to its end and is removed", folder)
            shutil.rmtree(folder)


def _numbered(output_dir: Path) -> list[Path]:
    """The folders named checkpoint-N and nothing else (a user's own copies stay what they are), by N."""
    found = (path for path in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name))
    return sorted((path for path in found if path.is_dir()), key=step_of)


def check_readable(folder: Path) -> None:
    """Raise a UserError if a checkpoint lacks a part or one is damaged, before anything is changed."""
    import torch  # here: which checkpoints there are is asked without it
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt", "config.json", "model.safetensors"):
        path = folder / name
        try:
            if name.endswith(".json"):
                json.loads(path.read_text(encoding="utf-8"))
            elif name.endswith(".pt"):
                torch.load(path, map_location="cpu", weights_only=True)
            else:
                load_file(path)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
            raise UserError(
                f"{path} is missing or damaged ({type(error).__name__}); remove {folder}, and the run goes on from "
                "the checkpoint before it."
            ) from None


def rotate(output_dir: Path, keep: int | None, best: str | None) -> None:
    """Delete the oldest whole checkpoints beyond `keep` (None or 0: all stay), never the best one."""
    if not keep:
        return
    best_path = Path(best).resolve() if best else None
    candidates = [c for c in complete_checkpoints(output_dir) if c.resolve() != best_path]
    room = max(1, keep - (best_path is not None))
    for folder in candidates[:-room]:
        shutil.rmtree(folder)


def trim_metrics(path: Path, step: int) -> None:
    """Cut metrics.jsonl back to what was logged up to `step`, a half-written last line included."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("step", 0) <= step and "train_runtime" not in entry:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept))


def seconds_logged(path: Path) -> float:
    """Seconds of training that metrics.jsonl (as `trim_metrics` leaves it) has seen so far."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return json.loads(lines[-1]).get("train_seconds", 0.0) if lines else 0.0
