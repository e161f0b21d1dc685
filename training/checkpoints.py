"""Checkpoints on the way: which are whole, which is the last, which may go.

A marker is written last, so that its existence means that the checkpoint is complete on every process.
"""

import json
import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

MARKER = "complete.json"


def mark_complete(folder: Path, step: int) -> None:
    """Say that everything of the checkpoint is on disk."""
    (folder / MARKER).write_text(json.dumps({"step": step}), encoding="utf-8")


def complete_checkpoints(output_dir: Path) -> list[Path]:
    """The whole checkpoint-N folders, by N."""
    found = [path.parent for path in output_dir.glob(f"checkpoint-*/{MARKER}")]
    return sorted(found, key=step_of)


def step_of(folder: Path) -> int:
    """N of checkpoint-N."""
    return int(folder.name.rsplit("-", 1)[1])


def remove_incomplete(output_dir: Path) -> None:
    """Delete what a killed run left half-written."""
    for folder in output_dir.glob("checkpoint-*"):
        if folder.is_dir() and not (folder / MARKER).is_file():
            logger.warning("%s was not written to its end and is removed", folder)
            shutil.rmtree(folder)


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
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), encoding="utf-8")
    temporary.replace(path)


def seconds_logged(path: Path) -> float:
    """Seconds of training that metrics.jsonl (as `trim_metrics` leaves it) has seen so far."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return json.loads(lines[-1]).get("train_seconds", 0.0) if lines else 0.0
