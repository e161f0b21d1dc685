"""What --help prints: the keys that matter for a command, all keys, or one of them."""

import dataclasses
import difflib
import json
import shutil
import textwrap
from collections.abc import Iterator
from importlib import metadata
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from experiment.settings import trainer_keys
from experiment.settings.effects import Effect
from experiment.settings.keys import GROUP_OF, GROUPS, OURS, OnlineTeachers
from experiment.settings.old_keys import OLD
from mining.teachers.spec import TeacherSpec
from sparse_model.errors import UserError

# The command line's words for what keys say with main_for.
COMMANDS = {"train_ir.py": "train", "evaluate_beir.py": "evaluate", "data_preparation.py": "prepare"}


@dataclasses.dataclass(frozen=True)
class Described:
    """One key, as --help and the documentation show it."""

    name: str
    type: str
    default: str
    meaning: str
    effect: Effect | None
    """None: part of another key's value"""


def groups() -> Iterator[tuple[str, list[Described]]]:
    """(title, keys) of each group of ours, of the mappings that stand in them, and of the Trainer's fields."""
    for group in GROUPS.values():
        fields = group.model_fields.items()
        yield str(group.__doc__), [_described(name, field, OURS[name]) for name, field in fields]
    for inner, fields in (
        (OnlineTeachers, OnlineTeachers.model_fields.items()),
        (TeacherSpec, TeacherSpec.__pydantic_fields__.items()),  # type: ignore[attr-defined]
    ):
        yield str(inner.__doc__), [_described(name, field, None) for name, field in fields]
    version = metadata.version("transformers")
    yield f"Fields of transformers.TrainingArguments {version}, with the Trainer's meaning", list(_trainer_fields())


def _trainer_fields() -> Iterator[Described]:
    for name, field in trainer_keys.fields().items():
        if name not in GROUP_OF and name not in trainer_keys.REFUSED:
            kind = _type_name(trainer_keys.type_of(name))
            default = json.dumps(trainer_keys.literal_default_of(name))
            yield Described(name, kind, default, field.meaning, trainer_keys.effect_of(name))


def help_text(command: str, topic: str = "") -> str:
    """The text for `--help`, `--help all` or `--help KEY`, wrapped to the terminal.

    Args:
        command: train_ir.py, evaluate_beir.py or data_preparation.py.

    Raises:
        UserError: if the topic is no key.
    """
    if topic and topic != "all":
        return _one(topic)
    first = "[CONFIG.yaml | RUN_FOLDER | MODEL_FOLDER]" if COMMANDS[command] == "evaluate" else "[CONFIG.yaml]"
    lines = [f"usage: python {command} {first} [key=value | --key value | --key=value]…", ""]
    lines += [_wrapped("base: FILE in a YAML (relative to it) is read first and overridden."), ""]
    for title, keys in groups():
        shown = [key for key in keys if topic or _matters(key, COMMANDS[command])]
        if shown:
            lines += [_wrapped(title), *map(_entry, shown), ""]
    if not topic:
        lines.append("--help all: every key; --help KEY…: some of them.")
    return "\n".join(lines)


def _matters(key: Described, command: str) -> bool:
    return key.effect is not None and command in key.effect.main_for


def _one(name: str) -> str:
    known = [key for _, keys in groups() for key in keys]
    if name in OLD:
        return f"  {name} (older name)  {OLD[name][2]}"
    found = [key for key in known if key.name == name]
    if not found:
        near = difflib.get_close_matches(name, [key.name for key in known], n=1)
        raise UserError(f"--help {name}: no such key{f'; did you mean {near[0]}?' if near else ''}")
    changes = [f"\n    a change makes anew: {key.effect.words}" if key.effect else "" for key in found]
    told = ["; a checkpoint tells it" if key.effect and key.effect.told else "" for key in found]
    return "\n".join(map("".join, zip(map(_entry, found), changes, told, strict=True)))


def _entry(key: Described) -> str:
    return _wrapped(f"{key.name} ({key.type}, {key.default})  {key.meaning}", "  ", "      ")


def _wrapped(text: str, first: str = "", further: str = "") -> str:
    width = max(40, shutil.get_terminal_size((120, 24)).columns)
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=further, **options)


def _described(name: str, field: Any, effect: Effect | None) -> Described:
    meaning = " ".join(str(field.description).split())
    return Described(name, _type_name(field.annotation), _default(field.default), meaning, effect)


def _default(value: Any) -> str:
    """A key's default as JSON; of teachers, what is given."""
    if value is PydanticUndefined:
        return "required"
    return json.dumps(value, ensure_ascii=False, default=_given_part)


def _given_part(spec: Any) -> dict[str, Any]:
    """Of a teacher, what differs from the defaults."""
    fields = [field for field in dataclasses.fields(spec) if getattr(spec, field.name) != _plain(field)]
    return {field.name: getattr(spec, field.name) for field in fields}


def _plain(field: Any) -> Any:
    return getattr(field.default, "default", field.default)


def _type_name(annotation: Any) -> str:
    """A type as a user writes it: int, list of str, relu | l1_relu, …"""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value).lower() if isinstance(value, bool) else str(value) for value in arguments)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin in (dict, OnlineTeachers, TeacherSpec) or annotation in (dict, OnlineTeachers, TeacherSpec):
        return "mapping"
    if origin in (Union, UnionType):
        return " | ".join(map(_type_name, arguments))
    return "null" if annotation in (None, type(None)) else annotation.__name__
