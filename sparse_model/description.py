"""What a model's folder says of itself: each module, file and key is used, changes nothing, or is refused by name.

A checkpoint of ours and one of sentence-transformers' say it in modules.json and in what that names; a plain masked LM
says nothing, but may have an idf.json beside it. No weights are read here, and torch is not needed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sparse_model.activations import ACTIVATIONS
from sparse_model.errors import UserError
from sparse_model.layout import require_json, require_object
from sparse_model.prompts import Prompts, are_prompts, obeyed
from sparse_model.pruning import Cut

# As stored, and under our own names: a checkpoint may say either.
_OUR_NAMES = {kind.stored_name: name for name, kind in ACTIVATIONS.items()} | {name: name for name in ACTIVATIONS}

# What sentence-transformers' modules are named in. A class of another package's is not what its last name says.
_CLASSES = "sentence_transformers."
# Lie in a folder only where a modules.json says what they are.
_NAMED_BY_MODULES = (
    "router_config.json",
    "config_sentence_transformers.json",
    "*SpladePooling",
    "*SparseStaticEmbedding",
)


@dataclass(frozen=True)
class Description:
    """What a checkpoint says of itself; None where it says nothing (a plain masked LM says nothing at all)."""

    activation_type: str | None = None
    max_seq_length: Any = None  # not checked yet: it needs the tokenizer
    length_file: Path | None = None
    """that says it, or leaves it to the tokenizer's model_max_length"""
    inf_free: bool | None = None
    query_table: Path | None = None
    """a file of query weights"""
    query_model: "Description | None" = None
    """the masked LM of queries, where they have one of their own"""
    mlm_subfolder: str = ""
    cut: Cut = Cut()
    """what documents are cut to"""
    prompts: Prompts = Prompts()
    """what stands before texts"""
    lowercase: bool = False
    """whether what goes through the masked LM is lower-cased first"""


class Key(NamedTuple):
    """Which values of a key of another program are obeyed here, and what to do about any other."""

    fits: Callable[[Any], bool]
    remedy: str


def _only(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value == known and type(value) is type(known) for known in values)


def _unset(remedy: str) -> Key:
    return Key(lambda value: not value, remedy)


def _is_cut(**limits: Any) -> bool:
    try:
        Cut(**limits)
    except UserError:
        return False
    return True


_FREE = Key(lambda value: True, "")
_OTHER_WAY = "it would encode in another way than it does here; take it out, if that is meant."
MODEL_KEYS = {
    "__version__": _FREE,
    "prompts": Key(are_prompts, "a mapping of names to texts is needed, such as {query: …, document: …}."),
    "default_prompt_name": _FREE,  # of texts that are neither queries nor documents
    "model_type": Key(_only(None, "SparseEncoder", "SentenceTransformer"), "no encoder of texts one by one."),
    "similarity_fn_name": Key(_only(None, "dot"), "scores are dot products here; set it to dot, if that is meant."),
    "max_active_dims": Key(lambda value: _is_cut(max_active_dims=value), "a number from 1 on, or null."),
    "prune_ratio": Key(lambda value: _is_cut(prune_ratio=value), "from 0 to below 1, or null."),
    "truncate_dim": _unset(_OTHER_WAY),
}


def transformer_keys(task: str, output: str) -> dict[str, Key]:
    """Keys of sentence_bert_config.json of a module that gives what the model calls `output`."""
    words = "model_args model_kwargs tokenizer_args processor_kwargs config_args config_kwargs processing_kwargs"
    words += " query_length document_length query_expansion tokenizer_name_or_path"
    return {
        "max_seq_length": _FREE,
        "unpad_inputs": _FREE,
        "do_lower_case": _unset(
            "texts are left as they are; set it to false, if the tokenizer lowercases them anyway."
        ),
        "transformer_task": Key(_only(task), f"only {task} can be used."),
        "module_output_name": Key(_only(None, "token_embeddings"), _OTHER_WAY),
        "modality_config": Key(
            lambda value: value is None or _only({"method": "forward", "method_output_name": output})(_text(value)),
            f"only texts of which it gives the {output} can be used.",
        ),
    } | dict.fromkeys(words.split(), _unset(_OTHER_WAY))


def _text(value: Any) -> Any:
    return value.get("text") if isinstance(value, dict) else None


_MASKED_LM_KEYS = transformer_keys("fill-mask", "logits") | {"do_lower_case": _FREE}
_POOLING_KEYS = {
    "pooling_strategy": Key(_only("max"), "only max pooling can be used."),
    "activation_function": Key(
        lambda value: isinstance(value, str) and value in _OUR_NAMES,
        f"only {', '.join(sorted(_OUR_NAMES))} can be used.",
    ),
    "word_embedding_dimension": _FREE,
    "embedding_dimension": _FREE,
    "chunk_size": _FREE,
}
_TABLE_KEYS = {"frozen": _FREE, "path": Key(lambda value: value is None or isinstance(value, str), "a file's name.")}
_ROUTER_KEYS = {
    "types": Key(lambda value: isinstance(value, dict), "a mapping of modules to their classes is needed."),
    "structure": Key(lambda value: isinstance(value, dict), "a mapping of routes to lists of modules is needed."),
    "parameters": Key(
        lambda value: isinstance(value, dict) and not value.get("route_mappings"),
        "routes query and document are enough.",
    ),
}


