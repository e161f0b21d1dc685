"""What is done: whether a training, an evaluation or a data preparation is fresh, can go on, is done, or is another.

Commands and sweeps ask the same functions. They go by recorded hashes of inputs, never by times of files.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from experiment.run.folder import read_yaml
from experiment.run.models import model_files
from experiment.run.results import data_hash, evaluation_folder, metrics_of, result_inputs
from experiment.settings.effects import Changes
from experiment.settings.keys import GROUP_OF, GROUPS, EvaluationKeys, effect, keys_that_change
from experiment.settings.settings import Settings
from experiment.settings.validation import checked_group, checked_trainer_key
from retrieval.dataset_names import dataset_name, scored_split
from retrieval.files import read_json
from retrieval.fingerprint import file_hash, fingerprint, hash_of
from retrieval.metrics import figure_name
from sparse_model.errors import UserError
from sparse_model.manifest import check_manifest, read_manifest
from training.step_checkpoints import complete_checkpoints

# A training with another value of one of these is another training.
DECIDE_WEIGHTS = Changes.WEIGHTS | Changes.LENGTH | Changes.BEST


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
        facts: the inputs beside the keys, as run.json records them: "processes", "data hash"; those that are left
            out are not compared.

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
    because |= {k: f"{recorded.get(k)} before, {value} now" for k, value in facts.items() if recorded.get(k) != value}
    if because:
        return Status("different", because=because)
    if finished == planned_length(settings.value) and not model_problem(folder):
        return DONE
    return Status("goes on", checkpoints[-1] if checkpoints else None)


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


def planned_length(value: Callable[[str], Any]) -> dict[str, Any]:
    """How long is trained, as run.json records it once it is done; value: a key's."""
    return {key: value(key) for key in keys_that_change(Changes.LENGTH)}


def differences(settings: Settings, before: Mapping[str, Any]) -> dict[str, str]:
    """The keys that change weights and differ from a recorded config's, each with both values."""
    found = {}
    chooses_best = bool(settings.value("load_best_model_at_end"))
    for key in keys_that_change(DECIDE_WEIGHTS):
        said, default = effect(key), settings.default(key)
        if not said.changes_any(Changes.WEIGHTS | Changes.LENGTH) and not chooses_best:
            continue
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
    files = [file["filename"] for file in read_json(output_dir / "state.json").get("_data_files", [])]
    if not files or not all((output_dir / name).is_file() for name in files):
        return Status("goes on") if (output_dir / "stages").is_dir() else FRESH
    if inputs is None or recorded == inputs:
        return DONE
    # Without a record, from version 0.1, it is the stages that tell.
    because = {"inputs": f"{recorded} before, {inputs} now"} if recorded else {}
    return Status("different" if because else "goes on", because=because)


def preparation_inputs(settings: Settings) -> str | None:
    """A hash over all that prepared rows are made of: keys, data and models; None while the data are not here."""
    keys, prepared = settings.evaluation, settings.preparation
    data = data_hash(prepared.dataset, keys.beir_dir, keys.split)
    if data is None or prepared.source:
        return None
    names = keys_that_change(Changes.ROWS | Changes.VECTORS)
    counting = [name for name in names if name in settings.given or not effect(name).told]
    values = {name: settings.value(name) for name in counting} | {"teachers": list(map(asdict, prepared.teachers))}
    models = [str(settings.model.model_name_or_path), *(spec.model_name_or_path for spec in prepared.teachers)]
    hashes = [fingerprint(model_files(path)) for path in models]
    named = [settings.value(name) for name in ("idf_path", "tokenizer_name")]
    local = fingerprint([Path(path) for path in named if path and Path(path).exists()])
    return hash_of({"keys": values, "data": data, "models": hashes, "files": local})


def is_evaluated(settings: Settings) -> bool:
    """Whether the results of every data set are there, of these inputs and this data, by these metrics."""
    keys, folder = settings.evaluation, evaluation_folder(settings)
    wanted = {dataset_name(name): name for name in keys.beir_datasets}
    if read_json(folder / "summary.json").get("datasets") != list(wanted):
        return False
    metrics = [figure_name(metric) for metric in keys.metrics]
    if any(metrics_of(read_json(folder / f"{label}.json")) != metrics for label in wanted):
        return False
    config_hash = result_inputs(settings)["config hash"]
    return has_asked_splits(keys, folder) and all(
        is_result(folder, label, config_hash, data_hash(name, keys.beir_dir, keys.split))
        for label, name in wanted.items()
    )


def has_asked_splits(keys: EvaluationKeys, folder: Path) -> bool:
    """Whether every result in the folder is over the split that the keys name."""
    splits = {dataset_name(name): scored_split(name, keys.split) for name in keys.beir_datasets}
    return all(read_json(folder / f"{name}.json").get("split", split) == split for name, split in splits.items())


def is_result(folder: Path, name: str, config_hash: str, data: str | None) -> bool:
    """Whether a data set's result is there and belongs to these inputs (data None: whichever it was made with)."""
    stored = read_json(folder / f"{name}.json")
    same_data = data is None or stored.get("data hash") == data
    has_run = (folder / "runs" / f"{name}.trec.gz").is_file()
    return stored.get("config hash") == config_hash and same_data and has_run
