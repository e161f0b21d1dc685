"""What run_reproduce.sh is to run: the commands that train, evaluate and report a set of configs.

    python -m experiment.plan [--dry-run] [--name NAME] [CONFIG or FOLDER]… [-- key=value…]

Prints one line a command, tab-separated: its step (train, evaluate, report), its folder, the command's words;
the report's lacks the run folders, since only those of runs that succeeded belong in it. With
--dry-run: one line a run, with its state.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from experiment import run_folder
from experiment.engines import check_engine
from experiment.models import EVALUATED_MODEL_KEYS
from experiment.settings import Settings, load_settings
from sparse_model.errors import RunError, UserError
from training.checkpoints import complete_checkpoints

PAPER_FOLDERS = (
    "mask_vary_threshold mask+activation_vary_threshold mask+activation_vary_lambda mask_vary_lambda "
    "just_activation vary_activation baseline"
).split()
OF_THE_MODEL = (*EVALUATED_MODEL_KEYS, "model_name_or_path")


@dataclass(frozen=True)
class Run:
    """One config with the overrides it is run with."""

    config: Path
    overrides: list[str]
    settings: Settings


def find_configs(names: Sequence[str]) -> list[Path]:
    """The config files that the arguments stand for, in order: files, and folders' *.yaml but base.yaml.

    Raises:
        UserError: naming every argument that is neither, and every folder without configs.
    """
    configs: list[Path] = []
    missing = []
    for path in map(Path, names):
        found = sorted(p for p in path.glob("*.yaml") if p.name != "base.yaml") if path.is_dir() else [path]
        if not found or not all(p.is_file() for p in found):
            missing.append(f"{path}: {'holds no *.yaml' if path.is_dir() else 'there is no such config or folder'}")
        configs += found
    if missing:
        raise UserError("\n".join([*missing, "Name configs or folders of configs, e.g. config/quickstart."]))
    return list(dict.fromkeys(configs))


def read_runs(configs: Sequence[Path], overrides: Sequence[str], name: str | None) -> list[Run]:
    """Settings of each config; `name` moves all runs to output/<name>/.

    Raises:
        UserError: with the mistakes of all configs, and for two runs with one output folder.
    """
    runs, mistakes = [], []
    for config in configs:
        own = [*overrides, *([f"output_dir=output/{name}/{config.stem}"] if name else [])]
        try:
            settings = load_settings([str(config), *own])
            if settings.trains and not settings.evaluation.baseline:
                settings = load_settings([str(config), *own], for_training=True)
            runs.append(Run(config, own, settings))
        except UserError as error:
            mistakes.append(str(error))
    taken: dict[Path, Path] = {}
    for run in runs:
        other = taken.setdefault(run.settings.output_dir, run.config)
        if other != run.config:
            mistakes.append(f"{run.config} and {other} would both write to {run.settings.output_dir}")
    if mistakes:
        raise UserError("\n".join(mistakes))
    return runs


def commands(runs: Sequence[Run], processes: int, report: str) -> Iterator[tuple[str, str, list[str]]]:
    """(step, folder, command) in the order in which they are to be run."""
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    for run in runs:
        config, folder = str(run.config), str(run.settings.output_dir)
        baseline = run.settings.evaluation.baseline is not None
        evaluation = run.overrides
        if baseline or run.settings.trains:
            # On an evaluation's command line they would override what the trained checkpoint says of itself.
            evaluation = [word for word in run.overrides if key_of(word) not in OF_THE_MODEL]
        if run.settings.trains and not baseline:
            yield "train", folder, [*launch, "train_ir.py", config, *run.overrides]
        yield "evaluate", folder, [*launch, "evaluate_beir.py", config, *evaluation]
    yield "report", report, [sys.executable, "-m", "experiment.report", "--output", report]


def key_of(word: str) -> str:
    """The key of an override, key=value or --key=value."""
    return word.removeprefix("--").partition("=")[0]


def state(run: Run) -> str:
    """How far a run is, and what it would lack if started now."""
    settings, folder = run.settings, run.settings.output_dir
    checkpoints = complete_checkpoints(folder) if folder.is_dir() else []
    evaluated = any((folder / "evaluation").glob("**/summary.json"))
    trains = settings.trains and not settings.evaluation.baseline
    if trains and not run_folder.read_json(folder / "run.json").get("finished"):
        known = f"goes on from {checkpoints[-1].name}" if checkpoints else "new"
    else:
        known = "evaluated" if evaluated else "trained, not evaluated" if trains else "not evaluated"
    return ", ".join([known, *lacking(settings)])


def lacking(settings: Settings) -> Iterator[str]:
    """What is not on this machine: model, training data, data sets, GPU."""
    model = settings.model.model_name_or_path
    if model and not settings.evaluation.baseline and not Path(model).exists():
        if not _is_cached(model):
            yield f"model {model} is not on this disk"
    for path in filter(None, (settings.data.train_file, settings.data.train_file_dir)):
        if not Path(path).exists():
            yield f"training data {path} is missing"
    absent = [
        name
        for name in settings.evaluation.beir_datasets
        if not Path(name).is_dir() and not Path(settings.evaluation.beir_dir, name).is_dir()
    ]
    if absent:
        yield f"data sets not in {settings.evaluation.beir_dir}: {' '.join(absent)}"
    if settings.evaluation.engine == "opensearch":
        try:
            check_engine(settings)
        except (UserError, RunError) as error:
            yield f"no search engine ({error})"
    if settings.value("fp16") and not torch.cuda.is_available():
        yield "no GPU (fp16 runs as float32)"


def _is_cached(model: str) -> bool:
    try:
        return isinstance(try_to_load_from_cache(model, "config.json"), str)
    except ValueError:  # not the form of a hub id
        return False


def count_processes() -> int:
    """NPROC, else one for each GPU, else 1.

    Raises:
        UserError: if NPROC is no positive number.
    """
    asked = os.environ.get("NPROC") or str(max(1, torch.cuda.device_count()))
    if not asked.isdecimal() or int(asked) < 1:
        raise UserError(f"NPROC={asked}: give a number of processes, 1 or more.")
    return int(asked)


def report_folder(names: Sequence[str], name: str | None) -> str:
    """output/report/<name>: the one given, the configs' folders, or paper."""
    folders = [Path(n) if Path(n).is_dir() else Path(n).parent for n in names]
    return f"output/report/{name or '+'.join(dict.fromkeys(f.resolve().name for f in folders)) or 'paper'}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="run_reproduce.sh",
        description="Train, evaluate, report. After --, key=value overrides a key in every config. NPROC sets the "
        "processes of a run (else one for each GPU), PYTHON the interpreter.",
        allow_abbrev=False,
    )
    parser.add_argument("configs", nargs="*", metavar="CONFIG or FOLDER", help="default: the paper's seven sweeps")
    parser.add_argument("--dry-run", action="store_true", help="check the configs and show each run's state")
    parser.add_argument("--name", help="results go to output/NAME and output/report/NAME")
    arguments = parser.parse_args(words[:split])
    names = arguments.configs or [f"config/{folder}" for folder in PAPER_FOLDERS]
    try:
        if not arguments.configs and not any(Path(name).is_dir() for name in names):
            raise UserError("the configs of the paper's sweeps are not here; name configs, e.g. config/quickstart.")
        if arguments.name and Path(arguments.name).name != arguments.name:
            raise UserError(f"--name {arguments.name}: a plain folder name is needed.")
        runs = read_runs(find_configs(names), words[split + 1 :], arguments.name)
        if arguments.dry_run:
            for run in runs:
                print(f"{run.config}: {state(run)}")
            return 0
        report = report_folder(arguments.configs, arguments.name)
        for step, label, command in commands(runs, count_processes(), report):
            if any("\t" in word for word in command):
                raise UserError(f"{label}: a tab in a path or value cannot be passed on; rename it.")
            print(step, label, *command, sep="\t")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
