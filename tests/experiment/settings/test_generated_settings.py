"""Configs and command lines with anything in some of their keys: settings that a run can take, or mistakes by key."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from experiment.settings.settings import load_settings
from sparse_model.errors import UserError
from tests.experiment.settings.test_limits import KEYS, _usable
from tests.generated import SCALARS, VALUES, changed, damaged, examples

pytestmark = pytest.mark.generated
WORDS = some.sampled_from([json.dumps(value) for value in SCALARS] + ["", "~", "- a", "[1, 2]", "{a: 1}", "1e-3", "{"])
CONFIG = {
    "model_name_or_path": "m",
    "train_file": "rows.jsonl",
    "data_type": "kd",
    "loss_types": ["kldiv", "infonce"],
    "elastic_lengths": [32, 64],
    "seeds": [1, 2],
    "teachers": [{"type": "sparse", "model_name_or_path": "t"}],
    "beir_datasets": ["scifact"],
    "metrics": ["nDCG@10"],
}


@examples(40)
@given(
    values=some.dictionaries(some.sampled_from(KEYS), VALUES, min_size=1, max_size=4),
    words=some.lists(some.tuples(some.sampled_from(KEYS), WORDS), max_size=2),
    training=some.booleans(),
)
def test_some_keys(tmp_path: Path, values: dict, words: list[tuple[str, str]], training: bool) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    _usable([str(path), *(f"{key}={value}" for key, value in words)], training)


@examples(40)
@given(data=some.data())
def test_a_config_that_was_right(tmp_path: Path, data: some.DataObject) -> None:
    """One place of it changed, or its bytes."""
    path = tmp_path / "config.yaml"
    right = {key: value for key, value in CONFIG.items() if data.draw(some.booleans(), key)}
    content = yaml.safe_dump(changed(data, json.loads(json.dumps(right)))).encode()
    if data.draw(some.booleans(), "as bytes"):
        content = damaged(data, content)
    path.write_bytes(content)
    try:
        load_settings([str(path)])
    except UserError as error:
        assert str(error)
