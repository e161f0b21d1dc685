"""From settings to an encoder: what the config says, what the checkpoint says of itself, and which one counts."""

from pathlib import Path
from typing import Any

import torch

from experiment.run.folder import FAILED, read_yaml
from experiment.settings.rules import training_mistakes
from experiment.settings.settings import Settings
from retrieval.fingerprint import fingerprint
from sparse_model import SparseEncoder, UserError, load
from sparse_model.layout import describe, longest_input, resolve

# Keys that a checkpoint may say of itself, and those that only a config can say.
DESCRIBED = ("activation_type", "idf_path", "max_seq_length", "inf_free")
UNDESCRIBED = ("head_dtype", "prune_ratio", "tokenizer_name", "model_overrides")
MODEL_KEYS = (*DESCRIBED, *UNDESCRIBED)
# What changes the model that is scored; on an evaluation's command line each overrides what the checkpoint says.
EVALUATED_MODEL_KEYS = (*MODEL_KEYS, "use_l0", "eval_max_seq_length")

# What lies in a run's folder and says nothing about the model.
NOT_THE_MODEL = ("run.json", "complete.json", "trainer_state.json", FAILED)


def load_for_training(settings: Settings) -> SparseEncoder:
    """The model to start from: keys that are given count, the checkpoint says the rest, and the settings follow.

    Raises:
        UserError: if the model cannot be trained as the settings say.
    """
    encoder = _load(settings, str(settings.model.model_name_or_path), _given(settings, MODEL_KEYS), new_head=True)
    settings.model.activation_type = encoder.activation_type  # type: ignore[assignment]
    settings.model.inf_free, settings.data.max_seq_length = encoder.inf_free, encoder.max_seq_length
    if mistakes := training_mistakes(settings):
        raise UserError("\n".join(mistakes))
    positions, length = longest_input(encoder.mlm.config), settings.data.eval_max_seq_length
    if length and positions and length > positions:
        raise UserError(f"eval_max_seq_length: {length}, but the model has positions for {positions} tokens.")
    return encoder


def load_for_evaluation(settings: Settings) -> SparseEncoder:
    """The model that `evaluate_beir.py` scores (see interface: a trained config's own checkpoint, else the named one).

    Raises:
        UserError: if a config that trains has no finished checkpoint, or there is no model at all.
    """
    override = {key: value for key, value in overriding(settings).items() if key in MODEL_KEYS}
    path = model_path(settings)
    says_nothing = describe(resolve(path)).activation_type is None
    keys = UNDESCRIBED if _is_trained(settings) or not says_nothing else MODEL_KEYS
    options = _given(settings, keys) | override
    if "use_l0" in overriding(settings):
        options["activation_type"] = settings.model.activation_type
    length, asked = settings.data.eval_max_seq_length, "eval_max_seq_length" in overriding(settings)
    if length and "max_seq_length" not in override and (asked or keys is MODEL_KEYS):
        options["max_seq_length"] = length
    return _load(settings, path, options, new_head=False)


def load_miner(settings: Settings) -> SparseEncoder:
    """The model that data preparation mines with: every key that is given counts, the checkpoint says the rest.

    Raises:
        UserError: if it cannot be used.
    """
    return _load(settings, model_path(settings), _given(settings, MODEL_KEYS), new_head=False)


def brings_idf(settings: Settings) -> bool:
    """Whether the miner's query weights come from its checkpoint or a file, not from the corpus."""
    if "idf_path" in settings.given and settings.model.idf_path:
        return settings.model.idf_path != "corpus"
    return describe(resolve(model_path(settings))).query_folder is not None


def set_precision(settings: Settings, encoder: SparseEncoder) -> None:
    """What bf16_full_eval and fp16_full_eval ask of encoding."""
    if settings.value("bf16_full_eval"):
        encoder.encoding_dtype = torch.bfloat16
    if settings.value("fp16_full_eval") and torch.cuda.is_available():
        encoder.encoding_dtype = torch.float16


def vector_facts(settings: Settings, encoder: SparseEncoder, files: str) -> dict[str, Any]:
    """All that decides a document's vector beside its text; files: see `vector_files`."""
    return {
        "files": files,
        "tokenizer": settings.model.tokenizer_name,
        "activation": encoder.activation_type,
        "length": encoder.max_seq_length,
        "prune": encoder.prune_ratio,
        "precision": [str(encoder.encoding_dtype), str(encoder.product_dtype)],
        "overrides": settings.model.model_overrides,
    }


def vector_files(settings: Settings) -> str:
    """A hash of the files that decide the documents' vectors."""
    tokenizer = settings.model.tokenizer_name
    local = [Path(tokenizer)] if tokenizer and Path(tokenizer).exists() else []
    return fingerprint([*model_files(model_path(settings)), *local])


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
    parts = [p for p in folder.iterdir() if (p / "config.json").is_file() and not p.name.startswith("checkpoint-")]
    names = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")
    files = {file for place in (folder, *parts) for name in names for file in place.glob(name)}
    return sorted(file for file in files if file.name not in NOT_THE_MODEL)


def overriding(settings: Settings) -> dict[str, Any]:
    """Model keys on the command line that differ from what the run in output_dir was trained with.

    The words of a training typed again for its evaluation mean that run, not another model. idf_path and
    max_seq_length always count: to an evaluation they say each data set's own corpus, and a length to encode at.
    """
    recorded = read_yaml(settings.output_dir / "config.yaml") if settings.trains else {}
    given = settings.on_command_line(*EVALUATED_MODEL_KEYS, "model_name_or_path")
    same = {key for key, value in given.items() if key in recorded and recorded[key] == value}
    return {key: value for key, value in given.items() if key not in same - {"idf_path", "max_seq_length"}}


def _is_trained(settings: Settings) -> bool:
    return settings.trains and "model_name_or_path" not in overriding(settings)


def _given(settings: Settings, keys: tuple[str, ...]) -> dict[str, Any]:
    options = {key: settings.value(key) for key in keys if key in settings.given}
    if "activation_type" in keys and settings.model.use_l0:
        options["activation_type"] = settings.model.activation_type
    return options


def _load(settings: Settings, path: str, options: dict[str, Any], new_head: bool) -> SparseEncoder:
    if options.get("idf_path") == "corpus":
        options = options | {"idf_path": None}  # the caller has the texts
    encoder = load(path, **options, allow_new_head=new_head)
    return encoder.to(device(settings))


def device(settings: Settings) -> str:
    """Where models run."""
    return "cuda" if torch.cuda.is_available() and not settings.value("use_cpu") else "cpu"
