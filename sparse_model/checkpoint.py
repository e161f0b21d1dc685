"""Checkpoints: a folder that says everything of itself, in the layout that sentence-transformers loads too.

The masked LM lies in the root (AutoModelForMaskedLM reads it); modules.json and its companions tell the
activation, the length, the query table. `l2_relu` and `l3_relu`, which sentence-transformers lacks, stand in
the same place under their own names: that library then refuses the checkpoint instead of scoring it wrongly.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

from sparse_model.activations import LOGARITHMS
from sparse_model.encoder import SparseEncoder
from sparse_model.errors import UserError
from sparse_model.query_weights import read_idf, without_special_tokens, write_idf

HEAD_DTYPES = {"float32": None, "bfloat16": torch.bfloat16}
DEFAULT_LENGTH = 512
# Of from_pretrained; transformers 4.56 renamed it.
DTYPE_ARGUMENT = "dtype" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 56) else "torch_dtype"

# What sentence-transformers calls our activations; the others keep their own names.
_THEIR_NAMES = {"relu": "relu", "l1_relu": "log1p_relu"}
_OUR_NAMES = {theirs: ours for ours, theirs in _THEIR_NAMES.items()} | {name: name for name in LOGARITHMS}

# Positions are numbered from padding_idx + 1 on.
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")

_CLASSES = "sentence_transformers.sparse_encoder.models."
_QUERY, _POOLING = "query_0_SparseStaticEmbedding", "document_1_SpladePooling"


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of itself; None where it says nothing (a plain masked LM says nothing at all)."""

    activation_type: str | None = None
    max_seq_length: int | None = None
    inf_free: bool | None = None
    query_folder: Path | None = None  # holds the query table
    mlm_subfolder: str = ""


def load(
    name_or_path: str | Path,
    *,
    activation_type: str | None = None,
    idf_path: str | None = None,
    max_seq_length: int | None = None,
    inf_free: bool | None = None,
    head_dtype: str = "float32",
    prune_ratio: float | None = None,
    tokenizer_name: str | None = None,
    model_overrides: dict[str, Any] | None = None,
    allow_new_head: bool = False,
    trust_remote_code: bool = False,
) -> SparseEncoder:
    """An encoder from a checkpoint of ours, a sentence-transformers sparse encoder or any masked LM.

    What an argument leaves at None is as the checkpoint says; a plain masked LM gets relu, 1 for every query
    token, 512 tokens (or as many as it has positions) and inference-free queries.

    Args:
        name_or_path: a folder or a hub id.
        activation_type: a key of `activations.LOGARITHMS`.
        idf_path: a JSON file of token -> weight, or a hub id that holds an idf.json.
        max_seq_length: tokens documents are cut to.
        inf_free: queries by table (true) or through the model (false).
        head_dtype: float32 or bfloat16, the precision of the head's product.
        prune_ratio: see `SparseEncoder`.
        tokenizer_name: folder or hub id of another tokenizer than the model's.
        model_overrides: fields of the model's config, e.g. {"hidden_dropout_prob": 0.0}.
        allow_new_head: accept a checkpoint without masked-LM head, which then starts at random (for training).
        trust_remote_code: run the Python code that the checkpoint brings.

    Raises:
        UserError: for whatever cannot be used, with the remedy.
    """
    if activation_type is not None and activation_type not in LOGARITHMS:
        raise UserError(f"activation_type: {activation_type!r} is none of {', '.join(LOGARITHMS)}.")
    if head_dtype not in HEAD_DTYPES:
        raise UserError(f"head_dtype: {head_dtype!r} is none of {', '.join(HEAD_DTYPES)}.")
    folder = resolve(str(name_or_path), with_code=trust_remote_code)
    if not any(folder.rglob("config.json")):
        raise UserError(f"model_name_or_path: {folder} holds no model (no config.json).")
    says = describe(folder)
    tokenizer = load_tokenizer(tokenizer_name or str(folder / says.mlm_subfolder))
    mlm = _load_mlm(folder / says.mlm_subfolder, model_overrides or {}, allow_new_head, trust_remote_code)
    length = max_seq_length or says.max_seq_length or DEFAULT_LENGTH
    positions, framed = longest_input(mlm.config), tokenizer.num_special_tokens_to_add()
    if max_seq_length and max_seq_length <= framed:
        raise UserError(f"max_seq_length: {max_seq_length} leaves no room beside {framed} special tokens.")
    if max_seq_length and positions and max_seq_length > positions:
        raise UserError(f"max_seq_length: {max_seq_length}, but {name_or_path} has positions for {positions} tokens.")
    encoder = SparseEncoder(
        mlm,
        tokenizer,
        activation_type=activation_type or says.activation_type or "relu",
        inf_free=next((value for value in (inf_free, says.inf_free) if value is not None), True),
        max_seq_length=min(length, positions or length),
        product_dtype=HEAD_DTYPES[head_dtype],
        prune_ratio=prune_ratio,
    )
    if encoder.inf_free and idf_path:
        encoder.use_idf(read_idf(idf_path, tokenizer, encoder.vocabulary_size))
    elif encoder.inf_free and says.query_folder:
        encoder.use_idf(_read_query_table(says.query_folder, tokenizer, encoder.vocabulary_size))
    return encoder.eval()