def read_keys(path: Path, known: Mapping[str, Key]) -> dict[str, Any]:
    """The object in a JSON file whose every key is known and obeyed; an unknown one that is empty says nothing.

    Raises:
        UserError: naming each that is not, or if the file holds no object.
    """
    says = require_object(path)
    found = []
    for key, value in says.items():
        test = known.get(key, _unset("it is not known here; take it out, if no encoding depends on it."))
        if not test.fits(value):
            found.append(f"{path}: {key}: {str(value)[:100]!r} is not supported: {test.remedy}")
    if found:
        raise UserError("\n".join(found))
    return says


def describe(folder: Path) -> Description:
    """Read modules.json and what it names; of a folder without one, its idf.json.

    Raises:
        UserError: if a module, a file or a key of it is none of a sparse encoder that encodes the same here.
    """
    modules = read_modules(folder)
    if not modules:
        beside = folder / "idf.json"
        return Description(query_table=beside if beside.is_file() else None)
    says_so, query, document = folder / "modules.json", modules, modules
    if [kind for kind, _ in modules] == ["Router"]:
        says_so, query, document = _routes(modules[0][1])
    says = _masked_lm(folder, document, f"{says_so}: documents")
    of_all = folder / "config_sentence_transformers.json"
    whole = read_keys(of_all, MODEL_KEYS) if of_all.is_file() else {}
    says = replace(says, cut=Cut(whole.get("max_active_dims"), whole.get("prune_ratio")), prompts=obeyed(whole))
    if [kind for kind, _ in query] == ["SparseStaticEmbedding"]:
        return replace(says, inf_free=True, query_table=_query_table(folder, query[0][1]))
    own = None if query == document else _masked_lm(folder, query, f"{says_so}: queries")
    return replace(says, inf_free=False, query_model=own)


def _masked_lm(folder: Path, modules: "Modules", texts: str) -> Description:
    """What the modules of a route say; texts: what messages begin with, "modules.json: documents", say."""
    kinds = [kind for kind, _ in modules]
    if kinds not in (["MLMTransformer", "SpladePooling"], ["Transformer", "SpladePooling"]):
        raise UserError(f"{texts} go through {', '.join(kinds)}: not a sparse masked LM.")
    (kind, mlm), (_, pooling) = modules
    activation = read_keys(pooling / "config.json", _POOLING_KEYS).get("activation_function", "relu")
    length_file = mlm / "sentence_bert_config.json"
    says = read_keys(length_file, _MASKED_LM_KEYS) if length_file.is_file() else {}
    if kind == "Transformer" and "transformer_task" not in says:
        raise UserError(f"{length_file}: transformer_task: missing, so it gives no logits: not a sparse masked LM.")
    return Description(
        _OUR_NAMES[activation],
        says.get("max_seq_length"),
        length_file if length_file.is_file() else None,
        mlm_subfolder=str(mlm.relative_to(folder)),
        lowercase=bool(says.get("do_lower_case")),
    )


Modules = list[tuple[str, Path]]
"""(class, folder) of each; a class that is not sentence-transformers' by its full name"""


def read_modules(folder: Path) -> Modules:
    """The modules that a sentence-transformers model names in modules.json; [] for another model.

    Raises:
        UserError: if it is lost or damaged: what it says would be passed over.
    """
    path = folder / "modules.json"
    if not path.is_file():
        lost = next((found for name in _NAMED_BY_MODULES for found in sorted(folder.glob(name))), None)
        if lost is not None:
            raise UserError(
                f"{folder} holds {lost.name}, but no modules.json that says what it is: copy it again whole."
            )
        return []
    rows = require_json(path)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: a list of modules is needed, such as {{path, type}}; copy it again.")
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("type"), str) or not isinstance(row.get("path"), str):
            raise UserError(f"{path}: {str(row)[:100]} is no module: it has no path and type.")
    return [(_class_name(row["type"]), _below(folder, row["path"], path)) for row in rows]


def _routes(router: Path) -> tuple[Path, Modules, Modules]:
    """(the file that says so, the modules of queries, those of documents)."""
    path = router / "router_config.json"
    says = read_keys(path, _ROUTER_KEYS)
    types, structure = says.get("types", {}), says.get("structure", {})
    if not {"query", "document"} <= structure.keys():
        raise UserError(f"{path} has no routes query and document: not a sparse encoder.")
    default = says.get("parameters", {}).get("default_route")
    if default is not None and default not in list(structure):
        raise UserError(f"{path}: parameters: default_route: {str(default)[:100]!r} is none of its routes.")
    for route, names in structure.items():
        if not isinstance(names, list) or not names or not all(isinstance(types.get(str(n)), str) for n in names):
            raise UserError(f"{path}: structure: {route}: {str(names)[:100]} names modules that types does not have.")
    query, document = (
        [(_class_name(types[name]), _below(router, name, path)) for name in structure[route]]
        for route in ("query", "document")
    )
    return path, query, document


def _query_table(folder: Path, module: Path) -> Path:
    """The file of its weights: as sentence-transformers, the one that its config names before its tensors."""
    named = read_keys(module / "config.json", _TABLE_KEYS).get("path")
    table = _below(module, named, module / "config.json") if named else module / "model.safetensors"
    if not table.is_file():
        raise UserError(f"{table} is missing, which holds the query weights of {folder}.")
    return table


def _below(folder: Path, name: str, said_in: Path) -> Path:
    parts = PurePosixPath(name).parts
    if ".." in parts or PurePosixPath(name).is_absolute():
        raise UserError(f"{said_in}: {name!r} leads out of its folder.")
    return folder / name


def _class_name(dotted: str) -> str:
    return dotted.rsplit(".", 1)[-1] if dotted.startswith(_CLASSES) else dotted
