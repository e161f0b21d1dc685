"""push, against a stand-in of the hub's API on this machine."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import sparse_model
from sparse_model import push as command
from sparse_model.manifest import read_manifest


class Hub(ThreadingHTTPServer):
    """Makes repositories and takes commits of small files; the requests' tokens are kept."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.refuses = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.refuses:
            return self._answer(403, {"error": "you may not write here"})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories[name] = asked
            return self._answer(200, {"url": f"{self.server.address}/{name}"})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            says = {"uploadMode": "regular", "shouldIgnore": False}
            return self._answer(200, {"files": [{"path": f["path"], **says} for f in json.loads(body)["files"]]})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        address = f"{self.server.address}/me/model/commit/{'0' * 40}"
        return self._answer(200, {"commitUrl": address, "commitOid": "0" * 40})

    def do_GET(self) -> None:
        self._answer(404, {"error": "nothing here"})

    def _answer(self, code: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_for_a_test")
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    sparse_model.load(tiny_model, activation_type="l1_relu").save(tmp_path / "run")
    (tmp_path / "run" / "train.log").write_text("of the run, not of the model")
    return tmp_path / "run"


def is_private(hub: Hub) -> bool:
    """As older and newer clients ask for it."""
    asked = hub.repositories["me/model"]
    return asked.get("visibility") == "private" or asked.get("private") is True


def test_the_checkpoint_and_its_card_arrive_in_a_private_repository(folder: Path, hub: Hub, tmp_path: Path) -> None:
    command.push(folder, "me/model", license="apache-2.0", endpoint=hub.address)
    assert is_private(hub) and hub.tokens == {"Bearer hf_for_a_test"}
    assert hub.files.keys() == {*read_manifest(folder)["files"], "complete.json", "README.md"}
    for name, content in hub.files.items():
        (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(content)
    ours, fetched = sparse_model.load(folder), sparse_model.load(tmp_path / "fetched")
    assert (ours.encode_documents(["rain"]) != fetched.encode_documents(["rain"])).nnz == 0
    card = hub.files["README.md"].decode()
    assert "license: apache-2.0" in card and 'sparse_model.load("me/model")' in card


def test_public_is_asked_for(folder: Path, hub: Hub) -> None:
    command.push(folder, "me/model", public=True, endpoint=hub.address)
    assert not is_private(hub)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("name", "user/name"),
        ("token", "HF_TOKEN is not set"),
        ("damage", "was changed"),
        ("plain", "no checkpoint of ours"),
        ("edited", "was edited"),
        ("refuses", "did not take it"),
    ],
)
def test_mistakes_are_told_and_nothing_is_sent(
    spoil: str,
    told: str,
    folder: Path,
    hub: Hub,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(tiny_model if spoil == "plain" else folder), "model" if spoil == "name" else "me/model"]
    if spoil == "token":
        monkeypatch.delenv("HF_TOKEN")
    if spoil == "damage":
        path = folder / "config.json"
        path.write_text(path.read_text().replace("16", "17"))
    if spoil == "edited":
        (folder / "README.md").write_text("# Mine")
        words += ["--license", "mit"]
    hub.refuses = spoil == "refuses"
    sent = command.push
    monkeypatch.setattr(command, "push", lambda *args, **options: sent(*args, **options, endpoint=hub.address))
    assert command.main(words) == 2
    said = capsys.readouterr().err
    assert told in said and "hf_for_a_test" not in said and not hub.files and not hub.repositories
