"""Downloads from a server on this machine: resuming, retries, checksums, refused archives; NanoBEIR."""

import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from retrieval import archives, download
from retrieval.beir_data import load_beir
from sparse_model.errors import UserError
from tests.retrieval.conftest import CORPUS


class Server:
    """Serves one archive; notes the Range header of each request; can fail or break off the first ones."""

    def __init__(self) -> None:
        self.content = b""
        self.ranges: list[str | None] = []
        self.break_after: list[int] = []  # bytes after which the next answers break off
        self.failures: list[int] = []  # status codes of the next answers
        self.knows_ranges = True
        self.drips = 0  # of the next answers only a byte comes, then another, …

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.ranges.append(wanted)
        if self.failures:
            return handler.send_error(self.failures.pop(0))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.knows_ranges else 0
        if start and start >= len(self.content):
            return handler.send_error(416)
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.drips:
            self.drips -= 1
            with suppress(OSError):  # nobody listens any more
                for byte in body[:40]:
                    handler.wfile.write(bytes([byte]))
                    time.sleep(0.05)
            return None
        handler.wfile.write(body[: self.break_after.pop(0)] if self.break_after else body)
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("BEIR_URL", f"http://127.0.0.1:{http.server_port}/sets/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.0)
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def archive(folder: Path, extra: Mapping[Any, str] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of a BEIR folder under its name, as BEIR's own are; extra: further members, by name or ZipInfo."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            file.write(path, Path("scifact") / path.relative_to(folder))
        for name, text in (extra or {}).items():
            file.writestr(name, text)
    return buffer.getvalue()


def md5(content: bytes) -> dict[str, str]:
    return {"scifact": hashlib.md5(content).hexdigest()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_downloads_verifies_and_leaves_only_the_folder(server: Server, tiny: Path, tmp_path: Path) -> None:
    server.content = archive(tiny)
    target = tmp_path / "new" / "data"
    folder = download.ensure("scifact", str(target), md5(server.content))
    assert names(target) == ["scifact"]
    assert (folder / "corpus.jsonl").read_bytes() == (tiny / "corpus.jsonl").read_bytes()
    download.ensure("scifact", str(target), {"scifact": "ignored, the folder is there"})
    assert server.ranges == [None]


def test_load_beir_downloads_a_known_name(
    server: Server, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = archive(tiny)
    monkeypatch.setitem(download.BEIR_MD5, "scifact", md5(server.content)["scifact"])
    assert load_beir("scifact", str(tmp_path / "data")).doc_ids == [row["_id"] for row in CORPUS]


def test_continues_a_partial_file(server: Server, tiny: Path, tmp_path: Path) -> None:
    server.content = archive(tiny)
    (tmp_path / "scifact.zip.part").write_bytes(server.content[:100])
    download.ensure("scifact", str(tmp_path), md5(server.content))
    assert server.ranges == ["bytes=100-"]


def test_a_whole_partial_file_needs_nothing_more(server: Server, tiny: Path, tmp_path: Path) -> None:
    server.content = archive(tiny)
    (tmp_path / "scifact.zip.part").write_bytes(server.content)
    assert download.ensure("scifact", str(tmp_path), md5(server.content)).is_dir()


def test_starts_over_where_the_server_cannot_continue(server: Server, tiny: Path, tmp_path: Path) -> None:
    server.content, server.knows_ranges = archive(tiny), False
    (tmp_path / "scifact.zip.part").write_bytes(b"x" * 100)
    assert download.ensure("scifact", str(tmp_path), md5(server.content)).is_dir()


def test_tries_again_and_resumes_after_failures(
    server: Server, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK_BYTES", 50)
    server.content, server.failures, server.break_after = archive(tiny), [503, 429], [200, 100]
    download.ensure("scifact", str(tmp_path), md5(server.content))
    assert server.ranges == [None, None, None, "bytes=200-", "bytes=300-"]


def test_a_server_that_drips_is_given_up(
    server: Server, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes count: the next answer goes on behind them. One that never does better ends it."""
    monkeypatch.setattr(download, "SLOW_SECONDS", 0.3)
    server.content, server.drips = archive(tiny), 2
    download.ensure("scifact", str(tmp_path), md5(server.content))
    first, second, third = server.ranges
    assert first is None and 0 < int(second[6:-1]) < int(third[6:-1]) < 80  # type: ignore[index]
    server.drips = 99
    with pytest.raises(UserError, match=r"bytes came in 0 s"):
        download.ensure("scifact", str(tmp_path / "other"), md5(server.content))


def test_gives_up_with_the_address_and_the_folder(server: Server, tmp_path: Path) -> None:
    server.failures = [404]
    with pytest.raises(UserError, match="404") as caught:
        download.ensure("scifact", str(tmp_path))
    assert "/sets/scifact.zip" in str(caught.value) and str(tmp_path / "scifact") in str(caught.value)
    server.failures = [500] * download.ATTEMPTS
    with pytest.raises(UserError, match="500"):
        download.ensure("scifact", str(tmp_path))
    assert len(server.ranges) == 1 + download.ATTEMPTS and names(tmp_path) == []


def test_without_a_network_one_sentence_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither urllib3's own words nor a line for each attempt."""
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.0)
    monkeypatch.setenv("BEIR_URL", "http://127.0.0.1:9/sets")  # nobody listens there
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"sets/scifact.zip \(no connection \(NewConnectionError\)\)\. Place"):
        download.ensure("scifact", str(tmp_path))
    assert [record.message for record in caplog.records] == [
        "http://127.0.0.1:9/sets/scifact.zip: no connection (NewConnectionError); trying again, 4 times"
    ]


def test_a_wrong_checksum_is_refused_and_the_next_try_is_fresh(server: Server, tiny: Path, tmp_path: Path) -> None:
    server.content = archive(tiny)
    data = tmp_path / "data"
    with pytest.raises(UserError, match="MD5"):
        download.ensure("scifact", str(data), {"scifact": "0" * 32})
    assert names(data) == []
    assert download.ensure("scifact", str(data), {}).is_dir()  # a name without a sum is taken as it is


@pytest.mark.parametrize("member", ["../outside.txt", "/outside.txt", "scifact/../../outside.txt"])
def test_members_that_lead_elsewhere_are_refused(server: Server, tiny: Path, tmp_path: Path, member: str) -> None:
    server.content = archive(tiny, {member: "x"})
    with pytest.raises(UserError, match="leads out"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    assert names(tmp_path / "data") == [] and not list(tmp_path.glob("**/outside.txt"))


@pytest.mark.parametrize("kind", [0o120777, 0o010644])
def test_members_that_are_no_files_are_refused(server: Server, tiny: Path, tmp_path: Path, kind: int) -> None:
    """A symbolic link, a named pipe."""
    member = zipfile.ZipInfo("scifact/qrels/dev.tsv")
    member.external_attr = kind << 16
    server.content = archive(tiny, {member: "/etc/passwd"})
    with pytest.raises(UserError, match="is a link, or no file"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    assert names(tmp_path / "data") == []


def test_encrypted_members_are_refused(server: Server, tiny: Path, tmp_path: Path) -> None:
    """Both headers of the last member say so: 6 bytes after PK34, 8 after PK12."""
    content = bytearray(archive(tiny))
    content[content.rindex(b"PK\3\4") + 6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    server.content = bytes(content)
    with pytest.raises(UserError, match="is encrypted"):
        download.ensure("scifact", str(tmp_path / "data"), {})


def test_archives_have_a_limit(server: Server, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what they unpack to, however small they are, of files, and of their own size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("scifact/corpus.jsonl", b"0" * 2_000_000)
    server.content = buffer.getvalue()
    monkeypatch.setattr(archives, "MOST_BYTES", 1_000_000)
    assert len(server.content) < 10_000
    with pytest.raises(UserError, match="would unpack to 1 files"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    server.content = archive(tiny)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    with pytest.raises(UserError, match="would unpack to 3 files"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    monkeypatch.setattr(download, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="the archive is larger than"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    assert names(tmp_path / "data") == []


@pytest.mark.parametrize("place", [0, 9, 40])
def test_damage_within_a_member(server: Server, tiny: Path, tmp_path: Path, place: int) -> None:
    content = bytearray(archive(tiny, compression=zipfile.ZIP_DEFLATED))
    content[content.index(b"corpus.jsonl") + len("corpus.jsonl") + place] ^= 0xFF
    server.content = bytes(content)
    with pytest.raises(UserError, match="damaged"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    assert names(tmp_path / "data") == []


def test_a_part_of_another_archive_is_begun_anew(server: Server, tiny: Path, tmp_path: Path) -> None:
    server.content = archive(tiny)
    (tmp_path / "scifact.zip.part").write_bytes(b"x" * 100)
    assert download.ensure("scifact", str(tmp_path), md5(server.content)).is_dir()
    assert server.ranges == ["bytes=100-", None] and names(tmp_path) == ["beir", "scifact"]


def test_a_folder_that_is_not_whole_is_made_anew(server: Server, tiny: Path, tmp_path: Path) -> None:
    """What is in it is kept under another name; what a download that was killed left is removed."""
    data = tmp_path / "data"
    server.content = archive(tiny)
    (data / "scifact").mkdir(parents=True)
    (data / "scifact" / "corpus.jsonl").write_text("mine")
    (data / f"{download.TEMPORARY}x" / "scifact").mkdir(parents=True)
    assert download.is_beir_folder(download.ensure("scifact", str(data), md5(server.content)))
    new, aside = sorted(data.iterdir(), key=lambda path: path.name)
    assert new.name == "scifact" and (aside / "corpus.jsonl").read_text() == "mine"


def test_two_downloads_at_once_are_one(server: Server, tiny: Path, tmp_path: Path) -> None:
    server.content = archive(tiny)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: download.ensure("scifact", str(tmp_path / "data"), md5(server.content)), range(2)))
    assert server.ranges == [None] and names(tmp_path / "data") == ["scifact"]


def test_archives_that_are_none_or_hold_something_else(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>not a zip</html>"
    with pytest.raises(UserError, match="zip"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    server.content = archive(tmp_path / "nothing", {"other/corpus.jsonl": ""})
    with pytest.raises(UserError, match="no scifact/corpus.jsonl"):
        download.ensure("scifact", str(tmp_path / "data"), {})
    assert names(tmp_path / "data") == []


@pytest.mark.parametrize("key", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_asks_nobody(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(key, "1")
    with pytest.raises(UserError, match="by hand"):
        download.ensure("scifact", str(tmp_path))
    assert server.ranges == []


@pytest.fixture
def nano_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local folder laid out like a NanoBEIR repository, used in place of the hub."""
    import datasets

    repository = tmp_path / "hub" / "NanoSciFact"
    tables = {
        "corpus": {"_id": ["d1", '"d2"'], "text": ["cats", "dogs é"]},
        "queries": {"_id": ["q1"], "text": ["cat"]},
        "qrels": {"query-id": ["q1", "q1"], "corpus-id": ["d1", '"d2"']},
    }
    configs = []
    for config, table in tables.items():
        (repository / config).mkdir(parents=True)
        datasets.Dataset.from_dict(table).to_parquet(repository / config / "train-00000-of-00001.parquet")
        files = [{"split": "train", "path": f"{config}/train-*"}]
        configs.append({"config_name": config, "data_files": files})
    (repository / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    monkeypatch.setattr(download, "NANOBEIR_REPOSITORY", str(tmp_path / "hub" / "{name}"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return repository


def test_nanobeir_becomes_a_beir_folder(nano_repository: Path, tmp_path: Path) -> None:
    data = load_beir("NanoSciFact", str(tmp_path / "data"))
    assert data.doc_ids == ["d1", '"d2"'] and data.texts == ["cats", "dogs é"]
    assert data.qrels == {"q1": {"d1": 1, '"d2"': 1}} and data.split == "test"
    assert names(tmp_path / "data") == ["NanoSciFact"]


def test_a_nanobeir_set_that_is_not_there(nano_repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NanoNQ"):
        load_beir("NanoNQ", str(tmp_path / "data"))
    assert names(tmp_path / "data") == []
