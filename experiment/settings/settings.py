"""Settings: the values of all keys, frozen; from YAML files and a command's words, with all mistakes at once.

`load_settings(argv)` takes what a command takes, `[CONFIG.yaml] [key=value | --key value | --key=value]…`.
Keys that are not ours are fields of the installed transformers.TrainingArguments (see trainer_keys).
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiment.settings import trainer_keys
from experiment.settings.files import COMMAND_LINE, parse_arguments, read_with_bases
from experiment.settings.folders import as_config, asked_folder, name_of, results_of
from experiment.settings.keys import (
    GROUP_OF,
    GROUPS,
    OURS,
    DataKeys,
    EvaluationKeys,
    LossKeys,
    ModelKeys,
    OpenSearchKeys,
    PreparationKeys,
    RunKeys,
    effect,
)
from experiment.settings.limits import key_faults
from experiment.settings.missing import missing_for_training
from experiment.settings.mistakes import Mistake, located, refuse, without_credentials
from experiment.settings.old_keys import OldNames, translated
from experiment.settings.rules import common_mistakes, training_mistakes
from experiment.settings.validation import checked_group, checked_trainer_key
from experiment.settings.vector_rules import vector_mistakes

# Of one start of a command, and not of the run.
ONCE = ("dry_run", "overwrite", "traceback")
SEVERAL_RUNS = "stands for several runs: bash run_reproduce.sh CONFIG; one alone: seeds=null seed=N."
# Where a key stands that a loaded model said.
TOLD = "the model"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Validated keys by group; `training` holds the given fields of TrainingArguments."""

    model: ModelKeys
    data: DataKeys
    loss: LossKeys
    evaluation: EvaluationKeys
    opensearch: OpenSearchKeys
    preparation: PreparationKeys
    run: RunKeys
    training: Mapping[str, Any]
    given: Mapping[str, str]
    """key -> the file it stands in, or "command line"; a key that an old name stands for is given too"""
    old_names: OldNames
    config_path: Path | None

    @property
    def trains(self) -> bool:
        """Whether the config names training data."""
        return bool(self.data.train_file or self.data.train_file_dir or self.data.documents)

    @property
    def output_dir(self) -> Path:
        """output_dir, or its default: by the config's path, else the model's name."""
        is_by_name = not (self.run.output_dir or self.config_path or self.trains)
        return results_of(self._model_or_baseline) if is_by_name else self.usual_output_dir

    @property
    def usual_output_dir(self) -> Path:
        """`output_dir`, if that folder does not hold another model's results."""
        if self.run.output_dir:
            return Path(self.run.output_dir).expanduser()
        if self.config_path is not None:
            parts = self.config_path.with_suffix("").parts
            below = parts[parts.index("config") + 1 :] if "config" in parts[:-1] else parts[-1:]
            return Path("output", *below)
        return Path("output", name_of(self._model_or_baseline))

    @property
    def _model_or_baseline(self) -> str:
        return self.model.model_name_or_path or self.evaluation.baseline or "run"

    @property
    def prepared_data(self) -> str:
        """Where a data preparation's data set goes: output_dir, or data/<dataset>_ft."""
        return self.run.output_dir or f"data/{Path(os.path.abspath(self.preparation.dataset)).name}_ft"

    def on_command_line(self, keys: Iterable[str]) -> dict[str, Any]:
        """The given ones of `keys` that stand on the command line, with their values."""
        return {key: self.value(key) for key in keys if self.given.get(key) == COMMAND_LINE}

    def value(self, key: str) -> Any:
        """One key's value, ours or the Trainer's (its default where it is not given)."""
        if key in GROUP_OF:
            return getattr(getattr(self, GROUP_OF[key]), key)
        return self.training[key] if key in self.training else trainer_keys.default_of(key)

    def default(self, key: str) -> Any:
        """What `value` is where the key is not given."""
        return GROUPS[GROUP_OF[key]].model_fields[key].default if key in GROUP_OF else trainer_keys.default_of(key)

    def given_values(self, keys: Iterable[str]) -> dict[str, Any]:
        """The given ones of `keys`, with their values."""
        return {key: self.value(key) for key in keys if key in self.given}

    def other_than_default(self, keys: Iterable[str]) -> dict[str, Any]:
        """Those of `keys` whose values are not the default ones."""
        return {key: self.value(key) for key in keys if self.value(key) != self.default(key)}

    def counting(self, keys: Iterable[str]) -> dict[str, Any]:
        """Those of `keys` that are part of a result's hash: with other than default values, some with any."""
        names = list(keys)
        return {key: self.value(key) for key in names if effect(key).by_default} | self.other_than_default(names)

    def unfit_for_training(self) -> list[Mistake]:
        """Everything that keeps the settings from being trained."""
        return training_mistakes(self.model, self.data, self.loss, self.evaluation, value=self.value)

    def missing(self) -> list[Mistake]:
        """What a training with these settings reads and is not here; of a dry run, what its evaluation reads too."""
        return missing_for_training(self.model, self.data, self.evaluation, self.given, is_plan=self.run.dry_run)

    def told(self, says: Mapping[str, Any]) -> "Settings":
        """The settings with what a loaded model says of itself; such a key is then as good as given."""
        given = dict.fromkeys(says, TOLD) | dict(self.given)
        return dataclasses.replace(self.with_values(**says), given=MappingProxyType(given))

    def with_values(self, **values: Any) -> "Settings":
        """The settings with other values of some keys of ours."""
        groups = {GROUP_OF[key] for key in values}
        changed = {
            group: getattr(self, group).model_copy(update={k: v for k, v in values.items() if GROUP_OF[k] == group})
            for group in groups
        }
        return dataclasses.replace(self, **changed)

    def one_by_one(self) -> list["Settings"]:
        """The settings with one value of each key that has several: every combination, in the order of the values."""
        several = [key for key, said in OURS.items() if said.each and isinstance(self.value(key), list)]
        if not several:
            return [self]
        chosen = (dict(zip(several, values, strict=True)) for values in product(*map(self.value, several)))
        return [self._one_of_several(values) for values in chosen]

    def _one_of_several(self, values: Mapping[str, Any]) -> "Settings":
        """With these values; a default one is as good as not given. Vectors are kept for the next."""
        name = self.evaluation.evaluation_name
        named = name and "_".join([name, *(f"{key}-{value}" for key, value in values.items())])
        given = {key: where for key, where in self.given.items() if values.get(key, ...) != self.default(key)}
        one = self.with_values(**values, keep_vectors=True, evaluation_name=named)
        return dataclasses.replace(one, given=MappingProxyType(given))

    def written(self) -> dict[str, Any]:
        """The given keys as they stand in the config and on the command line; see `folders.written_keys`."""
        resolved = self.resolved()
        keys = [key for key, where in self.given.items() if where != TOLD and key not in self.old_names.implied]
        plain = {key: resolved[key] for key in keys if key in resolved}
        return {**plain, **self.old_names.values}

    def resolved(self) -> dict[str, Any]:
        """Every key of ours and every given one of the Trainer, flat, as config.yaml stores it."""
        ours = {key: value for name in GROUPS for key, value in getattr(self, name).model_dump().items()}
        for once in ONCE:
            del ours[once]
        ours["opensearch_url"] = [without_credentials(url) for url in self.opensearch.opensearch_url]
        public = {key: value for key, value in self.training.items() if "token" not in key}
        return ours | {"output_dir": str(self.output_dir)} | public


