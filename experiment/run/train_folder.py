"""The folder of a training: opened for a run, or reopened to go on."""

import logging
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment.run.done import Status
from experiment.run.folder import (
    FAILED,
    SWEEP_LOG,
    command_line,
    git_commit,
    make_writable,
    versions,
    yaml_text,
)
from experiment.run.locks import locked
from retrieval.files import read_json, write_atomically, write_json
from sparse_model.errors import UserError
from training import step_checkpoints as checkpoints

logger = logging.getLogger(__name__)


def open_run(folder: Path, status: Status, config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Create or reopen the folder for a training that is not done; the run's id, which its checkpoints bear.

    Args:
        status: of the training that the folder holds.
        config: every key with its value, for config.yaml.
        facts: for run.json: what the run depends on beside its keys, "processes" and "data hash"; the keys that were
            "given".

    Raises:
        UserError: if the folder cannot be written, holds something else, or holds a run that differs in what
            changes weights (all differences at once); if the checkpoint to go on from is damaged, or there is none.
        FolderInUse: if it is being evaluated.
    """
    if status.state == "different":
        raise UserError(
            f"{folder} holds a run with other settings:\n  "
            + "\n  ".join(f"{key}: {both}" for key, both in status.because.items())
            + "\nGive the old values to continue it, another output_dir, or overwrite=true to move it aside."
        )
    recorded = read_json(folder / "run.json")
    if not recorded and folder.exists() and any(p for p in folder.iterdir() if not _may_precede(p.name)):
        raise UserError(
            f"output_dir: {folder} is not empty and holds no run of this program; give another folder, or "
            "overwrite=true to move it aside."
        )
    with locked(folder, purpose="users"):
        _require_checkpoint(folder, recorded)
        make_writable(folder)
        run_id = recorded.get("id") or secrets.token_hex(8)
        started = {"command": command_line(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        record = {**recorded, "id": run_id, **facts, **started, "versions": versions(), "git commit": git_commit()}
        write_json(folder / "run.json", record)  # first: the folder is this program's from here on
        write_atomically(folder / "config.yaml", yaml_text(dict(config)))
    return str(run_id)


def _may_precede(name: str) -> bool:
    """Whether a file may lie in the folder before its run begins: a sweep's notes, an evaluation, hidden files."""
    return name in ("evaluation", SWEEP_LOG, FAILED) or name.startswith(".")


def close_run(folder: Path, length: dict[str, Any]) -> None:
    """Record that the training is done, to this length."""
    write_json(folder / "run.json", read_json(folder / "run.json") | {"finished": length})


def _require_checkpoint(folder: Path, recorded: Mapping[str, Any]) -> None:
    """Look at what a run is to go on from before anything of it is changed."""
    whole = checkpoints.complete_checkpoints(folder)
    if recorded.get("finished") and not whole:
        raise UserError(
            f"{folder}: the run is finished and left no checkpoint to go on from (save_strategy); overwrite=true "
            "moves it aside and trains anew."
        )
    if whole:
        checkpoints.check_checkpoint(whole[-1], recorded.get("id"))


def checkpoint_to_resume(folder: Path) -> Path | None:
    """The last whole checkpoint (None: from the start); everything later is cut off."""
    checkpoints.remove_incomplete(folder)
    whole = checkpoints.complete_checkpoints(folder)
    checkpoints.trim_metrics(folder / "metrics.jsonl", checkpoints.step_of(whole[-1]) if whole else -1)
    if whole:
        logger.info("going on from %s", whole[-1])
    return whole[-1] if whole else None
