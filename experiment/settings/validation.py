"""One key's value against its type: pydantic's errors in a user's words, unknown keys with the nearest name."""

import difflib
from collections.abc import Iterable
from functools import partial
from typing import Any

from pydantic import ValidationError

from experiment.settings import trainer_keys
from experiment.settings.keys import GROUP_OF, Keys, OnlineTeachers
from experiment.settings.mistakes import Mistake
from mining.teachers.spec import TeacherSpec

# Keys whose values are mappings, with what may stand in them.
INNER: dict[str, list[str]] = {
    "teachers": list(TeacherSpec.__dataclass_fields__),
    "kd_ensemble_teacher_kwargs": list(OnlineTeachers.model_fields),
}
# Names that others use, too short to be near to ours.
SHORT = {"lr": "learning_rate", "bs": "per_device_train_batch_size", "steps": "max_steps", "epochs": "num_train_epochs"}
# Values that may hold a password wherever it stands in them: they are not repeated.
SECRET = ("opensearch_url",)


def checked_group(group: type[Keys], values: dict[str, Any]) -> tuple[Keys, list[Mistake]]:
    """The group of these values, the mistaken ones left at their defaults, and a mistake for each of those."""
    try:
        return group(**values), []
    except ValidationError as error:
        found = [_mistake(e) for e in error.errors()]
        mistaken = {e["loc"][0] for e in error.errors()}
        return group(**{key: value for key, value in values.items() if key not in mistaken}), found


def checked_trainer_key(key: str, value: Any) -> tuple[str, Any]:
    """(the installed field's name, the value in its type).

    Raises:
        ValueError: with the remedy.
    """
    try:
        return trainer_keys.checked(key, value)
    except KeyError:
        raise ValueError(unknown(key, [*GROUP_OF, *trainer_keys.fields()])) from None


def unknown(key: str, known: Iterable[str]) -> str:
    """That a key is unknown, with the one that is nearly spelt so, else with those that it is a part of."""
    names = list(dict.fromkeys(known))
    if (meant := SHORT.get(key)) in names:
        return f"unknown key; did you mean {meant}?"
    close = partial(difflib.get_close_matches, key, names, n=1)
    near = close(cutoff=0.8) or [name for name in names if len(key) > 2 and key in name][:4] or close()
    return f"unknown key; did you mean {' or '.join(near)}?" if near else "unknown key; --help all lists every key."


def _mistake(error: Any) -> Mistake:
    key, *inner = error["loc"]
    parts = [str(part + 1) if isinstance(part, int) else part for part in inner if part != "TeacherSpec"]
    place = f"{', '.join(parts)}: " if parts else ""
    found = type(error["input"]).__name__ if key in SECRET else f"{error['input']!r:.200}"
    return Mistake(str(key), f"{place}{_message(str(key), error)} (found {found})")


def _message(key: str, error: Any) -> str:
    """One of pydantic's errors, in our words where its own do not help."""
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown(str(error["loc"][-1]), INNER[key])
    if error["type"] == "missing":
        return "missing"
    if error["type"] in ("model_type", "dataclass_type"):
        return f"keys and their values are needed: {{{', '.join(INNER[key])}}}"
    return str(error["msg"]).removeprefix("Value error, ")
