"""What is done: whether a training, an evaluation or a data preparation is fresh, can go on, is done, or is another.

Commands and sweeps ask the same functions. They go by recorded hashes of inputs, never by times of files.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from experiment.run.folder import read_yaml
from experiment.run.inputs import training_inputs
from experiment.run.models import VECTOR_KEYS, asked_model, files_beside, model_files, named
from experiment.run.results import data_hash, evaluation_folder, metrics_of, recorded_inputs
from experiment.settings.effects import Changes
from experiment.settings.keys import GROUP_OF, GROUPS, effect, keys_that_change
from experiment.settings.settings import Settings
from experiment.settings.validation import checked_group, checked_trainer_key
from retrieval.dataset_names import counted, dataset_name, scored_split
from retrieval.files import read_json
from retrieval.fingerprint import file_hash, fingerprint, hash_of
from retrieval.metrics import figure_name
from retrieval.row_files import is_whole_data_set
from sparse_model.errors import UserError
from sparse_model.manifest import check_manifest, read_manifest
from training.step_checkpoints import complete_checkpoints

logger = logging.getLogger(__name__)

# A training with another value of one of these is another training.
DECIDE_WEIGHTS = Changes.WEIGHTS | Changes.LENGTH | Changes.BEST | Changes.MEASURED


@dataclass(frozen=True)
class Status:
    """How far something is."""

    state: Literal["fresh", "goes on", "done", "different"]
    checkpoint: Path | None = None
    """where it goes on from"""
    because: Mapping[str, str] = field(default_factory=dict)
    """of a different one: each key or input with both values"""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state == "done"


FRESH, DONE = Status("fresh"), Status("done")


def training_status(settings: Settings, facts: Mapping[str, Any]) -> Status:
    """How far the training in output_dir is.

    Args:
        facts: the inputs beside the keys, as run.json records them: "processes" and those of `training_inputs`; those
            that are left out, or that an older run has not recorded, are not compared.

    Raises:
        UserError: if the folder's records are damaged.
    """
    folder = settings.output_dir
    recorded = read_json(folder / "run.json")
    checkpoints = complete_checkpoints(folder) if folder.is_dir() else []
    finished = recorded.get("finished")
    if not (finished or checkpoints):
        return FRESH
    if not ({"processes", "data hash"} <= recorded.keys() and (folder / "config.yaml").is_file()):
        raise UserError(
            f"{folder}: its run.json or config.yaml is missing or damaged, so it cannot be told what the run was; "
            "restore it, or give overwrite=true to move the run aside."
        )
    because = differences(settings, read_yaml(folder / "config.yaml"))
    other = {name: now for name, now in facts.items() if recorded.get(name, now) != now}
    because |= {name: f"{_short(recorded[name])} before, {_short(now)} now" for name, now in other.items()}
    if because:
        return Status("different", because=because)
    if finished == planned_length(settings.value) and not model_problem(folder):
        return DONE
    return Status("goes on", checkpoints[-1] if checkpoints else None)


def is_known_to_be_trained(settings: Settings) -> bool:
    """Whether run.json shows, before a model is loaded, that nothing is left to train; if so, it is logged.

    Only for a training in one process. What the start model says of itself is as it was, if its files are.
    """
    folder, run = settings.output_dir, settings.run
    recorded = read_json(folder / "run.json")
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    if (
        settings.data.documents
        or run.overwrite
        or run.dry_run
        or not (alone and recorded.get("finished") and recorded.get("model hash"))
    ):
        return False
    facts = {"processes": 1, **training_inputs(settings)}
    is_done = facts.items() <= recorded.items() and training_status(settings, facts).is_done
    if is_done:
        say_it_is_trained(folder)
    return is_done


def say_it_is_trained(folder: Path) -> None:
    """In the log: why the command ends at once."""
    logger.info("%s: training is finished already; nothing to do", folder)


# What the checkpoint says of itself, and where it runs: an evaluation does not go by what the config says of it.
_NOT_ASKED = {"model_name_or_path", "use_cpu", *VECTOR_KEYS}


def require_own_model(settings: Settings) -> None:
    """Look at the model that an evaluation scores, if it is the one that the config's own training left.

    A warning is logged if the folder holds a run of other settings: the figures are that run's.

    Raises:
        UserError: if the run has not ended, or went on since the model was written; if the model is damaged.
    """
    folder = settings.output_dir
    recorded = read_json(folder / "run.json") if asked_model(settings).is_own else {}
    if not recorded or not (folder / "modules.json").is_file():
        return
    config = settings.config_path or "…"
    again = f"python train_ir.py {config} goes on to its end; or name a checkpoint: model_name_or_path={folder}/…"
    before = read_yaml(folder / "config.yaml")
    length, asked = recorded.get("finished"), planned_length(lambda key: before.get(key, settings.default(key)))
    if length != asked:
        there = f"the model there is that of {_words(length)}" if length else "it left no model yet"
        raise UserError(f"output_dir: the run in {folder} has not ended ({_words(asked)}); {there}. {again}")
    if problem := model_problem(folder):
        raise UserError(f"output_dir: {problem} python train_ir.py {config} writes it again.")
    if config != folder / "config.yaml":
        others = {key: both for key, both in differences(settings, before).items() if key not in _NOT_ASKED}
        planned = planned_length(settings.value).items()
        lengths = {key: f"{length.get(key)} before, {now} now" for key, now in planned if length.get(key) != now}
        _say_other_settings(folder, config, others, lengths)


def _say_other_settings(
    folder: Path, config: Path | str, others: Mapping[str, str], lengths: Mapping[str, str]
) -> None:
    """Warn that a run of other keys, or of another length, is scored."""
    if others or lengths:
        logger.warning(
            "%s holds a run of other settings, and that is what is scored:\n  %s\npython train_ir.py %s%s trains as "
            "the config says; python evaluate_beir.py %s scores the run by its own.",
            folder,
            "\n  ".join(f"{key}: {both}" for key, both in {**others, **lengths}.items()),
            *(config, " overwrite=true" if others else "", folder),
        )


def _words(length: Mapping[str, Any]) -> str:
    """The keys of `planned_length` that count: a number of steps goes before one of epochs."""
    steps = length.get("max_steps", -1)
    return f"max_steps={steps}" if steps > 0 else f"num_train_epochs={length.get('num_train_epochs')}"


def model_problem(folder: Path) -> str | None:
    """What keeps the model in a run's folder from being the one that the run left there; None: nothing."""
    try:
        says, ours = read_manifest(folder), read_json(folder / "run.json").get("id")
        if "files" not in says and not (folder / "model.safetensors").is_file():
            return f"{folder} holds no trained model."
        if ours and says.get("run", ours) != ours:
            return f"{folder} holds the model of another run."
        check_manifest(folder, "", sha256=file_hash)
    except UserError as error:
        return str(error).strip()
    return None


