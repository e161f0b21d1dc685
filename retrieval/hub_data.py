"""Data sets of the Hugging Face hub by name: hub:owner/name, hub:owner/name/config, each maybe with @revision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from retrieval.dataset_names import HUB
from sparse_model.errors import UserError

_FORM = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:/([^@:/]+))?(?:@([^@:\s]+))?")


class HubName(NamedTuple):
    """A repository, the configuration of it, and the branch, tag or commit; None: the only one, the newest."""

    repository: str
    config: str | None
    revision: str | None


def on_hub(name: str | Path) -> bool:
    """Whether a data set is named that lies on the hub."""
    return str(name).startswith(HUB)


def hub_name(name: str | Path) -> HubName:
    """The parts of a name.

    Raises:
        UserError: if it has another form.
    """
    found = _FORM.fullmatch(str(name))
    if not found:
        raise UserError(f"{name}: give hub:owner/name, hub:owner/name/config, or one of these with @revision.")
    return HubName(*found.groups())


def hub_folder(name: str | Path, config: str | None = None) -> str:
    """The folder of the hub's cache with a data set's files, fetched; without a network, as they lie there.

    The files are fetched at the revision, and only then read: `datasets` alone would offline take whatever revision it
    has kept.

    Args:
        config: fetch this folder of the repository alone.

    Raises:
        UserError: if it cannot be reached and is not in the cache.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = hub_name(name)
    only = ["README.md", f"{config}/*"] if config else None
    try:
        return str(snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=only))
    except (OSError, ValueError) as error:
        wanted = f"{repository} --revision {revision}" if revision else repository
        raise UserError(
            f"{name}: the hub cannot be reached, or has no such data set or revision ({type(error).__name__}). Check "
            f"the name, or fetch it once where there is a network: hf download --repo-type dataset {wanted}"
        ) from None
