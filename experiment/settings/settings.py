"""Settings: every key with type, default and meaning; YAML files, overrides, and all mistakes at once.

`load_settings(argv)` takes what a command takes, `[CONFIG.yaml] [key=value | --key value | --key=value]…`.
Keys that are not ours are fields of the installed transformers.TrainingArguments.
"""

import dataclasses
import difflib
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from transformers import TrainingArguments

from experiment.settings.files import COMMAND_LINE, parse_arguments, read_with_bases
from experiment.settings.keys import (
    GROUP_OF,
    GROUPS,
    DataKeys,
    EvaluationKeys,
    Keys,
    LossKeys,
    ModelKeys,
    OpenSearchKeys,
    PreparationKeys,
    RunKeys,
    TeacherKeys,
)
from experiment.settings.rules import common_mistakes, training_mistakes
from sparse_model import UserError

REFUSED = {
    "fsdp": "parameters are not sharded; use data parallelism (torchrun)",
    "deepspeed": "use data parallelism (torchrun)",
    "label_smoothing_factor": "ranking losses have no labels to smooth",
    "remove_unused_columns": "columns are chosen by data_type",
    "resume_from_checkpoint": "the same command continues by itself from the last checkpoint in output_dir",
    "ignore_data_skip": "a run that is continued sees the examples that it has not seen",
    "save_only_model": "a run could not be continued from such checkpoints",
    "auto_find_batch_size": "the batch decides the in-batch negatives and FLOPS; lower per_device_train_batch_size",
    "neftune_noise_alpha": "noise on embeddings is not available",
    "group_by_length": "a batch's examples are drawn at random, since they share negatives and FLOPS",
}
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "warmup_ratio": "warmup_steps",  # a value below 1 is a share of the steps
}
# Ours where the Trainer's default would surprise: no accounts asked for, NaN shown and not averaged away.
TRAINER_DEFAULTS: dict[str, Any] = {"report_to": "none", "logging_nan_inf_filter": False, "seed": 42}


@dataclasses.dataclass
class Settings:
    """Validated keys by group; `training` holds the given fields of TrainingArguments."""

    model: ModelKeys
    data: DataKeys
    loss: LossKeys
    evaluation: EvaluationKeys
    opensearch: OpenSearchKeys
    preparation: PreparationKeys
    run: RunKeys
    training: dict[str, Any]
    given: dict[str, str]  # key -> the file it stands in, or "command line"
    config_path: Path | None

    @property
    def trains(self) -> bool:
        """Whether the config names training data."""
        return bool(self.data.train_file or self.data.train_file_dir)

    @property
    def output_dir(self) -> Path:
        """output_dir, or its default: by the config's path, else the model's name."""
        if self.run.output_dir:
            return Path(self.run.output_dir).expanduser()
        if self.config_path is not None:
            parts = self.config_path.with_suffix("").parts
            below = parts[parts.index("config") + 1 :] if "config" in parts[:-1] else parts[-1:]
            return Path("output", *below)
        name = self.model.model_name_or_path or self.evaluation.baseline or "run"
        return Path("output", Path(name).resolve().name if Path(name).exists() else Path(name).name)

    @property
    def prepared_data(self) -> str:
        """Where a data preparation's data set goes: output_dir, or data/<dataset>_ft."""
        return self.run.output_dir or f"data/{Path(os.path.abspath(self.preparation.dataset)).name}_ft"

    def on_command_line(self, *keys: str) -> dict[str, Any]:
        """The given ones of `keys` that stand on the command line, with their values."""
        return {key: self.value(key) for key in keys if self.given.get(key) == COMMAND_LINE}

    def value(self, key: str) -> Any:
        """One key's value, ours or the Trainer's (its default where it is not given)."""
        if key in GROUP_OF:
            return getattr(getattr(self, GROUP_OF[key]), key)
        return self.training.get(key, trainer_defaults().get(key))

    def default(self, key: str) -> Any:
        """What `value` is where the key is not given."""
        return GROUPS[GROUP_OF[key]].model_fields[key].default if key in GROUP_OF else trainer_defaults().get(key)

    def resolved(self) -> dict[str, Any]:
        """Every key of ours and every given one of the Trainer, flat, as config.yaml stores it."""
        ours = {key: value for name in GROUPS for key, value in getattr(self, name).model_dump().items()}
        for once in ("dry_run", "overwrite", "traceback"):
            del ours[once]
        ours["opensearch_url"] = [without_credentials(url) for url in self.opensearch.opensearch_url]
        public = {key: value for key, value in self.training.items() if "token" not in key}
        return ours | {"output_dir": str(self.output_dir)} | public


