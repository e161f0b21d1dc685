"""Which runs a set of configs stands for, and which commands train and evaluate each of them."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch

from experiment.settings.effects import Changes
from experiment.settings.files import COMMAND_LINE
from experiment.settings.keys import PreparationKeys, keys_that_change
from experiment.settings.old_keys import OLD
from experiment.settings.settings import Settings, load_settings
from retrieval.files import read_json
from sparse_model.errors import UserError
from training.step_checkpoints import complete_checkpoints

PAPER_FOLDERS = (
    "mask_vary_threshold mask+activation_vary_threshold mask+activation_vary_lambda mask_vary_lambda "
    "just_activation vary_activation baseline"
).split()
PREPARATION = Path("config/data_preparation.yaml")
REPORT = "report.yaml"
# In a folder: what its configs share, how their data are made, and how their report divides them.
NO_RUNS = ("base.yaml", PREPARATION.name, REPORT)
OF_A_PREPARATION = list(PreparationKeys.model_fields)
NOT_FOR_ALL = {
    "overwrite": "every start would train anew; move the old folders aside, or give --name for another place",
    "dry_run": "give --dry-run before the --",
}


@dataclass(frozen=True)
class PlannedRun:
    """One config with the overrides it is run with; `scoring` and `scored` are those of its evaluation."""

    config: Path
    overrides: list[str]
    scoring: list[str]
    settings: Settings
    scored: Settings
    suffix: str = ""
    """of its name and folder, where a config stands for runs with several seeds"""

    @property
    def name(self) -> str:
        """<family>/<name>, where the family is the config's folder."""
        return f"{self.config.resolve().parent.name}/{self.config.stem}{self.suffix}"

    @property
    def folder(self) -> Path:
        """Where everything of the run goes."""
        return self.settings.output_dir

    @property
    def trains(self) -> bool:
        """Whether a model is trained before it is scored."""
        return self.settings.trains and not self.settings.evaluation.baseline

    def command(self, step: str, processes: int) -> list[str]:
        """The words that start a step, "train" or "evaluate"."""
        script, words = {"train": ("train_ir.py", self.overrides), "evaluate": ("evaluate_beir.py", self.scoring)}[step]
        return launch(script, self.config, words, processes)


def find_configs(names: Sequence[str]) -> list[Path]:
    """The config files that the arguments stand for, in order: files, and folders' *.yaml but NO_RUNS.

    Raises:
        UserError: naming every argument that is neither, and every folder without configs.
    """
    configs: list[Path] = []
    missing = []
    for path in map(Path, names):
        found = [p for p in path.glob("*.yaml") if p.name not in NO_RUNS] if path.is_dir() else [path]
        if not found or not all(p.is_file() for p in found):
            missing.append(f"{path}: {_why_no_config(path)}")
        configs += sorted(found, key=_by_numbers)
    if missing:
        raise UserError("\n".join([*missing, "Name configs or folders of configs, e.g. config/quickstart."]))
    return list(dict.fromkeys(configs))


def _why_no_config(path: Path) -> str:
    if path.is_dir():
        return "holds no *.yaml"
    return f"keys stand behind two dashes: -- {path}" if "=" in str(path) else "there is no such config or folder"


def _by_numbers(path: Path) -> list[str | float]:
    """Sorts 50_0.04 before 100_0.04: words and numbers take turns."""
    parts = re.split(r"(\d+(?:\.\d+)?)", path.stem)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def read_runs(configs: Sequence[Path], overrides: Sequence[str], name: str | None) -> list[PlannedRun]:
    """Settings of each config; `name` moves all runs to output/<name>/, in folders where they come from several.

    Raises:
        UserError: with the mistakes of all configs, and for two runs with one output folder.
    """
    overrides = one_word_each(overrides)
    given = {_key(word) for word in overrides}
    mistakes = [f"{key}: not for a list of configs: {why}." for key, why in NOT_FOR_ALL.items() if key in given]
    families = {config.resolve().parent for config in configs}
    runs = []
    for config in configs:
        below = Path(config.resolve().parent.name if len(families) > 1 else "", config.stem)
        try:
            runs += _read(config, [*overrides, *([f"output_dir=output/{name}/{below}"] if name else [])])
        except UserError as error:
            mistakes += str(error).splitlines()
    taken: dict[Path, PlannedRun] = {}
    for run in runs:
        other = taken.setdefault(run.folder, run)
        if other is not run:
            mistakes.append(f"{run.config} and {other.config} would both write to {run.folder}")
    if mistakes:
        # What stands in a common base or on the command line is said once.
        raise UserError("\n".join(dict.fromkeys(mistakes)))
    return runs


