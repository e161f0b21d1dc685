"""The Trainer's own keys: the fields of the installed transformers.TrainingArguments, and what each changes.

Names, types, defaults and meanings are read from the source of the installed version, since importing it takes
seconds and `--help` or a mistaken key should not. A field that the table does not know counts as changing weights.
"""

import ast
import dataclasses
import importlib.util
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from packaging.version import Version
from pydantic import ConfigDict, TypeAdapter, ValidationError

from experiment.settings.effects import Changes, Effect

NOTHING, WEIGHTS, BEST = Changes.NOTHING, Changes.WEIGHTS, Changes.BEST

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
OUR_DEFAULTS: dict[str, Any] = {"report_to": "none", "logging_nan_inf_filter": False, "seed": 42}


def _each(names: str, changes: Changes, main_for: str = "", **more: Any) -> dict[str, Effect]:
    return dict.fromkeys(names.split(), Effect(changes, main_for=frozenset(main_for.split()), **more))


# Of every version since 4.44; in the order in which an evaluation's folder names them.
EFFECTS: dict[str, Effect] = {
    **_each("per_device_train_batch_size", WEIGHTS | Changes.PACE, "train"),
    **_each("gradient_accumulation_steps", WEIGHTS | Changes.PACE),
    **_each("learning_rate warmup_steps seed", WEIGHTS, "train"),
    **_each("max_steps num_train_epochs", WEIGHTS | Changes.LENGTH, "train"),
    **_each("lr_scheduler_type lr_scheduler_kwargs warmup_ratio optim optim_args weight_decay", WEIGHTS),
    **_each("adam_beta1 adam_beta2 adam_epsilon max_grad_norm bf16 fp16 data_seed full_determinism", WEIGHTS),
    **_each("use_cpu torch_compile tf32 adafactor optim_target_modules load_best_model_at_end", WEIGHTS),
    **_each("fp16_opt_level half_precision_backend fp16_backend use_ipex use_liger_kernel", WEIGHTS),
    **_each("liger_kernel_config train_sampling_strategy average_tokens_across_devices", WEIGHTS),
    **_each("metric_for_best_model greater_is_better eval_strategy eval_steps eval_delay eval_on_start", BEST),
    **_each("save_strategy save_steps", BEST),
    **_each("bf16_full_eval fp16_full_eval", Changes.VECTORS, by_default=True),
    **_each("output_dir logging_steps save_total_limit", NOTHING),
    **_each("per_device_eval_batch_size", NOTHING, "evaluate prepare"),
    **_each("overwrite_output_dir do_train do_eval do_predict prediction_loss_only eval_accumulation_steps", NOTHING),
    **_each(
        "torch_empty_cache_steps log_level log_level_replica log_on_each_node logging_dir logging_strategy", NOTHING
    ),
    **_each("logging_first_step logging_nan_inf_filter save_safetensors save_on_each_node", NOTHING),
    **_each("restore_callback_states_from_checkpoint use_mps_device jit_mode_eval local_rank ddp_backend", NOTHING),
    **_each("tpu_num_cores tpu_metrics_debug debug dataloader_drop_last dataloader_num_workers", NOTHING),
    **_each("dataloader_prefetch_factor past_index run_name disable_tqdm label_names accelerator_config", NOTHING),
    **_each("length_column_name report_to ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers", NOTHING),
    **_each("dataloader_pin_memory dataloader_persistent_workers skip_memory_metrics push_to_hub", NOTHING),
    **_each("use_legacy_prediction_loop hub_model_id hub_strategy hub_token hub_private_repo hub_always_push", NOTHING),
    **_each("gradient_checkpointing gradient_checkpointing_kwargs include_inputs_for_metrics", NOTHING),
    **_each("eval_do_concat_batches push_to_hub_model_id push_to_hub_organization push_to_hub_token", NOTHING),
    **_each("mp_parameters torchdynamo ray_scope ddp_timeout torch_compile_backend torch_compile_mode", NOTHING),
    **_each("dispatch_batches split_batches include_tokens_per_second include_num_input_tokens_seen", NOTHING),
    **_each("batch_eval_metrics eval_use_gather_object fsdp_config fsdp_min_num_params", NOTHING),
    **_each("fsdp_transformer_layer_cls_to_wrap activation_checkpointing activation_checkpointing_kwargs", NOTHING),
    **_each(
        "use_cache project trackio_space_id trackio_bucket_id trackio_static_space_id include_for_metrics", NOTHING
    ),
    **_each("enable_jit_checkpoint hub_revision parallelism_config dataloader_multiprocessing_context", NOTHING),
    **_each("dataloader_in_order ddp_static_graph", NOTHING),
    **_each("deepspeed fsdp label_smoothing_factor neftune_noise_alpha group_by_length auto_find_batch_size", NOTHING),
    **_each("ignore_data_skip remove_unused_columns resume_from_checkpoint save_only_model", NOTHING),
}


def effect_of(name: str) -> Effect:
    """What a field changes; the weights, if it is one of a version that nobody has seen yet."""
    return EFFECTS.get(name, Effect(WEIGHTS))


def names_of(key: str) -> set[str]:
    """The names under which the same field can be given, in this version or another."""
    field = RENAMED.get(key, key)
    return {key, field, *(old for old, new in RENAMED.items() if new == field)}


@dataclasses.dataclass(frozen=True)
class TrainerField:
    """One field, as the source of the installed version defines it."""

    name: str
    annotation: ast.expr
    meaning: str
    default: ast.expr | None
    """None: made by a factory"""


