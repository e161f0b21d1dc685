"""The manifest: what it lists, what it finds, and what a save that was cut short leaves."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import sparse_model
from sparse_model import UserError
from sparse_model.manifest import CARD, MANIFEST, check_manifest, read_manifest, replaced, write_manifest

TABLE = Path("query_0_SparseStaticEmbedding", "model.safetensors")


@pytest.fixture(scope="module")
def saved(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose query table holds 2 for every token."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    encoder = sparse_model.load(tiny_model)
    encoder.use_idf(torch.full((encoder.vocabulary_size,), 2.0))
    encoder.save(folder, step=3)
    return folder


def test_every_file_with_size_and_hash(saved: Path) -> None:
    says = read_manifest(saved)
    assert (says["format"], says["whole"], says["step"]) == (1, True, 3)
    there = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert says["files"].keys() == there - {MANIFEST, CARD} and str(TABLE) in there and "tokenizer.json" in there
    content = (saved / "modules.json").read_bytes()
    assert says["files"]["modules.json"] == {"bytes": len(content), "sha256": sha256(content).hexdigest()}


def _edit_table(path: Path) -> None:
    save_file({"weight": load_file(path)["weight"] * 3}, path)


@pytest.mark.parametrize(
    ("name", "damage", "how"),
    [
        ("modules.json", lambda path: path.unlink(), "no such file"),
        ("modules.json", lambda path: path.write_text("[]"), "2 bytes, not"),
        ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "content was changed"),
        (str(TABLE), _edit_table, "content was changed"),
        ("tokenizer.json", lambda path: path.write_text(path.read_text() + " "), "bytes, not"),
    ],
)
def test_an_altered_checkpoint_is_not_loaded(
    name: str, damage: Callable[[Path], object], how: str, saved: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(saved, tmp_path / "model")
    damage(folder / name)
    with pytest.raises(UserError, match=rf"model/{name} is missing or damaged \(.*{how}.*delete complete.json"):
        sparse_model.load(folder)


def test_without_a_manifest_a_folder_is_taken_as_it_is(saved: Path, tmp_path: Path) -> None:
    """A change that is meant; and what lies beside the listed files is nobody's concern."""
    folder = shutil.copytree(saved, tmp_path / "model")
    (folder / "README.md").write_text("mine")
    assert sparse_model.load(folder).max_seq_length == 64
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    with pytest.raises(UserError, match="sentence_bert_config.json"):
        sparse_model.load(folder)
    (folder / MANIFEST).unlink()
    assert sparse_model.load(folder).max_seq_length == 9


def test_a_part_of_a_checkpoint_for_another_model(saved: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Its query weights and its tokenizer are compared too; other parts that changed are not asked for."""
    folder = shutil.copytree(saved, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    encoder = sparse_model.load(tiny_model, idf_path=str(folder), tokenizer_name=str(folder))
    assert encoder.idf_V is not None and set(encoder.idf_V.tolist()) == {0.0, 2.0}
    (folder / "idf.json").write_text((folder / "idf.json").read_text().replace("2.0", "3.0"))
    with pytest.raises(UserError, match="model/idf.json is missing or damaged"):
        sparse_model.load(tiny_model, idf_path=str(folder / "idf.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UserError, match="model/(tokenizer_config|idf).json is missing or damaged"):
        sparse_model.load(tiny_model, tokenizer_name=str(folder))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", '{"files": 3}', '{"files": {"config.json": 3}}', "[" * 100_000),
        *(
            f'{{"files": {{"{name}": {{"bytes": 1, "sha256": ""}}}}}}'
            for name in ("../x", "/etc/hostname", "a/../../x")
        ),
    ],
)
def test_a_damaged_manifest(text: str, tmp_path: Path) -> None:
    """Names that leave the folder are no names of its files."""
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(UserError, match="complete.json is damaged"):
        check_manifest(tmp_path)


def test_a_later_format_and_version_0_1(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"step": 4}')
    check_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text('{"format": 2, "files": {}}')
    with pytest.raises(UserError, match="another version of this program .format 2."):
        check_manifest(tmp_path)


def test_a_save_that_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the new files are written the old ones stay whole; while they change places none are, and it is said."""
    folder = tmp_path / "model"

    def save(text: str) -> None:
        with replaced(folder) as new:
            for name in ("a", "b"):
                (new / "sub").mkdir(exist_ok=True)
                (new / "sub" / name).write_text(text)

    save("old")
    with pytest.raises(OSError, match="full"), replaced(folder) as new:
        (new / "a").write_text("half")
        raise OSError("disk full")
    check_manifest(folder)
    assert (folder / "sub" / "a").read_text() == "old" and not (folder / ".saving").exists()
    replace = Path.replace

    def fail_at_b(self: Path, target: Path) -> Path:
        if self.name == "b":
            raise OSError("killed")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_b)
    with pytest.raises(OSError, match="killed"):
        save("new")
    with pytest.raises(UserError, match="was not written to its end"):
        check_manifest(folder)
    monkeypatch.setattr(Path, "replace", replace)
    save("newest")
    check_manifest(folder)
    assert (folder / "sub" / "b").read_text() == "newest"


def test_a_list_of_its_own_for_what_a_training_goes_on_with(tmp_path: Path) -> None:
    """Whoever only encodes does not need it."""
    for name in ("model", "state"):
        (tmp_path / name).write_text(name)
    write_manifest(tmp_path, [tmp_path / "model"], [tmp_path / "state"], run="r")
    assert json.loads((tmp_path / MANIFEST).read_text())["run"] == "r"
    (tmp_path / "state").unlink()
    check_manifest(tmp_path)
    with pytest.raises(UserError, match="state is missing"):
        check_manifest(tmp_path, lists=("files", "training_state"))
