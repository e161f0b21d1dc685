"""From settings to an encoder: what the config says, what the checkpoint says of itself, and which one counts."""

from pathlib import Path
from typing import Any

import torch

from experiment.settings import Settings
from sparse_model import SparseEncoder, UserError, load
from sparse_model.checkpoint import describe, longest_input, resolve

# Keys that a checkpoint may say of itself, and those that only a config can say.
DESCRIBED = ("activation_type", "idf_path", "max_seq_length", "inf_free")
UNDESCRIBED = ("head_dtype", "prune_ratio", "tokenizer_name", "model_overrides")
MODEL_KEYS = (*DESCRIBED, *UNDESCRIBED)


def load_for_training(settings: Settings) -> SparseEncoder:
    """The model to start from: keys that are given count, the checkpoint says the rest."""
    encoder = _load(str(settings.model.model_name_or_path), _given(settings, MODEL_KEYS), allow_new_head=True)
    positions, length = longest_input(encoder.mlm), settings.data.eval_max_seq_length
    if length and positions and length > positions:
        raise UserError(f"eval_max_seq_length: {length}, but the model has positions for {positions} tokens.")
    return encoder


def load_for_evaluation(settings: Settings) -> SparseEncoder:
    """The model that `evaluate_beir.py` scores (see interface: a trained config's own checkpoint, else the named one).

    Raises:
        UserError: if a config that trains has no finished checkpoint, or there is no model at all.
    """
    override = settings.on_command_line(*MODEL_KEYS)
    path = model_path(settings)
    says_nothing = describe(resolve(path)).activation_type is None
    keys = UNDESCRIBED if _is_trained(settings) or not says_nothing else MODEL_KEYS
    options = _given(settings, keys) | override
    if settings.given.get("use_l0") == "command line":
        options["activation_type"] = settings.model.activation_type
    if "max_seq_length" in options and settings.data.eval_max_seq_length and "max_seq_length" not in override:
        options["max_seq_length"] = settings.data.eval_max_seq_length
    return _load(path, options, allow_new_head=False)


def model_path(settings: Settings) -> str:
    """Folder or hub id of the model to score."""
    if not _is_trained(settings):
        if not settings.model.model_name_or_path:
            raise UserError("model_name_or_path: missing; name a checkpoint, or give a config that was trained.")
        return settings.model.model_name_or_path
    folder = settings.output_dir
    if not (folder / "modules.json").is_file():
        raise UserError(
            f"output_dir: {folder} holds no trained model. Train it first (python train_ir.py "
            f"{settings.config_path or '…'}), or name one: model_name_or_path=…"
        )
    return str(folder)


def idf_from_corpus(settings: Settings) -> bool:
    """Whether each data set's own corpus gives the query weights of an evaluation."""
    asked = settings.on_command_line("idf_path") if _is_trained(settings) else _given(settings, ("idf_path",))
    return asked.get("idf_path") == "corpus"


def model_files(path: str) -> list[Path]:
    """The files that make up a checkpoint, for a hash of it."""
    folder = resolve(path)
    own = {"run.json", "complete.json", "trainer_state.json"}
    places = [folder, *(p for p in folder.iterdir() if p.is_dir() and (p / "config.json").is_file())]
    names = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")
    checkpoints = "checkpoint-"
    return sorted(
        file
        for place in places
        if not place.name.startswith(checkpoints) or place == folder
        for name in names
        for file in place.glob(name)
        if file.name not in own
    )


def _is_trained(settings: Settings) -> bool:
    return settings.trains and not settings.on_command_line("model_name_or_path")


def _given(settings: Settings, keys: tuple[str, ...]) -> dict[str, Any]:
    options = {key: settings.value(key) for key in keys if key in settings.given}
    if "activation_type" in keys and settings.model.use_l0:
        options["activation_type"] = settings.model.activation_type
    return options


def _load(path: str, options: dict[str, Any], allow_new_head: bool) -> SparseEncoder:
    if options.get("idf_path") == "corpus":
        options = options | {"idf_path": None}  # the caller has the texts
    encoder = load(path, **options, allow_new_head=allow_new_head)
    return encoder.to("cuda" if torch.cuda.is_available() else "cpu")
