"""The private node, and servers that cannot be used: what is said, and that nothing stays behind."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.opensearch import host
from retrieval.opensearch.client import Server, public_address, split_address
from retrieval.opensearch.host import usable_folder
from retrieval.opensearch.node import Node
from sparse_model.errors import RunError, UserError
from tests.retrieval.opensearch.helpers import MakeNode
from tests.retrieval.opensearch.proxy import proxied

on_node = pytest.mark.opensearch
# One after another: some count the folders that nodes leave behind.
pytestmark = pytest.mark.xdist_group("opensearch")


def distribution(folder: Path) -> Path:
    """What looks like a distribution, with a Java in it."""
    for part in ("bin", "lib", "modules", "config", "jdk/bin"):
        (folder / part).mkdir(parents=True)
    (folder / "lib" / "opensearch-2.18.0.jar").touch()
    script(folder / "bin" / "opensearch", "echo 'fatal: it cannot be'; echo error:; echo; exit 3")
    script(folder / "jdk" / "bin" / "java", """echo 'openjdk version "17.0.15" 2025-04-15' >&2""")
    (folder / "config" / "jvm.options").write_text("-Xlog:gc:file=logs/gc.log\n-XX:HeapDumpPath=data\n")
    return folder


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches, which pytest's own are not."""
    folder = usable_folder(Path("/nonexistent with spaces", str(os.getpid())))
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_addresses() -> None:
    assert split_address("http://h") == ({"host": "h", "port": 9200, "use_ssl": False}, None)
    host_, credentials = split_address("https://me:a%40b@h/below/")
    assert host_ == {"host": "h", "port": 443, "use_ssl": True, "url_prefix": "below"} and credentials == ("me", "a@b")
    assert public_address("https://me:p@w@h:1/x") == "https://h:1/x" and public_address("http://h") == "http://h"
    for wrong in ("h:9200", "ftp://h", "http://", "http://me:secret@h:port"):
        with pytest.raises(UserError) as caught:
            split_address(wrong)
        assert "secret" not in str(caught.value)


def test_a_distribution_that_is_none_or_closed(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="holds no bin/opensearch"):
        host.check_distribution(open_folder / "nowhere")
    for name in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = distribution(open_folder / "a" / "b" / "dist")
    host.check_distribution(home)
    (home / "lib").rename(home / "gone")
    with pytest.raises(UserError, match="dist holds no lib; unpack OpenSearch again"):
        host.check_distribution(home)
    (home / "gone").rename(home / "lib")
    assert host.version_of(home) == "2.18.0" and host.find_java(home) == home / "jdk"
    (open_folder / "a").chmod(0o600)
    if os.geteuid() == 0:
        with pytest.raises(UserError, match=rf"opensearch_home: {open_folder}/a is closed to nobody.*chmod o\+x"):
            host.check_distribution(home)
    (open_folder / "a").chmod(0o755)


