"""Zip archives of others: what is in one is checked before any of it is written."""

import lzma
import stat
import zipfile
import zlib
from pathlib import Path

# The largest of BEIR's is msmarco: 3 GB in 10 files.
MOST_BYTES = 32 * 2**30
MOST_MEMBERS = 10_000

# What reading a damaged archive raises beside BadZipFile.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


def unpack(archive: Path, target: Path) -> None:
    """Unpack an archive of one folder, of target's name, as target.

    Raises:
        ValueError: a member that leads elsewhere, is a link or encrypted; more than MOST_BYTES or MOST_MEMBERS; damage.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            _check_size(members)
            for member in members:
                if why := _mistake(member, target.parent.resolve()):
                    raise ValueError(f"the archive holds {member.filename!r}, which {why}")
            file.extractall(target.parent)
    except _DAMAGED as error:
        raise ValueError(f"the archive is no zip file, or damaged: {error}") from error


def _check_size(members: list[zipfile.ZipInfo]) -> None:
    """No more than a member's stated size is ever written of it."""
    unpacked = sum(member.file_size for member in members)
    if len(members) > MOST_MEMBERS or unpacked > MOST_BYTES:
        raise ValueError(
            f"the archive would unpack to {len(members)} files of {unpacked / 2**30:.1f} GiB; {MOST_MEMBERS} of "
            f"{MOST_BYTES / 2**30:.0f} GiB are the most"
        )


def _mistake(member: zipfile.ZipInfo, folder: Path) -> str:
    """Why a member is not to be written; "" if it is."""
    if not (folder / member.filename).resolve().is_relative_to(folder):
        return "leads out of its folder"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link, or no file"
    return "is encrypted" if member.flag_bits & 1 else ""
