"""The folder of a run: what was asked for and with what, so that the same command continues and another does not.

config.yaml holds the resolved keys, run.json what they were run with (processes, data, versions, commit) and, once
it is trained to its end, the number of steps.
"""

import fcntl
import json
import logging
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

from experiment.settings.keys import GROUPS
from experiment.settings.settings import Settings, without_credentials
from retrieval.files import move_aside, read_json, write_atomically, write_json
from retrieval.fingerprint import hash_of as hash_of
from sparse_model import UserError
from training.step_checkpoints import complete_checkpoints

logger = logging.getLogger(__name__)

SWEEP_LOG = "sweep.log"
FAILED = "failed.json"

# Fields of TrainingArguments that change the weights; every other one may change when a run is continued.
WEIGHT_FIELDS = (
    "per_device_train_batch_size gradient_accumulation_steps learning_rate lr_scheduler_type lr_scheduler_kwargs "
    "warmup_steps warmup_ratio optim optim_args weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm "
    "bf16 fp16 seed data_seed max_steps num_train_epochs full_determinism use_cpu torch_compile tf32"
).split()
WEIGHT_KEYS = [
    key
    for group in ("model", "data", "loss")
    for key in GROUPS[group].model_fields
    if key not in ("eval_max_seq_length", "split_batch", "prune_ratio", "preprocess_func", "use_l0")
] + WEIGHT_FIELDS


def open_run(settings: Settings, facts: dict[str, Any], length: dict[str, Any]) -> dict[str, Any]:
    """Create or reopen the output folder; returns run.json of an earlier start ({} if there was none).

    Args:
        length: max_steps and num_train_epochs; a run recorded as finished at this length is left as it is.
        facts: what the run depends on beside its keys: "processes", "data hash".

    Raises:
        UserError: if the folder cannot be written, holds something else, or an earlier run differs in what
            changes weights (all differences at once).
    """
    folder = settings.output_dir
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output_dir: {folder} is a file; give a folder.")
    if settings.run.overwrite and folder.exists():
        move_aside(folder)
    recorded = read_json(folder / "run.json")
    has_work = recorded.get("finished") or complete_checkpoints(folder)
    if has_work and not ({"processes", "data hash"} <= set(recorded) and (folder / "config.yaml").is_file()):
        raise UserError(
            f"{folder}: its run.json or config.yaml is missing or damaged, so it cannot be told what the run was; "
            "restore it, or give overwrite=true to move the run aside."
        )
    if has_work:
        _refuse_differences(settings, folder, facts, recorded)
    elif not recorded and folder.exists() and any(p for p in folder.iterdir() if not _may_precede(p.name)):
        raise UserError(
            f"output_dir: {folder} is not empty and holds no run of this program; give another folder, or "
            "overwrite=true to move it aside."
        )
    if recorded.get("finished") == length and (folder / "model.safetensors").is_file():
        return recorded
    make_writable(folder)
    fields = {field: settings.value(field) for field in WEIGHT_FIELDS}
    write_atomically(folder / "config.yaml", yaml_text(fields | settings.resolved()))
    record = {**recorded, **facts, "command": command_line(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
    write_json(folder / "run.json", record | {"versions": versions(), "git commit": git_commit()})
    return recorded


def _may_precede(name: str) -> bool:
    """Whether a file may lie in the folder before its run begins: a sweep's notes, an evaluation, hidden files."""
    return name in ("evaluation", SWEEP_LOG, FAILED) or name.startswith(".")


def differences(settings: Settings, folder: Path) -> dict[str, str]:
    """The keys that change weights and differ from the recorded run's, each with both values."""
    before = read_yaml(folder / "config.yaml")
    found = {}
    for key in WEIGHT_KEYS:
        old, new = before.get(key, settings.default(key)), settings.value(key)
        longer = key in ("max_steps", "num_train_epochs") and new > old > 0
        if old != new and not longer:
            found[key] = f"{old!r} before, {new!r} now"
    return found


def _refuse_differences(settings: Settings, folder: Path, facts: dict[str, Any], recorded: dict[str, Any]) -> None:
    found = [f"{key}: {both}" for key, both in differences(settings, folder).items()]
    found += [
        f"{key}: {recorded.get(key)} before, {value} now" for key, value in facts.items() if recorded.get(key) != value
    ]
    if found:
        raise UserError(
            f"{folder} holds a run with other settings:\n  "
            + "\n  ".join(found)
            + "\nGive the old values to continue it, another output_dir, or overwrite=true to move it aside."
        )


class FolderInUse(UserError):
    """Another process writes to the folder; `owner` says which."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.owner = owner
        super().__init__(f"output_dir: {owner} is writing to {folder}; wait, or give another.")


def lock_path(folder: Path) -> Path:
    """The folder's lock: it lies beside the folder, which may be moved aside."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes from writing to the folder meanwhile; to be entered by the main process.

    The system gives the lock back when its owner ends, however it ends, so there are no stale ones.

    Args:
        patience: seconds to wait for the owner.

    Raises:
        FolderInUse: if another process holds it (two runs would mix their files).
        UserError: if nothing can be written there.
    """
    make_writable(folder.parent)
    with open(lock_path(folder), "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + patience
        try:
            while not _take(file):
                if time.monotonic() >= deadline:
                    raise FolderInUse(folder, _owner(file))
                time.sleep(0.1)
            file.truncate(0)
            print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
        except OSError as error:
            logger.warning("%s: this disk has no locks (%s); do not start two runs there", folder, error.strerror)
        yield


def holder(folder: Path) -> str | None:
    """Which process has locked the folder; None if none has. Nothing is written."""
    try:
        with open(lock_path(folder), encoding="utf-8") as file:
            return None if _take(file, fcntl.LOCK_SH) else _owner(file)
    except OSError:
        return None


def _take(file: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "another process"


def make_writable(folder: Path) -> None:
    """Create the folder and try to write in it.

    Raises:
        UserError: if that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be written ({error.strerror}); give another.") from None


def yaml_text(values: dict[str, Any]) -> str:
    """Plain YAML; what YAML has no type for becomes text."""
    return yaml.safe_dump(json.loads(json.dumps(values, default=str)), sort_keys=False, allow_unicode=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file; {} if there is none.

    Raises:
        UserError: if it holds something else.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged; restore it, or give overwrite=true to move the run aside.")
    return value


def command_line() -> str:
    """The command as typed, but for the values of secrets."""
    return shown(["python", *sys.argv])


def shown(words: Sequence[str]) -> str:
    """A command's words as one line, but for the values of secrets."""
    return re.sub(r"((?:token|password)[=\s])\S+", r"\1***", without_credentials(shlex.join(words)))


def versions() -> dict[str, str]:
    """Python's and the main libraries' versions."""
    names = ("torch", "transformers", "accelerate", "datasets", "numpy", "scipy", "tokenizers", "opensearch-py")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def git_commit() -> str | None:
    """The commit of the program's own checkout, with "+changes" if files differ from it; None outside git."""
    here = Path(__file__).resolve().parents[2]
    try:
        options = {"cwd": here, "capture_output": True, "text": True, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()  # type: ignore[call-overload]
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **options).stdout.strip()  # type: ignore[call-overload]
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")