def _short(fact: Any) -> Any:
    """The beginning of a hash; other facts as they are."""
    return fact[:12] if isinstance(fact, str) else fact


def planned_length(value: Callable[[str], Any]) -> dict[str, Any]:
    """How long is trained, as run.json records it once it is done; value: a key's."""
    return {key: value(key) for key in keys_that_change(Changes.LENGTH)}


def differences(settings: Settings, before: Mapping[str, Any]) -> dict[str, str]:
    """The keys that change weights and differ from a recorded config's, each with both values."""
    found = {}
    counting = Changes.WEIGHTS | Changes.LENGTH
    counting |= Changes.BEST if settings.value("load_best_model_at_end") else Changes.NOTHING
    counting |= Changes.MEASURED if settings.loss.target else Changes.NOTHING
    for key in keys_that_change(counting):
        said, default = effect(key), settings.default(key)
        if said.told and key not in settings.given and default is not None:
            continue  # the model says it, which is not loaded yet
        old = _plain(_checked(key, before[key])) if key in before else default
        new = _plain(settings.value(key))
        is_longer = said.changes_any(Changes.LENGTH) and new > old > 0
        if old != new and not is_longer:
            found[key] = f"{old!r} before, {new!r} now"
    return found


def _checked(key: str, value: Any) -> Any:
    """A recorded value in today's type; as it is, if it is none."""
    if key in GROUP_OF:
        group, mistakes = checked_group(GROUPS[GROUP_OF[key]], {key: value})
        return value if mistakes else getattr(group, key)
    try:
        return checked_trainer_key(key, value)[1]
    except ValueError:
        return value


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


