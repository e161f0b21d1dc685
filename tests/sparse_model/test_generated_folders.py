"""Checkpoints with anything in one place of one of their JSON files: they encode, or are refused with a sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

import sparse_model
from sparse_model import UserError
from sparse_model.manifest import MANIFEST
from tests.conftest import SENTENCES, make_model
from tests.generated import changed, damaged, examples

pytestmark = pytest.mark.generated


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated")
    encoder = sparse_model.load(make_model(root / "plain"), max_seq_length=20)
    encoder.use_idf(torch.rand(encoder.vocabulary_size))
    encoder.save(root / "saved")
    return root


def _encodes_or_is_refused(folder: Path) -> None:
    try:
        encoder = sparse_model.load(folder)
    except UserError as error:
        assert str(error)
    else:
        for rows in (encoder.encode_documents(SENTENCES), encoder.encode_queries(SENTENCES)):
            assert rows.shape[0] == len(SENTENCES) and (rows.data > 0).all()


@examples(30)
@given(data=some.data())
def test_it_encodes_or_is_refused(folder: Path, data: some.DataObject) -> None:
    copy = folder / "changed"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "saved", copy)
    (copy / MANIFEST).unlink()  # which would refuse every change
    name = data.draw(some.sampled_from(sorted(p.relative_to(copy) for p in copy.rglob("*.json"))), "file")
    if data.draw(some.integers(0, 4), "as bytes where 0") == 0:
        (copy / name).write_bytes(damaged(data, (copy / name).read_bytes()))
    else:
        (copy / name).write_text(json.dumps(changed(data, json.loads((copy / name).read_text()))))
    _encodes_or_is_refused(copy)


@examples(15)
@given(data=some.data())
def test_a_manifest_of_anything(folder: Path, data: some.DataObject) -> None:
    path = folder / "saved" / MANIFEST
    before = path.read_text()
    try:
        path.write_text(json.dumps(changed(data, json.loads(before))))
        _encodes_or_is_refused(path.parent)
    finally:
        path.write_text(before)
