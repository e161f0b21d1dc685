"""Which runs a set of configs stands for, and which commands train and evaluate each of them."""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from experiment import run_folder
from experiment.config_file import read_with_bases
from experiment.models import EVALUATED_MODEL_KEYS
from experiment.settings import Settings, load_settings
from retrieval.beir_data import label
from sparse_model.errors import UserError
from training.checkpoints import complete_checkpoints

PAPER_FOLDERS = (
    "mask_vary_threshold mask+activation_vary_threshold mask+activation_vary_lambda mask_vary_lambda "
    "just_activation vary_activation baseline"
).split()
PREPARATION = Path("config/data_preparation.yaml")
REPORT = "report.yaml"
# In a folder: what its configs share, how their data are made, and how their report divides them.
NO_RUNS = ("base.yaml", PREPARATION.name, REPORT)
OF_A_PREPARATION = ("dataset", "teachers", "source")
OF_THE_MODEL = (*EVALUATED_MODEL_KEYS, "model_name_or_path")
NOT_FOR_ALL = {
    "overwrite": "every start would train anew; move the old folders aside, or give --name for another place",
    "dry_run": "give --dry-run before the --",
}


def _labels(names: Any) -> Any:
    """Data sets as the report calls them, whether or not their splits are named."""
    return [label(name) if isinstance(name, str) else name for name in names] if isinstance(names, list) else names


class ReportKeys(BaseModel):
    """What report.yaml in a folder of configs says: the options of experiment.report of the same names."""

    model_config = ConfigDict(extra="forbid")
    title: Annotated[str, Field(pattern="^[^-]|^$")] = ""
    baseline: str | None = None
    groups: dict[
        Annotated[str, Field(pattern=r"^[^=\s-][^=]*$")],
        Annotated[list[str], BeforeValidator(_labels), Field(min_length=1)],
    ] = {}


@dataclass(frozen=True)
class Run:
    """One config with the overrides it is run with; `scoring` and `scored` are those of its evaluation."""

    config: Path
    overrides: list[str]
    scoring: list[str]
    settings: Settings
    scored: Settings

    @property
    def name(self) -> str:
        """<family>/<name>, where the family is the config's folder."""
        return f"{self.config.resolve().parent.name}/{self.config.stem}"

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
            missing.append(f"{path}: {'holds no *.yaml' if path.is_dir() else 'there is no such config or folder'}")
        configs += sorted(found, key=_by_numbers)
    if missing:
        raise UserError("\n".join([*missing, "Name configs or folders of configs, e.g. config/quickstart."]))
    return list(dict.fromkeys(configs))


def _by_numbers(path: Path) -> list[str | float]:
    """Sorts 50_0.04 before 100_0.04: words and numbers take turns."""
    parts = re.split(r"(\d+(?:\.\d+)?)", path.stem)
    return [float(part) if i % 2 else part for i, part in enumerate(parts)]


def read_runs(configs: Sequence[Path], overrides: Sequence[str], name: str | None) -> list[Run]:
    """Settings of each config; `name` moves all runs to output/<name>/, in folders where they come from several.

    Raises:
        UserError: with the mistakes of all configs, and for two runs with one output folder.
    """
    given = {_key(word) for word in overrides}
    mistakes = [f"{key}: not for a list of configs: {why}." for key, why in NOT_FOR_ALL.items() if key in given]
    families = {config.resolve().parent for config in configs}
    runs = []
    for config in configs:
        below = Path(config.resolve().parent.name if len(families) > 1 else "", config.stem)
        try:
            runs.append(_read(config, [*overrides, *([f"output_dir=output/{name}/{below}"] if name else [])]))
        except UserError as error:
            mistakes += str(error).splitlines()
    taken: dict[Path, Path] = {}
    for run in runs:
        other = taken.setdefault(run.folder, run.config)
        if other != run.config:
            mistakes.append(f"{run.config} and {other} would both write to {run.folder}")
    if mistakes:
        # What stands in a common base or on the command line is said once.
        raise UserError("\n".join(dict.fromkeys(mistakes)))
    return runs


def _read(config: Path, overrides: list[str]) -> Run:
    settings = load_settings([str(config), *overrides])
    if not settings.given.keys().isdisjoint(OF_A_PREPARATION):
        raise UserError(f"{config}: prepares data; it is for data_preparation.py, and no run to train or evaluate.")
    trains = settings.trains and not settings.evaluation.baseline
    if trains:
        settings = load_settings([str(config), *overrides], for_training=True)
    scoring = overrides
    if settings.trains or settings.evaluation.baseline:
        # On an evaluation's command line they would override what the trained checkpoint says of itself.
        scoring = [word for word in overrides if _key(word) not in OF_THE_MODEL]
    return Run(config, overrides, scoring, settings, load_settings([str(config), *scoring]))


def select(runs: Sequence[Run], patterns: Sequence[str]) -> list[Run]:
    """The runs whose <family>/<name> fits one of the patterns (all without any), as a shell would match them.

    Raises:
        UserError: if a pattern fits none.
    """
    for pattern in patterns:
        if not any(fnmatch(run.name, pattern) for run in runs):
            raise UserError(f"--only {pattern}: fits no run; they are called {', '.join(run.name for run in runs)}.")
    return [run for run in runs if not patterns or any(fnmatch(run.name, pattern) for pattern in patterns)]


def _key(word: str) -> str:
    """The key of an override, key=value or --key=value."""
    return word.removeprefix("--").partition("=")[0]


def launch(script: str, config: Path, overrides: Sequence[str], processes: int) -> list[str]:
    """The words that run one of the commands in so many processes."""
    path = os.path.relpath(Path(__file__).resolve().parent.parent / script)
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