PREPARED = "preparation.json"


def preparation_status(output_dir: Path, inputs: str | None) -> Status:
    """How far the data preparation in output_dir is.

    Args:
        inputs: see `preparation_inputs`; None: not known, then a whole data set counts.
    """
    recorded = read_json(output_dir / PREPARED).get("inputs")
    if not is_whole_data_set(output_dir):
        return Status("goes on") if (output_dir / "stages").is_dir() else FRESH
    if inputs is None or recorded == inputs:
        return DONE
    # Without a record, from version 0.1, it is the stages that tell.
    because = {"inputs": f"{recorded} before, {inputs} now"} if recorded else {}
    return Status("different" if because else "goes on", because=because)


def preparation_inputs(settings: Settings) -> str | None:
    """A hash over all that prepared rows are made of: keys, data and models.

    None while the data are not here, and where a model cannot be used, which loading it explains.
    """
    keys, prepared = settings.evaluation, settings.preparation
    data = data_hash(prepared.dataset, keys.beir_dir, keys.split)
    if data is None or prepared.source:
        return None
    names = keys_that_change(Changes.ROWS | Changes.VECTORS)
    counting = [name for name in names if name in settings.given or not (effect(name).told or effect(name).only_given)]
    values = {name: settings.value(name) for name in counting}
    values |= {"teachers": [spec.facts for spec in prepared.teachers], **settings.other_than_default(["drop_query_id"])}
    try:
        models = [named(settings.model), *(spec.located for spec in prepared.teachers)]
        hashes = [fingerprint(model_files(path)) for path in models]
    except UserError:
        return None
    local = fingerprint(files_beside({name: settings.value(name) for name in ("idf_path", "tokenizer_name")}))
    return hash_of({"keys": values, "data": data, "models": hashes, "files": local})


def is_evaluated(settings: Settings) -> bool:
    """Whether the results of every data set are there, of this model, this data and these splits, by these metrics."""
    return all(map(_is_evaluated, settings.one_by_one()))


def _is_evaluated(settings: Settings) -> bool:
    keys = settings.evaluation
    wanted = {dataset_name(name): name for name in keys.beir_datasets}
    try:
        folder = evaluation_folder(settings)
        if read_json(folder / "summary.json").get("datasets") != list(counted(wanted)):
            return False
        config_hash = recorded_inputs(settings, folder)["config hash"]
    except UserError:  # there is no model to score
        return False
    metrics = [figure_name(metric) for metric in keys.metrics]
    for label, name in wanted.items():
        stored, split = read_json(folder / f"{label}.json"), scored_split(name, keys.split)
        if metrics_of(stored) != metrics or stored.get("split", split) != split:
            return False
        if not is_result(folder, label, config_hash, data_hash(name, keys.beir_dir, keys.split)):
            return False
    return True


def is_result(folder: Path, name: str, config_hash: str, data: str | None) -> bool:
    """Whether a data set's result is there and belongs to these inputs (data None: whichever it was made with)."""
    stored = read_json(folder / f"{name}.json")
    same_data = data is None or stored.get("data hash") == data
    has_run = (folder / "runs" / f"{name}.trec.gz").is_file()
    return stored.get("config hash") == config_hash and same_data and has_run
