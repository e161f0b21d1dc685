"""From settings to an encoder: which model a command uses, what the config says of it, what the checkpoint says.

A command chooses (`start_model`, `scored_model`, `miner`), and everything after it is given the choice, not the
settings. Loading returns what the checkpoint said; nothing is written back.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiment.run.folder import read_yaml
from experiment.settings.effects import Changes
from experiment.settings.keys import ModelKeys, effect, keys_that_change
from experiment.settings.mistakes import refuse
from experiment.settings.settings import Settings
from retrieval.fingerprint import fingerprint
from retrieval.models import model_files
from sparse_model.description import describe
from sparse_model.errors import UserError
from sparse_model.layout import resolve
from sparse_model.pins import at
from sparse_model.pruning import Cut

if TYPE_CHECKING:
    from sparse_model import SparseEncoder

# Keys of the model that decide a vector: on an evaluation's command line each overrides what the checkpoint says.
VECTOR_KEYS = [key for key in keys_that_change(Changes.VECTORS, "model") if key != "model_name_or_path"]
# Those of them that `sparse_model.load` takes.
LOADED = [key for key in VECTOR_KEYS if key not in ("eval_max_seq_length", "revision", "idf_revision")]
# Those that a checkpoint does not say of itself.
LOADED_ANYWAY = [key for key in LOADED if not effect(key).told]


@dataclass(frozen=True)
class Chosen:
    """A model and how it is loaded; what its checkpoint says of itself counts where `options` says nothing."""

    path: str
    """folder, hub id, or id@revision"""
    options: Mapping[str, Any]
    """arguments of `sparse_model.load`"""
    device: str
    encoding_dtype: str | None = None
    """what documents are encoded in, by name; None: float32"""
    new_head: bool = False
    """a missing masked-LM head is made at random, to be trained"""
    trust_remote_code: bool = False
    """run the Python code that it brings"""

    @property
    def idf_from_corpus(self) -> bool:
        """Whether query weights are computed from the corpus; its texts are the caller's."""
        return self.options.get("idf_path") == "corpus"

    @property
    def brings_query_weights(self) -> bool:
        """Whether query weights come from a file or the checkpoint."""
        if path := self.options.get("idf_path"):
            return path != "corpus"
        return describe(resolve(self.path)).query_table is not None

    def load(self) -> "SparseEncoder":
        """The encoder on its device.

        Raises:
            UserError: if it cannot be used.
        """
        import torch
        from transformers.utils import logging

        from sparse_model import load
        from sparse_model.checkpoint import NO_TABLE

        logging.disable_progress_bar()  # of reading weights, which takes no time
        options = dict(self.options) | ({"idf_path": None} if self.idf_from_corpus else {})
        options |= {"allow_new_head": self.new_head, "trust_remote_code": self.trust_remote_code}
        encoder = load(self.path, **options).to(self.device)
        if self.idf_from_corpus and not encoder.inf_free:
            raise UserError(NO_TABLE)
        if self.encoding_dtype:
            encoder.encoding_dtype = getattr(torch, self.encoding_dtype)
        return encoder

    def vector_files(self) -> str:
        """A hash of the files that decide the documents' vectors."""
        beside = files_beside({"tokenizer_name": self.options.get("tokenizer_name")})
        return fingerprint([*model_files(self.path), *beside])

    def vector_facts(self, encoder: "SparseEncoder", files: str) -> dict[str, Any]:
        """All that decides a document's vector beside its text; files: see `vector_files`."""
        return {
            "files": files,
            "tokenizer": self.options.get("tokenizer_name"),
            "activation": encoder.activation_type,
            "length": encoder.max_seq_length,
            "prune": encoder.prune_ratio,
            "precision": [str(encoder.encoding_dtype), str(encoder.product_dtype)],
            "overrides": self.options.get("model_overrides", {}),
            **({"prompt": encoder.prompts.document} if encoder.prompts.document else {}),
            **{name: self.options[name] for name in ("code_revision", "lowercase") if self.options.get(name)},
        }


def load_start(settings: Settings) -> tuple["SparseEncoder", Settings]:
    """(the model that a training starts from, the settings with what it says of itself).

    Keys that are given count, the checkpoint says the rest.

    Raises:
        UserError: if the model cannot be trained as the settings say.
    """
    place = device(settings.value("use_cpu"))
    # Of several values of a key, which an evaluation takes one by one, the first.
    options = _options(settings.one_by_one()[0].given_values(LOADED), settings.model.idf_revision)
    trusts = settings.run.trust_remote_code
    encoder = Chosen(named(settings.model), options, place, new_head=True, trust_remote_code=trusts).load()
    if encoder.query_model is not None:
        raise UserError(
            f"inf_free: {settings.model.model_name_or_path} has a query model of its own, and one model alone is "
            "trained: inf_free: true takes that of documents, with queries by a table; or name a masked LM for both."
        )
    encoder.cut = Cut(prune_ratio=options.get("prune_ratio"))  # that of the start model is not the trained one's
    asked = settings.given_values(["train_lexical_share", "train_lexical_idf"])
    names = {key: key.removeprefix("train_") for key in asked}
    encoder.trained_share = replace(encoder.trained_share, **{names[key]: value for key, value in asked.items()})
    settings = settings.told(said_by(encoder))
    refuse(settings.unfit_for_training())
    if (length := settings.model.eval_max_seq_length) is not None:
        encoder.usable_length(length, "eval_max_seq_length")
    return encoder, settings


