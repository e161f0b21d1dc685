"""What a command is given: its arguments, and a YAML file with the files that it is based on."""

import copy
import difflib
import io
import math
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from experiment.settings.keys import GROUP_OF, GROUPS
from sparse_model import UserError

COMMAND_LINE = "command line"
# Characters of a config, and values that one stands for once its aliases are written out.
LARGEST, MOST_VALUES = 2**20, 100_000
# What reading a text as YAML raises; ValueError: the 45th of a month; RecursionError: lists in lists in lists.
_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)


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
                raise UserError(f"{COMMAND_LINE}: {word} needs a value: {_with_value(key) or f'{word} VALUE'}.")
            text = rest.pop(0)
        elif not equals:
            if config_path is not None:
                hint = f" Write {_with_value(word)}." if _with_value(word) else ""
                raise UserError(f"{COMMAND_LINE}: {word!r} is neither key=value nor the one CONFIG.yaml.{hint}")
            config_path = Path(word)
            continue
        try:
            # Nothing behind the = is an empty word, and not YAML's null.
            overrides[key or word] = from_yaml(text) if text else ""
        except _NO_YAML:
            overrides[key] = text
    return config_path, overrides


def from_yaml(text: str) -> Any:
    """What a text says as YAML. Commands ask many times what one config says: each text is parsed once."""
    return copy.deepcopy(_parsed(text, _Loader, ""))


@lru_cache(maxsize=256)
def _parsed(text: str, loader: type[yaml.SafeLoader], name: str) -> Any:
    """`name` is the file's, for the message of a mistake."""
    stream = io.StringIO(text)
    stream.name = name  # type: ignore[attr-defined]
    return yaml.load(stream, Loader=loader)


def _with_value(word: str) -> str:
    """How the key that a word means is given a value; "" if it means none."""
    name = word.replace("-", "_")
    if name not in GROUP_OF:
        return ""
    return f"{name}={'true' if GROUPS[GROUP_OF[name]].model_fields[name].annotation is bool else 'VALUE'}"


def read_with_bases(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """The YAML's mapping and those of its bases, the farthest base first."""
    place = Path(os.path.realpath(path))  # unlike resolve(), it bears links in a circle
    if place in seen:
        raise UserError(f"{path}: base: goes round in a circle ({' -> '.join(map(str, seen))}).")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise UserError(f"{path}: is larger than {LARGEST} characters: no config.")
        mapping = copy.deepcopy(_parsed(text, _UniqueKeyLoader, str(path))) or {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).{_remedy(path)}") from None
    except _NO_YAML as error:
        raise UserError(f"{path}: is not valid YAML: {error or type(error).__name__}") from None
    if not isinstance(mapping, dict) or not all(isinstance(key, str) for key in mapping):
        raise UserError(f"{path}: must hold lines of key: value, each key a word.")
    base = mapping.pop("base", None)
    if base is not None and not (isinstance(base, str) and os.path.isfile(path.parent / base)):
        raise UserError(f"{path}: base: cannot be read, there is no file {str(path.parent / str(base))[:300]}.")
    before = read_with_bases(path.parent / base, (*seen, place)) if base else []
    return [*before, (path, mapping)]


def _remedy(path: Path) -> str:
    """What may be meant by a config that cannot be read."""
    if path.is_dir():
        configs = sorted(p.name for p in path.glob("*.yaml"))
        return f" Name one of its configs: {', '.join(configs[:10])}." if configs else " Name a config, a YAML file."
    others = {p.stem: p for p in path.parent.glob("*.yaml") if p.is_file()}
    near = difflib.get_close_matches(path.stem, others, n=1)
    return f" Did you mean {others[near[0]]}?" if near else ""


def merged(path: Path) -> dict[str, Any]:
    """The YAML's mapping over those of its bases."""
    return {key: value for _, mapping in read_with_bases(path) for key, value in mapping.items()}


class _Loader(yaml.SafeLoader):
    """YAML lets a few lines stand for more values than a memory holds, and whole numbers be of any length."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _n_values(node, {}) > MOST_VALUES:
            what = f"its aliases (*) stand for more than {MOST_VALUES} values"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return node

    def construct_whole(self, node: yaml.ScalarNode) -> float:
        """Beyond all fractions it is infinite, as 1e400 is."""
        value = self.construct_yaml_int(node)
        return value if abs(value) < sys.float_info.max else math.inf


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)


def _n_values(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """How many values a node stands for."""
    if node not in known:
        known[node] = math.inf  # within itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        known[node] = 1 + sum(
            _n_values(n, known) for part in parts for n in (part if isinstance(part, tuple) else [part])
        )
    return known[node]


class _UniqueKeyLoader(_Loader):
    """YAML would let the last of two equal keys win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
