"""What a private node needs of this machine: Java, a user that is not root, folders that this user reaches."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from sparse_model.errors import UserError

NOBODY = "nobody"


def identity() -> dict[str, Any]:
    """Popen's options for the user a node runs as: nobody where this process is root, since OpenSearch refuses root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(NOBODY)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def ends_with_parent() -> list[str]:
    """What stands before a command so that it ends when this process is killed; nothing where that cannot be had."""
    setpriv = shutil.which("setpriv")
    if not setpriv or "--pdeathsig" not in subprocess.run([setpriv, "--help"], capture_output=True, text=True).stdout:
        return []
    return [setpriv, "--pdeathsig", "TERM"]


def user_name() -> str:
    """The name of the user a node runs as, for messages."""
    return NOBODY if os.geteuid() == 0 else f"user {os.geteuid()}"


def closed_parent(path: Path) -> Path | None:
    """The first folder on the way to `path` (itself included) that the node's user cannot enter; None if it can."""
    path = path.resolve()
    places = [*reversed(path.parents), path]
    return next((place for place in places if not _allowed("-x", place)), None)


def usable_folder(wanted: Path) -> Path:
    """`wanted`, or a folder of the temporary directory where the node's user cannot reach or name that.

    Created if absent. The one in the temporary directory is the same for the same `wanted`, so that a run started
    again finds its data; one that belongs to another user is never taken.

    Raises:
        UserError: the node's user cannot reach the temporary directory either.
    """
    wanted = wanted.absolute()
    existing = next(place for place in wanted.parents if place.exists())
    # Java's options cannot quote what stands in a path.
    if re.fullmatch(r"[\w/.=+-]+", str(wanted)) and closed_parent(existing) is None:
        wanted.mkdir(parents=True, exist_ok=True)
        wanted.chmod(0o755)
        if closed_parent(wanted) is None:
            return wanted
    return _temporary_folder(wanted)


def _temporary_folder(wanted: Path) -> Path:
    temporary = Path(tempfile.gettempdir())
    if closed := closed_parent(temporary):
        raise UserError(
            f"output_dir: the node's user, {user_name()}, can reach neither {wanted} nor the temporary directory: "
            f"{closed} is closed; open it (chmod o+x {closed}), or name another: TMPDIR=/path."
        )
    folder = temporary / f"opensearch-{os.geteuid()}-{sha256(os.fsencode(wanted)).hexdigest()[:12]}"
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != os.geteuid():
        folder = Path(tempfile.mkdtemp(prefix="opensearch-"))
    folder.chmod(0o755)
    return folder


def check_distribution(home: Path) -> None:
    """See that an unpacked OpenSearch lies in `home` and that the node's user can run it.

    Raises:
        UserError: naming the folder that is missing or the first one that is closed.
    """
    if not (home / "bin" / "opensearch").is_file():
        raise UserError(
            f"opensearch_home: {home} holds no bin/opensearch; give the folder of an unpacked OpenSearch distribution "
            "(README, OpenSearch service)."
        )
    for part in ("bin", "lib", "modules", "config"):
        if not (home / part).is_dir():
            raise UserError(f"opensearch_home: {home} holds no {part}; unpack OpenSearch again, whole.")
        if closed := closed_parent(home / part):
            raise UserError(
                f"opensearch_home: {closed} is closed to {user_name()}, as whom the node runs; open it "
                f"(chmod o+x {closed}), or unpack OpenSearch elsewhere, e.g. below /var/tmp."
            )
    if not _allowed("-r", home / "bin" / "opensearch"):
        raise UserError(f"opensearch_home: {home}/bin is not readable to {user_name()}; chmod -R a+rX {home}.")


def version_of(home: Path) -> str:
    """The distribution's version, by the name of its main library; "" if it cannot be told."""
    names = [re.fullmatch(r"opensearch-(\d+\.\d+\.\d+.*)\.jar", p.name) for p in (home / "lib").glob("opensearch-*")]
    return next((name[1] for name in names if name), "")


def find_java(home: Path) -> Path:
    """The Java home for a distribution: OPENSEARCH_JAVA_HOME, its own jdk, JAVA_HOME, or that of the java on PATH.

    Raises:
        UserError: if there is none, it is too old or too new, or the node's user cannot run it.
    """
    # OpenSearch 2 needs Java's security manager, which Java 24 took out.
    least, most = (21, 999) if version_of(home).startswith("3.") else (11, 23)
    needed = f"{least} or newer" if most == 999 else f"{least} to {most}"
    for source, place in _java_homes(home):
        if not (place / "bin" / "java").is_file():
            raise UserError(f"{source}: {place} holds no bin/java; name a Java {needed}.")
        if closed := closed_parent(place / "bin"):
            raise UserError(f"{source}: {closed} is closed to {user_name()}, as whom the node runs; open it.")
        if not least <= (found := java_version(place)) <= most:
            raise UserError(
                f"{source}: {place} is Java {found}; this OpenSearch needs {needed}: OPENSEARCH_JAVA_HOME=/path."
            )
        return place
    raise UserError(f"opensearch_home: no Java found; install Java {needed}, or name one: OPENSEARCH_JAVA_HOME=/path.")


def java_version(place: Path) -> int:
    """The major version (8, 11, 17, …) of the Java in `place`, 0 if it does not say."""
    try:
        said = subprocess.run([place / "bin" / "java", "-version"], capture_output=True, text=True, timeout=60).stderr
    except (OSError, subprocess.TimeoutExpired):
        return 0
    numbers = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(numbers[1]) if numbers else 0


def _java_homes(home: Path) -> list[tuple[str, Path]]:
    """(what names it, folder) of every Java that is named or there, the preferred first."""
    found = [("OPENSEARCH_JAVA_HOME", os.environ.get("OPENSEARCH_JAVA_HOME"))]
    found.append(("jdk", str(home / "jdk") if (home / "jdk" / "bin" / "java").is_file() else None))
    found.append(("JAVA_HOME", os.environ.get("JAVA_HOME")))
    on_path = shutil.which("java")
    found.append(("PATH", str(Path(on_path).resolve().parent.parent) if on_path else None))
    return [(source, Path(place)) for source, place in found if place]


def _allowed(test: str, path: Path) -> bool:
    """Whether the node's user passes `test -x` (or -r) on the path; asked as that user, so that ACLs count too."""
    return subprocess.run(["test", test, str(path)], cwd="/", **identity()).returncode == 0
