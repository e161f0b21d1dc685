"""Data sets of the Hugging Face hub by name: hub:owner/name, hub:owner/name/config, each maybe with @revision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retrieval.dataset_names import HUB
from sparse_model.errors import UserError

if TYPE_CHECKING:
    import datasets

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


def hub_rows(name: str | Path) -> datasets.Dataset:
    """The train split of a data set on the hub; where there is no network, of what the hub's cache holds.

    Of a repository with several configurations only the folder of the one that is named is fetched.

    Raises:
        UserError: if it cannot be reached and is not in the cache, or is no data set with a train split.
    """
    import datasets
    import pyarrow as pa

    from retrieval.row_files import rows_on_hub

    config = hub_name(name).config
    folder = hub_folder(name, config)
    try:
        return rows_on_hub(folder, config)
    except (OSError, ValueError, pa.ArrowException, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(
            f"{name}: its train split cannot be read ({error.__cause__ or error}); a configuration is named as "
            "hub:owner/name/config."
        ) from None
