"""Rows with anything in one place: they give examples that can be trained on, or the file is refused by name."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from experiment.run.plan import counted_texts
from sparse_model.errors import UserError
from tests.conftest import wordpiece_tokenizer
from tests.generated import changed, damaged, examples
from training.collator import Collator
from training.data import Examples

pytestmark = pytest.mark.generated
ROWS = {
    "kd": {"query": "rain", "docs": ["wet", "sun", "snow", "wind"], "scores": [9.5, 3.0, 2.0, 0.5], "first_rank": 0},
    "posnegs": {"query": "rain", "pos": "wet", "negs": ["sun", "snow"]},
}


@examples(60)
@given(data=some.data())
def test_examples_or_a_sentence(tmp_path: Path, data: some.DataObject) -> None:
    kind = data.draw(some.sampled_from(sorted(ROWS)), "kind")
    rows = [json.loads(json.dumps(ROWS[kind])) for _ in range(4)]
    number = data.draw(some.integers(0, 3), "row")
    lines = [json.dumps(changed(data, row) if i == number else row) for i, row in enumerate(rows)]
    content = "".join(f"{line}\n" for line in lines).encode()
    if data.draw(some.integers(0, 3), "as bytes where 0") == 0:
        content = damaged(data, content)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    try:
        part = Examples(path, kind, documents_per_query=2, first_rank_thresh=3)
        counted_texts([part])
    except UserError as error:
        assert "rows.jsonl" in str(error)
        return
    batch = [part[i] for i in range(len(part))]
    assert all(math.isfinite(score) for example in batch for score in example.scores)
    made = Collator(wordpiece_tokenizer(), 16, inf_free=True)(batch)
    assert len(made["document_ids"]) == sum(len(example.documents) for example in batch)