def load_settings(
    argv: list[str], for_training: bool = False, takes_folder: bool = False, for_one_run: bool = False
) -> Settings:
    """Settings from a command's arguments.

    Args:
        for_training: they must be fit to train with.
        for_one_run: they are of one run that starts now: what it reads must be here.
        takes_folder: in place of a config, a run's folder or a model's can be named (see `folders`).

    Raises:
        Mistakes: every mistake at once, each with its file, key and remedy.
    """
    config_path, overrides = parse_arguments(argv)
    layers: list[tuple[Path | None, dict[str, Any]]] = []
    folder = asked_folder(config_path, overrides) if takes_folder else None
    if folder is not None:
        config_path, keys, overrides = as_config(folder, overrides)
        layers = [(config_path, keys)]
    elif config_path is not None:
        layers += read_with_bases(config_path)
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for where, mapping in [*((str(path), mapping) for path, mapping in layers), (COMMAND_LINE, overrides)]:
        for key, value in mapping.items():
            for name in trainer_keys.names_of(key):  # a later layer counts, whichever name it uses
                values.pop(name, None)
                given.pop(name, None)
            values[key], given[key] = value, where
    return _validate(values, given, config_path, for_training, for_one_run)


def _validate(
    values: dict[str, Any], given: dict[str, str], config_path: Path | None, for_training: bool, for_one_run: bool
) -> Settings:
    values, old_names, mistakes = translated(values, given)
    groups: dict[str, Any] = {}
    training = dict(trainer_keys.OUR_DEFAULTS)
    for name, group in GROUPS.items():
        groups[name], found = checked_group(group, {k: v for k, v in values.items() if GROUP_OF.get(k) == name})
        mistakes += found
    for key in (key for key in values if key not in GROUP_OF):
        try:
            field, training_value = checked_trainer_key(key, values[key])
            given.setdefault(field, given[key])
            if field in trainer_keys.fields():  # else it is one of another version, without effect here
                training[field] = training_value
        except ValueError as error:
            mistakes.append(Mistake(key, str(error)))
    mistakes += [
        Mistake(key, fault)
        for key, value in [*((k, v) for group in groups.values() for k, v in group), *training.items()]
        if key in given
        for fault in key_faults(key, value)
    ]
    settings = Settings(
        **groups,
        training=MappingProxyType(training),
        given=MappingProxyType(given),
        old_names=old_names,
        config_path=config_path,
    )
    if settings.data.documents and "beir_datasets" not in given and not mistakes:
        settings = settings.with_values(beir_datasets=[str(settings.output_dir / "pseudo")])
    if settings.run.overwrite and given["overwrite"] != COMMAND_LINE:
        mistakes.append(Mistake("overwrite", "give it on the command line, for one run only."))
    # What only seems to be wrong because the key's own value is mistaken is not said twice.
    mistaken = {mistake.key for mistake in mistakes}
    combined = common_mistakes(settings.evaluation, settings.opensearch, given)
    combined += vector_mistakes(settings.model, settings.loss, settings.evaluation)
    combined += settings.unfit_for_training() if for_training else []
    if for_one_run:
        combined += settings.missing() if for_training else []
        combined += [Mistake("seeds", SEVERAL_RUNS)] if settings.run.seeds else []
    mistakes += [mistake for mistake in combined if mistaken.isdisjoint((mistake.key, *mistake.involves))]
    refuse(located(mistakes, given))
    return settings
