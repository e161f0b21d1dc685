"""A private OpenSearch node for one run: started from an unpacked distribution, stopped with the run.

It gets a folder of its own (config, data, logs), ports that the system chooses, and listens on 127.0.0.1 only.
"""

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from retrieval.opensearch.client import library
from retrieval.opensearch.host import check_distribution, ends_with_parent, find_java, identity
from sparse_model.errors import RunError

START_S = 180.0
STOP_S = 60.0


class Node:
    """One node; several form a cluster if each is given the first one's `transport`.

    Args:
        home: the unpacked distribution.
        folder: the node's own; data that lie in it are used again.
        heap: of the JVM, as Java writes it: 512m, 2g.
        port: for HTTP; 0 lets the system choose.
        name: the node's name in its cluster.
        seeds: host:port (transport) of nodes to join; none: a cluster of its own.
        cluster: True if other nodes are to join it.
        options: further lines of opensearch.yml.

    Raises (all methods):
        UserError: a distribution or a Java that cannot be used.
        RunError: a node that does not start, with its log's path and last errors.
    """

    def __init__(
        self,
        home: str | os.PathLike[str],
        folder: Path,
        heap: str = "1g",
        port: int = 0,
        name: str = "node-1",
        seeds: Sequence[str] = (),
        cluster: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self.home, self.folder, self.heap = Path(home).absolute(), folder, heap
        self._port, self._name, self._seeds, self._in_cluster = port, name, seeds, cluster or bool(seeds)
        self._options = options
        self.is_new = not (folder / "data").exists()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self.transport = ""

    def __enter__(self) -> "Node":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        """What the node says while it starts and runs."""
        return self.folder / "logs" / "node.log"

    @property
    def pid(self) -> int:
        """Its process, 0 when it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def start(self) -> None:
        """Start and wait until the node answers and its cluster is not red.

        To be called in a thread that outlives the node: the node ends with the thread that started it.
        """
        check_distribution(self.home)
        java = find_java(self.home)
        self._await_predecessor()
        self._write_folder()
        # Nothing of this process's environment is passed on that is not needed.
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.folder / "tmp"),
            "OPENSEARCH_JAVA_HOME": str(java),
            "OPENSEARCH_PATH_CONF": str(self.folder / "config"),
            "OPENSEARCH_TMPDIR": str(self.folder / "tmp"),
            "OPENSEARCH_JAVA_OPTS": f"-Xms{self.heap} -Xmx{self.heap}",
        }
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                [*ends_with_parent(), str(self.home / "bin" / "opensearch")],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the node
                **identity(),
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the node in order, or by force if it takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def remove(self) -> None:
        """Delete the node's folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await_predecessor(self) -> None:
        """Wait for a node that still stops in this folder, because its run was killed; it holds a lock until then."""
        end = time.monotonic() + STOP_S
        for path in (self.folder / "data").glob("nodes/*/node.lock"):
            with open(path, "r+b") as file:
                while not _lockable(file):
                    if time.monotonic() > end:
                        raise RunError(f"another OpenSearch node still runs in {self.folder}; end it first.")
                    time.sleep(0.2)

    def _write_folder(self) -> None:
        config = self.folder / "config"
        shutil.rmtree(config, ignore_errors=True)
        shutil.copytree(self.home / "config", config, ignore=shutil.ignore_patterns("*.keystore", "certs"))
        for name in ("data", "logs", "tmp"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for file in ("http.ports", "transport.ports"):
            (self.folder / "logs" / file).unlink(missing_ok=True)
        (config / "opensearch.yml").write_text("\n".join(self._settings()) + "\n", encoding="utf-8")
        options = config / "jvm.options"
        # The paths in it are relative to the distribution, which the node must not write to.
        text = re.sub(
            r"(?<=[=:])(logs|data)(?=/|$)", lambda m: f"{self.folder}/{m[1]}", options.read_text(), flags=re.M
        )
        options.write_text(text)
        user = identity()
        if user:
            places = [config, *config.rglob("*"), *(self.folder / name for name in ("data", "logs", "tmp"))]
            for place in places:
                os.chown(place, user["user"], user["group"], follow_symlinks=False)

    def _settings(self) -> list[str]:
        lines = [
            "cluster.name: private",
            f"node.name: {self._name}",
            f'path.data: "{self.folder}/data"',
            f'path.logs: "{self.folder}/logs"',
            "network.host: 127.0.0.1",
            f"http.port: {self._port}",
            "transport.port: 0",
            "node.portsfile: true",
            "action.auto_create_index: false",
            # Shares of a large disk would block a node while hundreds of gigabytes are free.
            "cluster.routing.allocation.disk.watermark.low: 2gb",
            "cluster.routing.allocation.disk.watermark.high: 1gb",
            "cluster.routing.allocation.disk.watermark.flood_stage: 500mb",
            "indices.query.bool.max_clause_count: 8192",
        ]
        if not self._in_cluster:
            lines.append("discovery.type: single-node")
        elif self._seeds:
            lines.append(f"discovery.seed_hosts: [{', '.join(self._seeds)}]")
        else:
            lines += ["discovery.seed_hosts: []", f"cluster.initial_cluster_manager_nodes: [{self._name}]"]
        if (self.home / "plugins" / "opensearch-security").is_dir():
            lines.append("plugins.security.disabled: true")  # it listens on 127.0.0.1, without certificates
        return [*lines, *self._options]

    def _wait(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                raise RunError(
                    f"the OpenSearch node ended while it started, with {self.heap} of heap. {self.last_words()}"
                )
            if self._read_ports() and self._healthy():
                return
            time.sleep(0.1)
        raise RunError(f"the OpenSearch node was not ready after {START_S:.0f} s. {self.last_words()}")

    def _read_ports(self) -> bool:
        """Whether the node has written its addresses."""
        addresses = []
        for name in ("http.ports", "transport.ports"):
            file = self.folder / "logs" / name
            addresses.append(file.read_text().split() if file.is_file() else [])
        if not all(addresses):
            return False
        self.url, self.transport = f"http://{addresses[0][0]}", addresses[1][0]
        return True

    def _healthy(self) -> bool:
        try:
            with library().OpenSearch([self.url], timeout=5, max_retries=0) as client:
                # A node that recovers data is yellow where replicas are wanted that one node cannot hold.
                return client.cluster.health()["status"] != "red"
        except library().OpenSearchException:
            return False

    def last_words(self) -> str:
        """Where the log is, and the errors at its end."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.is_file() else []
        telling = [
            line.strip()
            for line in lines
            if re.search(r"\[ERROR|exception|fatal|insufficient|^error.*\w\W+\w", line, re.I) and "JVM arg" not in line
        ]
        return "\n  ".join([f"Its log: {self.log}", *(line[:300] for line in (telling or lines)[-3:])])


def _lockable(file: IO[bytes]) -> bool:
    """Whether no other process holds a lock on the file; ours is gone when the file is closed."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
