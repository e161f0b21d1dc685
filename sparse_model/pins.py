"""Commits of hub repositories: which one is read where none is asked for, and whose Python code may run unasked."""

import functools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sparse_model.errors import UserError

logger = logging.getLogger(__name__)

# Read at these commits unless a revision is given; code of one of them, at this commit, was looked at and may run.
PINS = {
    "Alibaba-NLP/gte-large-en-v1.5": "104333d6af6f97649377c2afbde10a7704870c7b",
    "Alibaba-NLP/new-impl": "40ced75c3017eb27626c9d4ea981bde21a2662f4",  # the code of gte-large-en-v1.5
    "opensearch-project/opensearch-neural-sparse-encoding-v1": "708f7e68f4aada15c2d59144a5187c521da6d8db",
}


def at(name_or_path: str, revision: str | None, key: str = "revision") -> str:
    """The id with its revision, as `layout.resolve` reads it: org/name@revision; without a revision as it is.

    Raises:
        UserError: beginning with `key`, if a folder or file is named, which has no revisions.
    """
    if revision is None:
        return name_or_path
    if Path(name_or_path).exists():
        raise UserError(
            f"{key}: {revision}, but {name_or_path} lies on this disk and is no hub repository; leave it out."
        )
    return f"{name_or_path}@{revision}"


def repository_and_revision(name: str) -> tuple[str, str | None]:
    """org/name@revision in two; without a revision that of `PINS`, else None: the newest."""
    repository, _, revision = name.partition("@")
    return repository, revision or PINS.get(repository)


class Code(NamedTuple):
    """Whether the Python code that a model brings may run, and which commit of its repository."""

    trusted: bool
    commit: str | None = None

    @property
    def revision(self) -> dict[str, Any]:
        """As an argument of from_pretrained, where one is needed: others pass it on to what does not know it."""
        return {"code_revision": self.commit} if self.trusted and self.commit else {}


def code_of(folder: Path, trust: bool = False, revision: str | None = None) -> Code:
    """What counts for a model or tokenizer in `folder`.

    Args:
        trust: whatever code it names may run, the folder's own included; else only that of a repository in `PINS` at
            the commit there.
        revision: of the code's repository; None: that of `PINS`, else the newest.

    Raises:
        UserError: if code that may run lies in a repository that cannot be reached.
    """
    repositories = {reference.rpartition("--")[0] for reference in _references(folder)}
    wanted = {repository: revision or PINS.get(repository) for repository in repositories}
    pinned = bool(wanted) and all(commit is not None and commit == PINS.get(name) for name, commit in wanted.items())
    if pinned and not trust:
        _say_once(*sorted(wanted.items()))
    for repository, commit in wanted.items():
        if repository and (trust or pinned):
            _fetch(repository, commit)
    commits = {*wanted.values()}
    return Code(trust or pinned, commits.pop() if len(commits) == 1 else None)


def _references(folder: Path) -> Iterator[str]:
    """The classes in auto_map: file.Class, or org/name--file.Class of another repository."""
    for name in ("config.json", "tokenizer_config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))["auto_map"]
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            continue  # none, or it is told where the file is read
        for value in found.values() if isinstance(found, dict) else [found]:
            yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))


@functools.cache
def _fetch(repository: str, commit: str | None) -> None:
    """Code that is missing is told by its name: transformers would only say that something is."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repository, revision=commit, allow_patterns="*.py")
    except (OSError, ValueError) as error:
        wanted = f"{repository} --revision {commit}" if commit else repository
        raise UserError(
            f"the code of this model lies in the hub repository {repository}, which cannot be reached "
            f"({type(error).__name__}). Fetch it once where there is a network: hf download {wanted}"
        ) from None


@functools.cache
def _say_once(*code: tuple[str, str]) -> None:
    for repository, commit in code:
        logger.info("code of %s runs, at the commit that is trusted without asking (%s)", repository, commit)
