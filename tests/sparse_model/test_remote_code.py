"""Revisions of hub repositories, whose code may run, and models made of it."""

import io
import logging
import os
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

import sparse_model
from sparse_model import UserError
from sparse_model.pins import PINS, _fetch, _say_once, at, code_of
from sparse_model.remote_code import load_model
from tests.conftest import make_model
from tests.hub import CODE, OTHER_COMMIT, add_code, add_repository, make_remote, use_hub

NAME = "some-org/rotary"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the code at its pin."""
    use_hub(tmp_path / "hub", monkeypatch)
    add_code(tmp_path / "hub")
    return tmp_path / "hub"


@pytest.mark.parametrize("stored", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("masked_lm", [False, True])
def test_buffers_and_weights_are_those_of_a_fresh_build(
    hub: Path, tmp_path: Path, stored: str, masked_lm: bool
) -> None:
    """Of a body that is stored alone, and of one in a model with a head that is left out."""
    made = make_remote(tmp_path / "model", masked_lm)
    folder = tmp_path / "model"
    if stored.endswith(".bin"):
        (folder / "model.safetensors").unlink()
        torch.save(made.state_dict(), folder / stored)
    says = (folder / "config.json").read_text()
    (folder / "config.json").write_text(
        says.replace("AutoModelForMaskedLM", "AutoModel").replace("ForMaskedLM", "Model")
    )
    body = made.made_up if masked_lm else made
    code = code_of(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=code.trusted, **code.revision)
    model, info = load_model(AutoModel, folder, config, torch.float32, code)
    assert model.__module__.startswith("transformers_modules") and not info["missing_keys"]
    assert info["unexpected_keys"] == (["decoder.weight", "decoder.bias"] if masked_lm else []) or set(
        info["unexpected_keys"]
    ) == {"decoder.weight", "decoder.bias"}
    buffers = dict(model.named_buffers())
    assert set(buffers) == {"position_ids", "rotary.inv_freq", "rotary.cos_cached", "rotary.sin_cached"}
    for name, value in [*body.named_buffers(), *body.named_parameters()]:
        assert torch.equal(model.get_parameter(name) if name not in buffers else buffers[name], value), name
    ids = torch.tensor([[2, 9, 12, 3]])
    assert torch.equal(model(ids)[0], body(ids)[0])


def test_a_weight_that_is_not_stored_is_told(hub: Path, tmp_path: Path) -> None:
    made = make_remote(tmp_path / "model")
    tensors = {name: tensor for name, tensor in made.state_dict().items() if name != "embeddings.weight"}
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "model" / "pytorch_model.bin")
    code = code_of(tmp_path / "model")
    config = AutoConfig.from_pretrained(tmp_path / "model", trust_remote_code=code.trusted, **code.revision)
    _, info = load_model(AutoModel, tmp_path / "model", config, torch.float32, code)
    assert info["missing_keys"] == ["embeddings.weight"]


def test_code_at_its_pin_runs_and_says_so_once(hub: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _say_once.cache_clear()
    make_remote(tmp_path / "model", masked_lm=True)
    with caplog.at_level(logging.INFO, "sparse_model.pins"):
        encoders = [sparse_model.load(tmp_path / "model") for _ in range(2)]
    assert [record.getMessage() for record in caplog.records] == [
        f"code of {CODE} runs, at the commit that is trusted without asking ({PINS[CODE]})"
    ]
    one, two = (encoder.encode_documents(["rain in the city"]) for encoder in encoders)
    assert one.nnz and (one != two).nnz == 0


@pytest.mark.parametrize("code", ["", "some-org/code", CODE])
def test_other_code_is_not_run_nor_asked_for(
    code: str, hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the model's own folder, in another repository, in the pinned one at another commit; "y" on a terminal."""
    if code == "some-org/code":
        add_code(hub, name=code)
    if code == CODE:
        add_code(hub, OTHER_COMMIT)
    make_remote(tmp_path / "model", masked_lm=True, code=code)
    asked = {"code_revision": OTHER_COMMIT} if code == CODE else {}
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    with pytest.raises(UserError, match="trust_remote_code"):
        sparse_model.load(tmp_path / "model", **asked)
    assert sys.stdin.tell() == 0
    trusted = sparse_model.load(tmp_path / "model", trust_remote_code=True, **asked)
    assert trusted.encode_documents(["rain in the city"]).nnz
    module = type(trusted.mlm).__module__
    assert (OTHER_COMMIT in module) == bool(code)


def test_code_that_cannot_be_reached_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that fetches it; transformers would speak of files that it could not find."""
    _fetch.cache_clear()
    use_hub(tmp_path / "hub", monkeypatch)
    make_remote(tmp_path / "model", masked_lm=True)
    with pytest.raises(UserError, match=f"hf download {CODE} --revision {PINS[CODE]}"):
        sparse_model.load(tmp_path / "model")


class Program:
    """Makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("damaged", [False, True])
def test_pickled_weights_that_hold_a_program_are_not_read(
    hub: Path, tmp_path: Path, remote: bool, damaged: bool
) -> None:
    """Nor is it told how to read them nonetheless."""
    folder = tmp_path / "model"
    make_remote(folder, masked_lm=True) if remote else make_model(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.weight": Program(tmp_path / "ran")}, folder / "pytorch_model.bin")
    if damaged:
        (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match="pytorch_model.bin|git-lfs") as told:
        sparse_model.load(folder)
    assert "weights_only" not in str(told.value) and not (tmp_path / "ran").exists()


def test_saved_and_loaded_again(hub: Path, tmp_path: Path) -> None:
    """A checkpoint names the code where it lies; nothing is copied into it."""
    make_remote(tmp_path / "model", masked_lm=True)
    encoder = sparse_model.load(tmp_path / "model")
    encoder.save(tmp_path / "saved")
    again = sparse_model.load(tmp_path / "saved")
    text = ["rain in the city"]
    assert (again.encode_documents(text) != encoder.encode_documents(text)).nnz == 0


def test_a_repository_is_read_at_its_revision(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for, else the pin, else the newest."""
    use_hub(tmp_path, monkeypatch)
    first, name = "a" * 40, "opensearch-project/opensearch-neural-sparse-encoding-v1"
    add_repository(tmp_path, NAME, tiny_model, first)
    add_repository(tmp_path, NAME, tiny_model, "b" * 40)
    add_repository(tmp_path, name, tiny_model)
    add_repository(tmp_path, name, tiny_model, "b" * 40)
    resolved = lambda model: sparse_model.layout.resolve(model).name  # noqa: E731
    assert [resolved(NAME), resolved(at(NAME, first)), resolved(name)] == ["b" * 40, first, PINS[name]]
    assert resolved(at(name, "main")) == "b" * 40
    assert sparse_model.load(NAME, revision=first).vocabulary_size
    with pytest.raises(UserError, match=f"model_name_or_path: {NAME}@{'c' * 40} is neither a folder nor a hub"):
        sparse_model.load(NAME, revision="c" * 40)
    with pytest.raises(UserError, match="revision: main, but .* lies on this disk"):
        sparse_model.load(tiny_model, revision="main")