def scored_model(settings: Settings) -> Chosen:
    """The model that an evaluation scores: a trained config's own checkpoint, else the named one.

    Raises:
        UserError: if a config that trains has no finished checkpoint, or there is no model at all.
    """
    asked = asked_model(settings)
    path, meant = asked.path, asked.overriding
    is_plain = describe(resolve(path)).activation_type is None and not asked.is_own
    keys = LOADED if is_plain else LOADED_ANYWAY
    given = settings.given_values([*keys, *(key for key in meant if key in LOADED)])
    options = _options(given, settings.model.idf_revision)
    length = settings.model.eval_max_seq_length
    if length and "max_seq_length" not in meant and (is_plain or "eval_max_seq_length" in meant):
        options["max_seq_length"] = length
    # In a run's config, idf_path: corpus is how it was trained: only on the command line it is about what is scored.
    is_of_a_run = asked.is_own or _is_recorded(settings.config_path)
    weights = meant if is_of_a_run else settings.given_values(["idf_path"])
    if weights.get("idf_path") == "corpus":
        options["idf_path"] = "corpus"
    return _encoding(path, options, settings.value)


def _is_recorded(path: Path | None) -> bool:
    """Whether a config is the one that a run has left."""
    return path is not None and path.name == "config.yaml" and path.with_name("run.json").is_file()


def miner(settings: Settings) -> Chosen:
    """The model that data preparation mines with: every key that is given counts, the checkpoint says the rest.

    Raises:
        UserError: if none is named.
    """
    options = _options(settings.one_by_one()[0].given_values(LOADED), settings.model.idf_revision)
    return _encoding(named(settings.model), options, settings.value)


@dataclass(frozen=True)
class Asked:
    """The model that an evaluation is asked to score: what the config's own training left, or a named one."""

    is_own: bool
    """it is what the config's own training leaves in output_dir"""
    overriding: Mapping[str, Any]
    """keys of the model on the command line that differ from what the run in output_dir was trained with"""
    model: ModelKeys
    output_dir: Path
    config: Path | None

    @property
    def path(self) -> str:
        """Folder or hub id; UserError if nothing was trained yet, or no model is named."""
        if not self.is_own:
            return named(self.model)
        if not (self.output_dir / "modules.json").is_file():
            raise UserError(
                f"output_dir: {self.output_dir} holds no trained model. Train it first (python train_ir.py "
                f"{self.config or '…'}), or name one: model_name_or_path=…"
            )
        return str(self.output_dir)


def asked_model(settings: Settings) -> Asked:
    """Which model the settings of an evaluation mean.

    The words of a training, typed again for its evaluation, mean that run and no other model.
    """
    recorded = read_yaml(settings.output_dir / "config.yaml") if settings.trains else {}
    given = settings.on_command_line([*VECTOR_KEYS, "model_name_or_path"])
    same = {key for key, value in given.items() if key in recorded and recorded[key] == value}
    overriding = {key: value for key, value in given.items() if key not in same or effect(key).always_meant}
    is_own = settings.trains and "model_name_or_path" not in overriding
    return Asked(is_own, overriding, settings.model, settings.output_dir, settings.config_path)


def said_by(encoder: "SparseEncoder") -> dict[str, Any]:
    """The keys that a loaded model says the values of."""
    says = {name: getattr(encoder, name) for name in ("activation_type", "max_seq_length", "inf_free")}
    says |= {f"{role}_prompt": text or None for role, text in asdict(encoder.prompts).items()}
    return says | {f"train_{name}": value for name, value in asdict(encoder.trained_share).items()}


def query_weights(encoder: "SparseEncoder", idf_path: str | None) -> str:
    """How a model's queries get their weights, in words; idf_path: what it was loaded with."""
    if encoder.idf_V is None:
        return f"{encoder.query_words} (inf_free: false)"
    if idf_path:
        return f"inference-free, query weights: {idf_path}"
    weights = encoder.idf_V[encoder.idf_V > 0]
    return f"inference-free, query weights: {'1 for every token' if bool((weights == 1).all()) else 'the checkpoint'}"


def files_beside(values: Mapping[str, Any]) -> list[Path]:
    """The files and folders on this disk that idf_path and tokenizer_name name beside a model; values: by key."""
    idf = values.get("idf_path")
    named = (None if idf == "corpus" else idf, values.get("tokenizer_name"))
    return [Path(name) for name in named if name and Path(name).exists()]


def device(use_cpu: bool) -> str:
    """Where models run: "cuda" or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() and not use_cpu else "cpu"


def named(model: ModelKeys) -> str:
    """What model_name_or_path names, at its revision.

    Raises:
        UserError: if it names nothing, or something without revisions.
    """
    if not model.model_name_or_path:
        raise UserError("model_name_or_path: missing; name a checkpoint, or give a config that was trained.")
    return at(model.model_name_or_path, model.revision)


def _options(given: dict[str, Any], idf_revision: str | None) -> dict[str, Any]:
    """Given keys of the model as arguments of `sparse_model.load`."""
    idf = given.get("idf_path")
    # Null is no prompt, and not what the checkpoint says.
    prompts = {key: given[key] or "" for key in ("query_prompt", "document_prompt") if key in given}
    return given | prompts | ({"idf_path": at(idf, idf_revision, "idf_revision")} if idf and idf != "corpus" else {})


def _encoding(path: str, options: Mapping[str, Any], value: Callable[[str], Any]) -> Chosen:
    """A model that encodes, where and as precisely as use_cpu, bf16_full_eval and fp16_full_eval say."""
    place = device(value("use_cpu"))
    half = "float16" if value("fp16_full_eval") and place == "cuda" else None
    dtype = half or ("bfloat16" if value("bf16_full_eval") else None)
    return Chosen(path, options, place, dtype, trust_remote_code=value("trust_remote_code"))
