"""The folder of a run: what was asked for and with what, so that the same command continues and another does not.

config.yaml holds the resolved keys, run.json what they were run with (processes, data, versions, commit) and, once
it is trained to its end, the number of steps.
"""

import json
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from experiment.settings.files import from_yaml
from experiment.settings.mistakes import without_credentials
from sparse_model.errors import UserError

SWEEP_LOG = "sweep.log"
FAILED = "failed.json"


def make_writable(folder: Path) -> None:
    """Create the folder and try to write in it.

    Raises:
        UserError: if that fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # which no kill leaves behind
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
        value = from_yaml(path.read_text(encoding="utf-8")) or {} if path.is_file() else {}
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
    public = [re.sub(r"((?:token|password)=).+", r"\1***", word, flags=re.DOTALL) for word in words]
    follows = [False, *(re.search(r"(token|password)$", word) is not None for word in words)]
    typed = ("***" if secret else word for word, secret in zip(public, follows, strict=False))
    return without_credentials(shlex.join(typed))


def versions() -> dict[str, str]:
    """Python's and the main libraries' versions; those of extras where they are installed."""
    names = ("torch", "transformers", "accelerate", "datasets", "numpy", "scipy", "tokenizers", "opensearch-py")
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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