def without_credentials(text: str) -> str:
    """The text with user and password taken out of every URL in it."""
    return re.sub(r"(\w+://)[^\s,]*@", r"\1", text)


def load_settings(argv: list[str], for_training: bool = False) -> Settings:
    """Settings from a command's arguments; for_training: they must be fit to train with.

    Raises:
        UserError: naming every mistake at once, each with its file, key and remedy.
    """
    config_path, overrides = parse_arguments(argv)
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    if config_path is not None:
        for path, mapping in read_with_bases(config_path):
            values.update(mapping)
            given.update(dict.fromkeys(mapping, str(path)))
    values.update(overrides)
    given.update(dict.fromkeys(overrides, COMMAND_LINE))
    return _validate(values, given, config_path, for_training)


def _validate(values: dict[str, Any], given: dict[str, str], config_path: Path | None, for_training: bool) -> Settings:
    mistakes: list[str] = []
    groups: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for name, group in GROUPS.items():
        groups[name], errors = _validate_group(group, {k: v for k, v in values.items() if GROUP_OF.get(k) == name})
        mistakes += [f"{given[key]}: {key}: {text}" for key, text in errors]
    for key, value in values.items():
        if key not in GROUP_OF:
            try:
                renamed, value = _validate_training(key, value)
                training[renamed] = value
                given.setdefault(renamed, given[key])
            except ValueError as error:
                mistakes.append(f"{given[key]}: {key}: {error}")
    settings = Settings(**groups, training={**TRAINER_DEFAULTS, **training}, given=given, config_path=config_path)
    if settings.run.overwrite and given["overwrite"] != COMMAND_LINE:
        mistakes.append(f"{given['overwrite']}: overwrite: give it on the command line, for one run only.")
    # What only seems to be missing because its own line is mistaken is not said twice.
    combined = common_mistakes(settings) + (training_mistakes(settings) if for_training else [])
    mistakes += [text for text in combined if not any(text.partition(":")[0] in mistake for mistake in mistakes)]
    if mistakes:
        raise UserError("\n".join(mistakes))
    if settings.model.use_l0:
        settings.model.activation_type = "l1_relu"
    return settings


def _validate_group(group: type[Keys], values: dict[str, Any]) -> tuple[Keys, list[tuple[str, str]]]:
    try:
        return group(**values), []
    except ValidationError as error:
        mistaken = {e["loc"][0] for e in error.errors()}
        found = [(str(e["loc"][0]), f"{_inner(e['loc'])}{_message(e)} (found {e['input']!r})") for e in error.errors()]
        return group(**{key: value for key, value in values.items() if key not in mistaken}), found


def _message(error: Any) -> str:
    """One of pydantic's errors, in our words where its own do not help."""
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), TeacherKeys.model_fields)
    if error["type"] == "model_type":
        return f"keys and their values are needed: {{{', '.join(TeacherKeys.model_fields)}}}"
    return str(error["msg"])


def _unknown(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; {f'did you mean {near[0]}?' if near else '--help lists every key.'}"


def _inner(location: tuple[int | str, ...]) -> str:
    """Where within a key's value a mistake is: "2, type: " for the type of the second entry of a list."""
    parts = [str(part + 1) if isinstance(part, int) else part for part in location[1:]]
    return f"{', '.join(parts)}: " if parts else ""


def _validate_training(key: str, value: Any) -> tuple[str, Any]:
    """(the installed field's name, the value in its type); ValueError with the remedy otherwise."""
    types = _trainer_types()
    if key in REFUSED and value not in (None, 0, 0.0, "", False):
        raise ValueError(f"not supported: {REFUSED[key]}.")
    if key not in types:
        if key not in RENAMED:
            if key in REFUSED:
                return key, value
            raise ValueError(_unknown(key, [*GROUP_OF, *types]))
        key = RENAMED[key]
    if key == "max_grad_norm" and value is None:
        return key, 0.0  # the Trainer's way to say: no clipping
    if value is False and key.endswith("_strategy"):
        value = "no"  # YAML reads a bare no as false
    try:
        return key, TypeAdapter(types[key], config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{error.errors()[-1]['msg']} (found {value!r})") from None


@cache
def _trainer_types() -> dict[str, Any]:
    hints = get_type_hints(TrainingArguments)
    return {field.name: hints[field.name] for field in dataclasses.fields(TrainingArguments) if field.init}


@cache
def trainer_defaults() -> dict[str, Any]:
    """The installed TrainingArguments' defaults, ours where they differ."""
    fields = [field for field in dataclasses.fields(TrainingArguments) if field.init]
    return {f.name: None if f.default is dataclasses.MISSING else f.default for f in fields} | TRAINER_DEFAULTS
