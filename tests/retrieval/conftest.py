"""Fixtures of the retrieval tests."""

from pathlib import Path

import pytest

from tests.retrieval.bag_of_words import write_beir

CORPUS = [
    {"_id": "d1", "title": "Cats", "text": "cats chase mice"},
    {"_id": "d2", "title": None, "text": "dogs chase cats"},
    {"_id": "d3", "text": "mice eat cheese"},
]
QUERIES = [
    {"_id": "q1", "text": "cats"},
    {"_id": "unjudged", "text": "dogs"},
    {"_id": "q2", "text": "cheese"},
]
QRELS = [("q2", "d3", 1), ("q1", "d1", 2), ("q1", "d2", 1), ("q1", "d3", 0)]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A BEIR folder tmp_path/beir/tiny of three documents and two judged queries."""
    return write_beir(tmp_path / "beir" / "tiny", CORPUS, QUERIES, QRELS)
