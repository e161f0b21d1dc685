"""Names of keys that older configs use: what each stands for today."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from experiment.settings.mistakes import Mistake


def _activation(is_l0: Any) -> dict[str, Any]:
    return {"activation_type": "l1_relu"} if is_l0 else {}


def _nothing(_: Any) -> dict[str, Any]:
    return {}


# Name: (its type, what it stands for, the same for people).
OLD: dict[str, tuple[Any, Callable[[Any], dict[str, Any]], str]] = {
    "use_l0": (bool, _activation, "true: activation_type: l1_relu"),
    "split_batch": (Annotated[int, Field(ge=1)], _nothing, "without effect"),
    "preprocess_func": (None, _nothing, "without effect; only null is accepted"),
}
# Those that stand for something: recorded configs and hashes hold them as they were written.
IN_EFFECT = [name for name, (_, stands_for, _) in OLD.items() if stands_for is not _nothing]


@dataclass(frozen=True)
class OldNames:
    """The old names that a config uses."""

    values: Mapping[str, Any]
    """old name -> value, as written"""
    implied: Mapping[str, str]
    """key that stands under no name of its own -> the old name that stands for it"""

    @property
    def in_effect(self) -> dict[str, Any]:
        """Those that stand for something, with their values."""
        return {name: value for name, value in self.values.items() if name in IN_EFFECT}

    def as_written(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Keys with their values, those that an old name stands for under the old one."""
        plain = {key: value for key, value in values.items() if key not in self.implied}
        old = {self.implied[key] for key in values if key in self.implied}
        return plain | {name: self.values[name] for name in old}


def translated(values: dict[str, Any], given: dict[str, str]) -> tuple[dict[str, Any], OldNames, list[Mistake]]:
    """(the values under today's names, the old names, mistakes); `given` gains what old names stand for."""
    today = {key: value for key, value in values.items() if key not in OLD}
    old: dict[str, Any] = {}
    implied: dict[str, str] = {}
    mistakes = []
    for name in values.keys() & OLD.keys():
        kind, stands_for, _ = OLD[name]
        try:
            old[name] = TypeAdapter(kind).validate_python(values[name])
        except ValidationError as error:
            mistakes.append(Mistake(name, f"{error.errors()[0]['msg']} (found {values[name]!r})"))
            continue
        for key, value in stands_for(old[name]).items():
            if today.setdefault(key, value) != value:
                mistakes.append(Mistake(name, f"true means {key}: {value}, but {key} is {today[key]}."))
            if key not in given:
                given[key], implied[key] = given[name], name
    return today, OldNames(old, implied), mistakes