def training_processes(run: Run, processes: int) -> int:
    """What a training was begun with, since it can only go on with as many; else `processes`."""
    recorded = run_folder.read_json(run.folder / "run.json").get("processes")
    return recorded if isinstance(recorded, int) and complete_checkpoints(run.folder) else processes


def preparations(run: Run) -> dict[Path, Path]:
    """What data_preparation.py is to be run with before this run: configs, and the missing data that each makes.

    The configs are those of the folder data/ beside the run's config, and config/data_preparation.yaml.
    """
    data = run.settings.data
    wanted, folder = (os.path.realpath(path) if path else None for path in (data.train_file, data.train_file_dir))
    missing = {}
    for config in _preparing(run):
        made = _made_by(config)
        is_wanted = made and (os.path.realpath(made) == wanted or os.path.realpath(made.parent) == folder)
        if made and is_wanted and not has_training_data(made):
            missing[config] = Path(os.path.relpath(made))
    return missing


def _preparing(run: Run) -> list[Path]:
    """The configs that may be said to prepare a run's data."""
    found = [*sorted((run.config.parent / "data").glob("*.yaml")), PREPARATION]
    return [path for path in found if run.trains and path.name != "base.yaml" and path.is_file()]


def _made_by(config: Path) -> Path | None:
    """The data set's folder, absolute, if the config prepares one."""
    settings = load_settings([str(config)])
    if settings.given.keys().isdisjoint(("output_dir", *OF_A_PREPARATION)):
        return None
    return Path(settings.prepared_data).expanduser().absolute()


def check_preparations(runs: Sequence[Run]) -> None:
    """Look at the configs that prepare data before anything is run.

    Raises:
        UserError: with the mistakes of all of them, and for two that would write to one folder.
    """
    mistakes: list[str] = []
    taken: dict[str, Path] = {}
    for config in dict.fromkeys(config for run in runs for config in _preparing(run)):
        try:
            made = _made_by(config)
        except UserError as error:
            mistakes += str(error).splitlines()
            continue
        if made and (other := taken.setdefault(os.path.realpath(made), config)) != config:
            mistakes.append(f"{config} and {other} would both write to {os.path.relpath(made)}")
    if mistakes:
        raise UserError("\n".join(dict.fromkeys(mistakes)))


def has_training_data(path: str | Path) -> bool:
    """Whether a file or a whole data set folder is there; state.json is the last file of one."""
    return Path(path).is_file() or Path(path, "state.json").is_file()


def report_options(runs: Sequence[Run]) -> list[str]:
    """The words for experiment.report that the report.yaml beside the configs stand for.

    Groups of data sets that the runs are not scored on are left out, and a baseline that is none of the runs.

    Raises:
        UserError: naming every mistake in such a file, and what two of them say differently.
    """
    words, mistakes = [], []
    said: dict[str, tuple[object, Path]] = {}
    scored = {label(name) for run in runs for name in run.scored.evaluation.beir_datasets}
    for path in dict.fromkeys(run.config.parent / REPORT for run in runs):
        if not path.is_file():
            continue
        try:
            keys = ReportKeys.model_validate({k: v for _, mapping in read_with_bases(path) for k, v in mapping.items()})
        except UserError as error:
            mistakes.append(str(error))
            continue
        except ValidationError as error:
            mistakes += [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            continue
        here: dict[str, object] = {f"groups.{name}": datasets for name, datasets in keys.groups.items()}
        for key, value in (here | {"title": keys.title, "baseline": keys.baseline}).items():
            before, other = said.setdefault(key, (value, path)) if value else (value, path)
            if before != value:
                mistakes.append(f"{path}: {key}: {other} says otherwise; mend one, or give one folder at a time.")
        words += ["--title", keys.title] if keys.title else []
        baseline = _baseline(keys.baseline, runs) if keys.baseline else None
        words += ["--baseline", baseline] if baseline else []
        left_out = [f"baseline: {keys.baseline} is none of the runs"] if keys.baseline and not baseline else []
        for name, datasets in keys.groups.items():
            if name in scored:
                mistakes.append(f"{path}: groups.{name}: is a data set's name; give the group another.")
            words += ["--group", f"{name}={','.join(datasets)}"] if scored.issuperset(datasets) else []
            unscored = ", ".join(sorted({*datasets} - scored))
            left_out += [f"groups.{name}: no run is scored on {unscored}"] if unscored else []
        print("".join(f"{path}: {what}; left out of the report\n" for what in left_out), end="", file=sys.stderr)
    if mistakes:
        raise UserError("\n".join([*mistakes, f"The keys of a {REPORT}: {', '.join(ReportKeys.model_fields)}."]))
    return words


def _baseline(name: str, runs: Sequence[Run]) -> str | None:
    """How the report will call the run that a folder's report.yaml calls so: by its path below all runs' folder."""
    above = os.path.commonpath([run.folder.parent.absolute() for run in runs])
    known = {Path(os.path.relpath(run.folder, above)).as_posix() for run in runs}
    known |= {re.sub(r"[-_.]?seed[-_=]?\d+$", "", path) for path in known}
    known |= {"BM25"} if any(run.scored.evaluation.baseline for run in runs) else set()
    run_name, dot, evaluation = name.partition(" · ")
    found = [path for path in sorted(known) if f"/{path}".endswith(f"/{run_name}")]
    return f"{found[0]}{dot}{evaluation}" if found else None


def report_folder(names: Sequence[str], name: str | None) -> str:
    """output/report/<name>: the one given, the configs' folders, or paper."""
    folders = [Path(n) if Path(n).is_dir() else Path(n).parent for n in names]
    return f"output/report/{name or '+'.join(dict.fromkeys(f.resolve().name for f in folders)) or 'paper'}"