@cache
def fields() -> dict[str, TrainerField]:
    """The fields of the installed TrainingArguments that can be given."""
    classes = [node for node in _parsed(_SOURCES[0]).body if isinstance(node, ast.ClassDef)]
    body = next(node.body for node in classes if node.name == "TrainingArguments")
    lines = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    read = [_field(node) for node in lines]
    return {field.name: field for field in read if field is not None}


_SOURCES = ("training_args.py", "trainer_utils.py")


@cache
def _parsed(name: str) -> ast.Module:
    """A source file of the installed transformers."""
    found = importlib.util.find_spec("transformers")
    folder = Path((found.submodule_search_locations or [""])[0] if found else "")
    return ast.parse((folder / name).read_text(encoding="utf-8"))


def _field(node: ast.AnnAssign) -> TrainerField | None:
    """None for a field that __init__ does not take."""
    name, value = node.target.id, node.value  # type: ignore[union-attr]
    parts = {p.arg: p.value for p in value.keywords} if isinstance(value, ast.Call) else {"default": value}
    if isinstance(given := parts.get("init"), ast.Constant) and given.value is False:
        return None
    return TrainerField(name, node.annotation, _help(parts.get("metadata")), parts.get("default"))


def _help(metadata: ast.expr | None) -> str:
    try:
        texts = ast.literal_eval(metadata) if metadata is not None else {}
    except ValueError:  # put together at run time
        return ""
    return " ".join(str(texts.get("help", "")).split())


def literal_default_of(name: str) -> Any:
    """A field's default, as far as the source says it: ours, else the installed version's; else None."""
    if name in OUR_DEFAULTS or name not in fields():
        return OUR_DEFAULTS.get(name)
    expression = fields()[name].default
    return ast.literal_eval(expression) if expression is not None and _is_literal(expression) else None


def _is_literal(expression: ast.expr) -> bool:
    try:
        return ast.literal_eval(expression) is not ...
    except ValueError:
        return False


@cache
def default_of(name: str) -> Any:
    """A field's default: ours, else the installed version's (None where it has none)."""
    if name in OUR_DEFAULTS or name not in fields() or (expression := fields()[name].default) is None:
        return OUR_DEFAULTS.get(name)
    if _is_literal(expression):
        return ast.literal_eval(expression)
    if name == "optim":
        return _default_optimizer()
    # It depends on what is installed: only the class itself knows.
    from transformers import TrainingArguments

    return {field.name: field.default for field in dataclasses.fields(TrainingArguments)}[name]


def _default_optimizer() -> str:
    """By torch's version where transformers goes by it; told without loading either."""
    text = ast.unparse(_parsed(_SOURCES[0]))
    has_fused = "is_torch_greater_or_equal_than_2_8" in text and Version(version("torch")) >= Version("2.8")
    return "adamw_torch_fused" if has_fused else "adamw_torch"


_PLAIN: dict[str, Any] = {"str": str, "int": int, "float": float, "bool": bool, "dict": dict, "list": list, "Any": Any}


@cache
def type_of(name: str) -> Any:
    """A field's type; what only transformers knows (its enumerations of strings) is taken as a string."""
    return _type(fields()[name].annotation)


def _type(node: ast.expr) -> Any:
    match node:
        case ast.BinOp(left=left, right=right):
            return _one_of([_type(left), _type(right)])
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
            return _one_of([_type(part) for part in parts])
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return Union[_type(inner), None]  # noqa: UP007
        case ast.Subscript(value=ast.Name(id="Literal")):
            return Literal[ast.literal_eval(node.slice)]  # type: ignore[valid-type]
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name.lower() == "list":
            return list[_type(inner)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id=name)):
            return _PLAIN.get(name.lower(), str)
        case ast.Constant(value=None):
            return None
        case ast.Name(id=name):
            values = _enumerations().get(name)
            return _PLAIN.get(name) or (Literal[values] if values else str)
    return Any


def _one_of(types: list[Any]) -> Any:
    """Their union; a string beside an enumeration of strings is one of those."""
    known = [kind for kind in types if get_origin(kind) is Literal and isinstance(get_args(kind)[0], str)]
    return Union[tuple(kind for kind in types if not (known and kind is str))]  # noqa: UP007 - of values


@cache
def _enumerations() -> dict[str, tuple[str, ...]]:
    """The values of each enumeration of strings that fields are typed with."""
    bodies = {
        node.name: node.body for name in _SOURCES for node in _parsed(name).body if isinstance(node, ast.ClassDef)
    }
    values = {name: [node.value for node in body if isinstance(node, ast.Assign)] for name, body in bodies.items()}
    strings = {name: [v.value for v in found if isinstance(v, ast.Constant)] for name, found in values.items()}
    return {name: tuple(map(str, found)) for name, found in strings.items() if found}


def checked(name: str, value: Any) -> tuple[str, Any]:
    """(the installed field's name, the value in its type).

    Raises:
        KeyError: if there is no such field; ValueError: with the remedy, for a value that cannot be used.
    """
    if name in REFUSED and value not in (None, 0, 0.0, "", False):
        raise ValueError(f"not supported: {REFUSED[name]}.")
    if name not in fields():
        if name in REFUSED or (value is None and name in EFFECTS):
            return name, value  # says nothing: a recorded config of another version
        name = RENAMED[name]
    if name == "max_grad_norm" and value is None:
        return name, 0.0  # the Trainer's way to say: no clipping
    if value is False and name.endswith("_strategy"):
        value = "no"  # YAML reads a bare no as false
    try:
        return name, TypeAdapter(type_of(name), config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        found = "" if "token" in name else f" (found {value!r})"
        raise ValueError(f"{error.errors()[-1]['msg']}{found}") from None
