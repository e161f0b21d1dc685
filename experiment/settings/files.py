"""What a command is given: its arguments, and a YAML file with the files that it is based on."""

import difflib
from pathlib import Path
from typing import Any

import yaml

from experiment.settings.keys import GROUP_OF
from sparse_model import UserError

COMMAND_LINE = "command line"


def parse_arguments(argv: list[str]) -> tuple[Path | None, dict[str, Any]]:
    """(the config file, the overrides) of `[CONFIG.yaml] [key=value | --key value | --key=value]…`."""
    config_path: Path | None = None
    overrides: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        key, equals, text = word.removeprefix("--").partition("=")
        if word.startswith("--") and not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{COMMAND_LINE}: {word} needs a value: {word} VALUE.")
            text = rest.pop(0)
        elif not equals:
            if config_path is not None:
                hint = f" Write {word}=VALUE." if word in GROUP_OF else ""
                raise UserError(f"{COMMAND_LINE}: {word!r} is neither key=value nor the one CONFIG.yaml.{hint}")
            config_path = Path(word)
            continue
        try:
            overrides[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # ValueError: the 45th of a month
            overrides[key] = text
    return config_path, overrides


def read_with_bases(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """The YAML's mapping and those of its bases, the farthest base first."""
    if path.resolve() in seen:
        raise UserError(f"{path}: base: goes round in a circle ({' -> '.join(map(str, seen))}).")
    try:
        mapping = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader) or {}
    except OSError as error:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], n=1)
        hint = f" Did you mean {path.parent / near[0]}?" if near else ""
        raise UserError(f"{path}: cannot be read ({error.strerror}).{hint}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: is not valid YAML: {error}") from None
    if not isinstance(mapping, dict) or not all(isinstance(key, str) for key in mapping):
        raise UserError(f"{path}: must hold lines of key: value, each key a word.")
    base = mapping.pop("base", None)
    if base is not None and not (isinstance(base, str) and (path.parent / base).is_file()):
        raise UserError(f"{path}: base: cannot be read, there is no file {path.parent / str(base)}.")
    before = read_with_bases(path.parent / base, (*seen, path.resolve())) if base else []
    return [*before, (path, mapping)]


def merged(path: Path) -> dict[str, Any]:
    """The YAML's mapping over those of its bases."""
    return {key: value for _, mapping in read_with_bases(path) for key, value in mapping.items()}


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML would let the last of two equal keys win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
