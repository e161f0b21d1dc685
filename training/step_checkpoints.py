"""Checkpoints on the way: which are whole, which is the last, which may go.

The manifest is written last, so that its existence means that the checkpoint is complete on every process.
"""

import json
import logging
import pickle
import re
import shutil
from pathlib import Path

from retrieval.files import write_atomically
from sparse_model.errors import UserError
from sparse_model.manifest import MANIFEST, check_manifest, files_below, read_manifest, write_manifest

logger = logging.getLogger(__name__)

# What a training goes on with beside the model.
STATE = (".pt", ".pth", ".bin", "trainer_state.json")


def mark_complete(folder: Path, step: int, run_id: str | None) -> None:
    """Say that everything of the checkpoint is on disk, and which run it belongs to."""
    files, state = files_below(folder), _state_files(folder)
    model = [path for path in files if path not in state]
    write_manifest(folder, model, state, step=step, run=run_id, finished=False)


def _state_files(folder: Path) -> set[Path]:
    return {path for path in folder.iterdir() if path.name.endswith(STATE)}


def complete_checkpoints(output_dir: Path) -> list[Path]:
    """The whole checkpoint-N folders, by N."""
    return [folder for folder in _numbered(output_dir) if (folder / MANIFEST).is_file()]


def step_of(folder: Path) -> int:
    """N of checkpoint-N."""
    return int(folder.name.rsplit("-", 1)[1])


def remove_incomplete(output_dir: Path) -> None:
    """Delete what a killed run left half-written."""
    for folder in _numbered(output_dir):
        if not (folder / MANIFEST).is_file():
            logger.warning("%s was not written to its end and is removed", folder)
            shutil.rmtree(folder)


def _numbered(output_dir: Path) -> list[Path]:
    """The folders named checkpoint-N and nothing else (a user's own copies stay what they are), by N."""
    found = (path for path in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name))
    return sorted((path for path in found if path.is_dir()), key=step_of)


def check_checkpoint(folder: Path, run_id: str | None = None) -> None:
    """Look at a checkpoint before a training goes on from it, and before anything is changed.

    Raises:
        UserError: if a file is missing or damaged, is none of the checkpoint's, or belongs to another run.
    """
    remedy = f"Remove {folder}, and the run goes on from the checkpoint before it."
    says = read_manifest(folder)
    if "training_state" not in says:
        return _check_readable(folder, remedy)
    check_manifest(folder, remedy, lists=("files", "training_state"))
    if foreign := [path.name for path in sorted(_state_files(folder)) if path.name not in says["training_state"]]:
        raise UserError(f"{folder / foreign[0]} was not there when the checkpoint was written: take it out.")
    if run_id and says.get("run") != run_id:
        raise UserError(f"{folder} belongs to another run than {folder.parent}. {remedy}")


def _check_readable(folder: Path, remedy: str) -> None:
    """A checkpoint of version 0.1, which has no list of files."""
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
            raise UserError(f"{path} is missing or damaged ({type(error).__name__}). {remedy}") from None


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
