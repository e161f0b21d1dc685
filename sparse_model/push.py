"""python -m sparse_model.push CHECKPOINT user/name: a checkpoint with its card into a hub repository.

It is private unless --public is said; the token is that of the variable HF_TOKEN. What is sent are the files that the
checkpoint's manifest lists, each compared with its hash before, the manifest and the card: nothing else of the folder.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from sparse_model.card import write_card
from sparse_model.commands import exit_code
from sparse_model.errors import UserError
from sparse_model.manifest import CARD, MANIFEST, check_manifest, read_manifest


def push(
    folder: Path,
    repository: str,
    *,
    public: bool = False,
    language: str | None = None,
    license: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Send a checkpoint in one commit; its address.

    Args:
        public: whether a repository that is made for it can be seen by everybody; one that exists stays as it is.
        language, license: what the card is to say, if it is ours and not edited.
        endpoint: another hub than huggingface.co, or that of HF_ENDPOINT.

    Raises:
        UserError: for a folder that is no checkpoint or not whole, a missing token, and what the hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"{repository!r} is no repository's name: user/name.")
    if not read_manifest(folder).get("files"):
        raise UserError(f"{folder} is no checkpoint of ours (no {MANIFEST}): sparse_model.load it, and save it first.")
    check_manifest(folder)
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise UserError("HF_TOKEN is not set: a token that may write, from the hub's settings, is needed.")
    if not write_card(folder, repository, language=language, license=license) and (language or license):
        raise UserError(f"{folder / CARD} was edited: say language and license there, and leave them out here.")
    from huggingface_hub import CommitOperationAdd, HfApi

    names = [*read_manifest(folder)["files"], MANIFEST, CARD]
    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        files = [CommitOperationAdd(name, folder / name) for name in names]
        done = api.create_commit(repository, files, commit_message=f"{repository.partition('/')[2]}: a sparse encoder")
    except Exception as error:  # whatever the client raises, none of which names the token
        raise UserError(f"{repository}: the hub did not take it: {type(error).__name__}: {error}") from None
    return str(done.repo_url)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sparse_model.push", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="a folder that SparseEncoder.save or train_ir.py wrote")
    parser.add_argument("repository", help="user/name, made if it is not there")
    parser.add_argument("--public", action="store_true", help="make it for everybody to see")
    parser.add_argument("--language", help="what the card says, such as en")
    parser.add_argument("--license", help="what the card says, such as apache-2.0")
    arguments = vars(parser.parse_args(argv))
    folder, repository = arguments.pop("checkpoint"), arguments.pop("repository")
    return exit_code(lambda: print(push(folder, repository, **arguments)))


if __name__ == "__main__":
    sys.exit(main())