def test_java_that_is_missing_or_old(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = distribution(open_folder / "dist")
    for name in ("OPENSEARCH_JAVA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    script(home / "jdk" / "bin" / "java", """echo 'java version "1.8.0_301"' >&2""")
    with pytest.raises(UserError, match="is Java 8; this OpenSearch needs 11 to 23: OPENSEARCH_JAVA_HOME="):
        host.find_java(home)
    script(home / "jdk" / "bin" / "java", """echo 'openjdk version "25" 2025-09-16' >&2""")
    with pytest.raises(UserError, match="is Java 25"):
        host.find_java(home)
    (home / "lib" / "opensearch-2.18.0.jar").rename(home / "lib" / "opensearch-3.0.0.jar")
    assert host.find_java(home) == home / "jdk"
    (home / "lib" / "opensearch-3.0.0.jar").rename(home / "lib" / "opensearch-2.18.0.jar")
    (home / "jdk" / "bin" / "java").unlink()
    monkeypatch.setenv("OPENSEARCH_JAVA_HOME", str(open_folder))
    with pytest.raises(UserError, match="OPENSEARCH_JAVA_HOME: .* holds no bin/java"):
        host.find_java(home)
    monkeypatch.delenv("OPENSEARCH_JAVA_HOME")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match="no Java found; install Java 11 to 23, or name one: OPENSEARCH_JAVA_HOME"):
        host.find_java(home)


def test_a_node_that_does_not_start_names_its_log(open_folder: Path) -> None:
    node = Node(distribution(open_folder / "dist"), open_folder)
    with pytest.raises(
        RunError, match=f"ended while it started, with 1g of heap. Its log: {node.log}\n  fatal: it cannot be$"
    ):
        node.start()
    assert f"file={open_folder}/logs/gc.log" in (open_folder / "config" / "jvm.options").read_text()
    assert f"HeapDumpPath={open_folder}/data" in (open_folder / "config" / "jvm.options").read_text()


def test_a_folder_that_the_node_cannot_reach_is_replaced(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    first, second = usable_folder(closed / "node"), usable_folder(closed / "node")
    assert first == second  # where a run that is started again finds its data
    if os.geteuid() == 0:
        assert not first.is_relative_to(closed) and host.closed_parent(first) is None
    assert usable_folder(closed / "other") != first
    for folder in (first, usable_folder(closed / "other")):
        folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts nodes as another user")
def test_a_closed_temporary_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    with pytest.raises(UserError, match=r"output_dir: .* nobody, can reach neither .*is closed.*TMPDIR=/path"):
        usable_folder(closed / "node")


@on_node
def test_a_node_comes_and_goes(make_node: MakeNode) -> None:
    node = make_node(heap="256m")
    with node:
        server = Server([node.url])
        assert server.first_contact().startswith(("2.", "3.")) and server.version
        assert host.version_of(node.home) == server.version
        pid = node.pid
        owner = Path(f"/proc/{pid}").stat().st_uid
        assert owner != 0
    assert node.pid == 0 and not Path(f"/proc/{pid}").exists()
    node.remove()
    assert not node.folder.exists()


@on_node
@pytest.mark.process
def test_a_node_ends_with_the_process_that_started_it(home: Path, open_folder: Path) -> None:
    """kill -9 of the run: its node must not go on alone, and the next run waits for it to let go of its data."""
    code = (
        "import os, sys; from pathlib import Path; from retrieval.opensearch.node import Node\n"
        "node = Node(sys.argv[1], Path(sys.argv[2]), '256m'); node.start(); print(node.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(home), str(open_folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120)
    before = Path(f"/proc/{int(done.stdout)}")
    with Node(home, open_folder, "256m"):
        time.sleep(2)  # a process outlives its lock by a moment
        assert not before.exists()


def test_nothing_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.opensearch.client.FIRST_CONTACT_S", 0.5)
    with pytest.raises(UserError, match="http://127.0.0.1:9: nothing answers.*opensearch_home=FOLDER"):
        Server(["http://me:secret@127.0.0.1:9"]).first_contact()


def test_another_server_at_the_address() -> None:
    with proxied("http://127.0.0.1:9") as proxy, pytest.raises(UserError, match="502"):
        Server([proxy.url], patience_s=0.1).first_contact()


@on_node
def test_a_wrong_password_is_said_and_never_shown(node: Node) -> None:
    with proxied(node.url) as proxy:
        proxy.password = "right"
        server = Server([proxy.url], credentials=("user", "wrong-one"))
        with pytest.raises(
            UserError, match="refused with 401. Set OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD"
        ) as caught:
            server.first_contact()
        assert "wrong-one" not in str(caught.value) + repr(server)
        assert Server([proxy.url], credentials=("user", "right")).first_contact()
        assert Server([proxy.url.replace("//", "//user:right@")]).first_contact()


@on_node
def test_certificates_are_verified_unless_told_otherwise(node: Node, tmp_path: Path) -> None:
    certificate = tmp_path / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", certificate, "-keyout", tmp_path / "server.key"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    with proxied(node.url, certificate) as proxy:
        with pytest.raises(UserError, match="certificate is not trusted.*opensearch_ca=FILE"):
            Server([proxy.url]).first_contact()
        assert Server([proxy.url], ca=str(certificate)).first_contact()
        assert Server([proxy.url], verify=False).first_contact()
