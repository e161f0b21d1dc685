"""What --help prints: every key with type, default and meaning."""

import dataclasses
import json
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import transformers
from pydantic.fields import FieldInfo
from transformers import TrainingArguments

from experiment.settings.keys import GROUP_OF, GROUPS, Keys, TeacherKeys
from experiment.settings.settings import REFUSED, trainer_defaults


def help_text(command: str) -> str:
    """Every key with type, default and meaning."""
    lines = [f"usage: {command} [CONFIG.yaml] [key=value | --key value | --key=value]…", ""]
    lines += ["base: FILE in a YAML (relative to it) is read first and overridden.", ""]
    groups: list[type[Keys]] = [*GROUPS.values(), TeacherKeys]
    for group in groups:
        lines.append(f"{group.__doc__}")
        for key, field in group.model_fields.items():
            meaning = " ".join(str(field.description).split())
            lines.append(f"  {key} ({_type_name(field.annotation)}, {_default(field)})  {meaning}")
        lines.append("")
    lines.append(f"Fields of transformers.TrainingArguments {transformers.__version__}, with the Trainer's meaning")
    for option in dataclasses.fields(TrainingArguments):
        if option.init and option.name not in GROUP_OF and option.name not in REFUSED:
            meaning = " ".join(str(option.metadata.get("help", "")).split())
            lines.append(f"  {option.name} ({trainer_defaults().get(option.name)})  {meaning}")
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    """A key's default as JSON; of a mapping with keys of its own, what is given."""
    if field.is_required():
        return "required"
    return json.dumps(field.default, ensure_ascii=False, default=lambda keys: keys.model_dump(exclude_unset=True))


def _type_name(annotation: Any) -> str:
    """A type as a user writes it: int, list of str, relu | l1_relu, …"""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return "mapping"
    if origin in (Union, UnionType):
        return " | ".join(map(_type_name, arguments))
    return "null" if annotation in (None, type(None)) else annotation.__name__