def resolve(name_or_path: str, key: str = "model_name_or_path", with_code: bool = False) -> Path:
    """The local folder of a model or tokenizer: itself, or a hub repository fetched into the cache.

    Args:
        key: what messages begin with; with_code: fetch Python files too.

    Raises:
        UserError: if there is no such folder and the hub does not answer with one.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if path.exists() or path.is_absolute() or name_or_path.count("/") > 1 or name_or_path.startswith("."):
        raise UserError(f"{key}: there is no folder {path}.")
    from huggingface_hub import snapshot_download

    try:
        # Weights as safetensors where the repository has them; a .bin is read with weights_only by transformers.
        patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "*/*.json", "*/*.safetensors", "*/*.txt"]
        patterns += ["*.py"] if with_code else []
        folder = Path(snapshot_download(name_or_path, allow_patterns=patterns))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name_or_path, allow_patterns=[*patterns, "pytorch_model*.bin"]))
        return folder
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key}: {name_or_path} is neither a folder nor a hub repository that can be reached "
            f"({type(error).__name__}). Check the name, or fetch the model once where there is a network."
        ) from None


def describe(folder: Path) -> Description:
    """Read modules.json and what it names; an empty Description where there is none.

    Raises:
        UserError: if the modules are not those of a sparse encoder (a dense model, sum pooling, …).
    """
    modules = read_modules(folder)
    if not modules:
        return Description()
    router = next((path for name, path in modules if name == "Router"), None)
    query_folder = None
    if router is not None:
        routes = read_json(router / "router_config.json")
        if "types" not in routes or not {"query", "document"} <= set(routes.get("structure", {})):
            raise UserError(f"{router / 'router_config.json'} has no routes query and document: not a sparse encoder.")
        of = {name: (_class_name(kind), router / name) for name, kind in routes["types"].items()}
        query = [of[name] for name in routes["structure"]["query"]]
        query_folder = next((path for name, path in query if name == "SparseStaticEmbedding"), None)
        modules = [of[name] for name in routes["structure"]["document"]]
    found = dict(modules)
    mlm, pooling = found.get("MLMTransformer") or found.get("Transformer"), found.get("SpladePooling")
    if mlm is None or pooling is None:
        raise UserError(f"{folder} is a sentence-transformers model of {list(found)}, not a sparse masked LM.")
    says = read_json(pooling / "config.json")
    activation = _OUR_NAMES.get(says.get("activation_function", "relu"))
    if activation is None or says.get("pooling_strategy", "max") != "max":
        raise UserError(f"{pooling / 'config.json'}: only max pooling with {sorted(_OUR_NAMES)} can be used.")
    length_file = mlm / "sentence_bert_config.json"
    length = read_json(length_file).get("max_seq_length") if length_file.is_file() else None
    if length is not None and not isinstance(length, int):
        raise UserError(f"{length_file}: max_seq_length is {length!r}, not a number.")
    return Description(activation, length, query_folder is not None, query_folder, str(mlm.relative_to(folder)))


def read_modules(folder: Path) -> list[tuple[str, Path]]:
    """(class, folder) of each module that a sentence-transformers model names in modules.json; [] without one."""
    if not (folder / "modules.json").is_file():
        return []
    return [(_class_name(m["type"]), folder / m["path"]) for m in read_json(folder / "modules.json")]


def save(encoder: SparseEncoder, folder: Path) -> None:
    """Write the encoder so that `load`, sentence-transformers and AutoModelForMaskedLM read it (see the module)."""
    folder.mkdir(parents=True, exist_ok=True)
    # The output bias under each of its names: transformers 4.44 resets RoBERTa's where one is left out.
    bias = encoder.mlm.get_output_embeddings().bias  # type: ignore[operator]
    state = {k: v.clone() if v.data_ptr() == bias.data_ptr() else v for k, v in encoder.mlm.state_dict().items()}
    encoder.mlm.save_pretrained(folder, state_dict=state)  # type: ignore[operator]
    _save_tokenizer(encoder, folder)
    pooling = {
        "pooling_strategy": "max",
        "activation_function": _THEIR_NAMES.get(encoder.activation_type, encoder.activation_type),
        "word_embedding_dimension": None,
    }
    _write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": encoder.max_seq_length, "do_lower_case": False}
    )
    _write_json(
        folder / "config_sentence_transformers.json",
        {"model_type": "SparseEncoder", "similarity_fn_name": "dot", "prompts": {"query": "", "document": ""}},
    )
    if encoder.idf_V is None:
        _write_modules(folder, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
        _write_json(folder / "1_SpladePooling" / "config.json", pooling)
        return
    _write_json(folder / _POOLING / "config.json", pooling)
    _write_json(folder / _QUERY / "config.json", {"frozen": not encoder.idf_V.requires_grad})
    table = encoder.idf_V.detach().cpu().contiguous()
    save_file({"weight": table}, folder / _QUERY / "model.safetensors")
    _save_tokenizer(encoder, folder / _QUERY)
    write_idf(folder / "idf.json", table, encoder.tokenizer)
    types = {_QUERY: _CLASSES + "SparseStaticEmbedding.SparseStaticEmbedding"}
    types |= {"": _CLASSES + "MLMTransformer.MLMTransformer", _POOLING: _CLASSES + "SpladePooling.SpladePooling"}
    structure = {"query": [_QUERY], "document": ["", _POOLING]}
    parameters = {"default_route": "document", "allow_empty_key": True}
    _write_json(folder / "router_config.json", {"types": types, "structure": structure, "parameters": parameters})
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
    _write_json(folder / "modules.json", [module])


def load_weights(encoder: SparseEncoder, folder: Path) -> None:
    """Put the weights (and the query table) of a checkpoint written by `save` into an encoder of the same shape.

    Raises:
        UserError: if a weight is missing, unknown or of another shape.
    """
    stored = load(folder)
    try:
        encoder.mlm.load_state_dict(stored.mlm.state_dict())
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit the model: {error}") from None
    if encoder.idf_V is not None and stored.idf_V is not None:
        with torch.no_grad():
            encoder.idf_V.copy_(stored.idf_V)


def longest_input(config: Any) -> int | None:
    """Tokens a model of this config has positions for; None where it does not say."""
    positions = getattr(config, "max_position_embeddings", None)
    offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
    return positions - offset if positions and positions > 0 else None


def load_tokenizer(name_or_path: str, key: str = "tokenizer_name") -> Any:
    """The fast tokenizer of a folder or hub id.

    Raises:
        UserError: beginning with `key`, if there is none.
    """
    folder = resolve(name_or_path, key)
    # transformers would make up an empty tokenizer where there are no files.
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise UserError(f"{key}: {name_or_path} holds no tokenizer (no tokenizer.json).")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(f"{key}: {name_or_path} holds no tokenizer that can be read: {error}") from None
    if not tokenizer.is_fast:
        raise UserError(f"{key}: {name_or_path} has no fast tokenizer (tokenizer.json).")
    return tokenizer


def _load_mlm(folder: Path, overrides: dict[str, Any], allow_new_head: bool, trust_remote_code: bool) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        unknown = [key for key in overrides if not hasattr(config, key)]
        if unknown:
            raise UserError(
                f"model_overrides: {folder}'s config has no {', '.join(unknown)}; it has {sorted(vars(config))}"
            )
        for key, value in overrides.items():
            setattr(config, key, value)
        mlm, info = AutoModelForMaskedLM.from_pretrained(
            folder,
            config=config,
            **{DTYPE_ARGUMENT: torch.float32},
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
        )
    except UserError:
        raise
    except Exception as error:  # whatever a model's files or overrides make transformers raise
        raise UserError(f"model_name_or_path: {folder} is no masked language model that can be read: {error}") from None
    missing = sorted(info["missing_keys"])
    body = [name for name in missing if name.startswith(f"{mlm.base_model_prefix}.")]
    if body:
        raise UserError(f"model_name_or_path: {folder} is incomplete: it lacks {body[0]}.")
    if missing and not allow_new_head:
        raise UserError(
            f"model_name_or_path: {folder} has no masked-LM head ({', '.join(missing)} would start at random). "
            "Train it first, or give a masked language model."
        )
    broken = [name for name, weight in mlm.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise UserError(f"model_name_or_path: {folder} is damaged: {broken[0]} holds values that are not finite.")
    return mlm


def _read_query_table(folder: Path, tokenizer: Any, vocabulary_size: int) -> Tensor:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        path = read_json(folder / "config.json").get("path", "idf.json")
        return read_idf(str(folder / path), tokenizer, vocabulary_size)
    try:
        table = load_file(weights)["weight"].float()
    except (SafetensorError, KeyError) as error:
        raise UserError(f"{weights} is damaged: {error}") from None
    if table.shape != (vocabulary_size,) or not table.isfinite().all():
        raise UserError(f"{weights}: expected {vocabulary_size} finite weights, found {tuple(table.shape)}.")
    return without_special_tokens(table, tokenizer)


def _save_tokenizer(encoder: SparseEncoder, folder: Path) -> None:
    """The tokenizer as every consumer can use it.

    Without the truncation of the last call, of a class that older versions of transformers know, and with as many
    tokens as the model has outputs: sentence-transformers wants both sides of a pair to have the same length.
    """
    tokenizer = copy.deepcopy(encoder.tokenizer)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.add_tokens([f"[filler{i}]" for i in range(len(tokenizer), encoder.vocabulary_size)])
    tokenizer.save_pretrained(folder)
    says = read_json(folder / "tokenizer_config.json")
    if says.get("tokenizer_class") == "TokenizersBackend":
        _write_json(folder / "tokenizer_config.json", says | {"tokenizer_class": "PreTrainedTokenizerFast"})


def _write_modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"{_CLASSES}{name}.{name}"}
        for i, (path, name) in enumerate(modules)
    ]
    _write_json(folder / "modules.json", rows)


def _class_name(dotted: str) -> str:
    return dotted.rsplit(".", 1)[-1]


def read_json(path: Path) -> Any:
    """What a JSON file holds; UserError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