def _read(config: Path, overrides: list[str]) -> list[PlannedRun]:
    """The run of a config, or those of its seeds."""
    settings = load_settings([str(config), *overrides])
    if not settings.given.keys().isdisjoint(OF_A_PREPARATION):
        raise UserError(f"{config}: prepares data; it is for data_preparation.py, and no run to train or evaluate.")
    if not settings.run.seeds:
        return [_run(config, overrides, "")]
    if settings.evaluation.baseline:  # nothing is drawn at random
        return [_run(config, [*overrides, "seeds=null"], "")]
    if settings.given.get("seed") == COMMAND_LINE:
        raise UserError(f"{COMMAND_LINE}: seed: stands beside seeds; give one of them.")
    runs = []
    for seed in settings.run.seeds:
        # The seed that the config names itself keeps the name: what was run without seeds counts.
        suffix = "" if seed == settings.value("seed") else f"_seed{seed}"
        folder = [f"output_dir={settings.output_dir}{suffix}"] if suffix else []
        words = [*overrides, "seeds=null", f"seed={seed}", *folder]
        runs.append(_run(config, words, suffix))
    return runs


def _run(config: Path, overrides: list[str], suffix: str) -> PlannedRun:
    settings = load_settings([str(config), *overrides])
    if settings.trains and not settings.evaluation.baseline:
        settings = load_settings([str(config), *overrides], for_training=True)
    scoring = overrides
    if settings.trains or settings.evaluation.baseline:
        # On an evaluation's command line they would override what the trained checkpoint says of itself.
        scoring = [word for word in overrides if not _is_of_the_model(_key(word))]
    return PlannedRun(config, overrides, scoring, settings, load_settings([str(config), *scoring]), suffix)


def _is_of_the_model(key: str) -> bool:
    """Whether a key, or one that an old name stands for, decides which model encodes and how."""
    return key in OLD or (key in keys_that_change(Changes.VECTORS, "model"))


def select(runs: Sequence[PlannedRun], patterns: Sequence[str]) -> list[PlannedRun]:
    """The runs whose <family>/<name> fits one of the patterns (all without any), as a shell would match them.

    Raises:
        UserError: if a pattern fits none.
    """
    for pattern in patterns:
        if not any(fnmatch(run.name, pattern) for run in runs):
            raise UserError(f"--only {pattern}: fits no run; they are called {', '.join(run.name for run in runs)}.")
    return [run for run in runs if not patterns or any(fnmatch(run.name, pattern) for pattern in patterns)]


def one_word_each(overrides: Sequence[str]) -> list[str]:
    """The overrides with `--key value`, which is two words, as `--key=value`."""
    words: list[str] = []
    for word in overrides:
        waits = words and words[-1].startswith("--") and "=" not in words[-1]
        if waits and not word.startswith("--"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _key(word: str) -> str:
    """The key of an override, key=value or --key=value."""
    return word.removeprefix("--").partition("=")[0]


def launch(script: str, config: Path, overrides: Sequence[str], processes: int) -> list[str]:
    """The words that run one of the commands in so many processes."""
    path = os.path.relpath(Path(__file__).resolve().parents[2] / script)
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [sys.executable, *(many if processes > 1 else []), path, str(config), *overrides]


def count_processes() -> int:
    """NPROC, else one for each GPU, else 1.

    Raises:
        UserError: if NPROC is no positive number.
    """
    asked = os.environ.get("NPROC") or str(max(1, torch.cuda.device_count()))
    if not asked.isdecimal() or int(asked) < 1:
        raise UserError(f"NPROC={asked}: give a number of processes, 1 or more.")
    return int(asked)


def training_processes(run: PlannedRun, processes: int) -> int:
    """What a training was begun with, since it can only go on with as many; else `processes`."""
    recorded = read_json(run.folder / "run.json").get("processes")
    return recorded if isinstance(recorded, int) and complete_checkpoints(run.folder) else processes


def report_folder(names: Sequence[str], name: str | None) -> str:
    """output/report/<name>: the one given, the configs' folders, or paper."""
    folders = [Path(n) if Path(n).is_dir() else Path(n).parent for n in names]
    return f"output/report/{name or '+'.join(dict.fromkeys(f.resolve().name for f in folders)) or 'paper'}"
