"""Checkpoints with anything in one place of one of their JSON files: they encode, or are refused with a sentence."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import sparse_model
from sparse_model import UserError
from tests.conftest import SENTENCES, make_model

SCALARS = [None, True, False, 0, 1, -1, 2, 10**9, 10**30, 1.5, float("nan"), "", "x", "../..", "/etc/passwd"]
VALUES = some.sampled_from([*SCALARS, [], [1], [[]], [None], {}, {"a": 1}, {"type": None}])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated")
    encoder = sparse_model.load(make_model(root / "plain"), max_seq_length=20)
    encoder.use_idf(torch.rand(encoder.vocabulary_size))
    encoder.save(root / "saved")
    (root / "saved" / "complete.json").unlink()  # which would refuse every change
    return root


def _places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """Where something may be put, four keys deep at most; of long lists the first entries."""
    yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value[:5]) if isinstance(value, list) else ()
    for key, part in inner:
        if len(above) < 4:
            yield from _places(part, (*above, key))


def _changed(data: some.DataObject, value: Any) -> Any:
    place = data.draw(some.sampled_from(list(_places(value))), "place")
    if not place:
        return data.draw(VALUES, "value")
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    if data.draw(some.integers(0, 3), "left out where 0") == 0:
        del holder[place[-1]]
    else:
        holder[place[-1]] = data.draw(VALUES, "value")
    return value


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=some.data())
def test_it_encodes_or_is_refused(folder: Path, data: some.DataObject) -> None:
    changed = folder / "changed"
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(folder / "saved", changed)
    name = data.draw(some.sampled_from(sorted(p.relative_to(changed) for p in changed.rglob("*.json"))), "file")
    value = _changed(data, json.loads((changed / name).read_text()))
    (changed / name).write_text(json.dumps(value))
    try:
        encoder = sparse_model.load(changed)
    except UserError as error:
        assert str(error)
    else:
        for rows in (encoder.encode_documents(SENTENCES), encoder.encode_queries(SENTENCES)):
            assert rows.shape[0] == len(SENTENCES) and (rows.data > 0).all()
