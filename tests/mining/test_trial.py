"""A teacher that does not work is told before anything is mined."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mining.teachers import load_teacher, try_teachers
from mining.teachers.trial import try_teacher
from sparse_model import UserError
from tests.conftest import SENTENCES
from tests.mining.models import tiny_spec

TEXTS = (["rain", "weather in new york"], SENTENCES)


def test_good_teachers_pass(folders: dict[str, Path]) -> None:
    try_teachers([tiny_spec(kind, folder) for kind, folder in folders.items()], "cpu", *TEXTS)


class Made:
    """A teacher whose vectors are as `values` says of (number of texts, their role)."""

    encodes = True

    def __init__(self, values: Any) -> None:
        self.values = values

    def encode(self, texts: list[str], role: str) -> np.ndarray:
        return self.values(texts, role)


def _by_length(texts: list[str], role: str) -> np.ndarray:
    return np.array([[len(text), 1.0] for text in texts], np.float32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda texts, role: _by_length(texts, role) * np.nan, "values are not finite"),
        (lambda texts, role: np.ones((len(texts), 3)), "says the same of both"),
        (lambda texts, role: _by_length(texts, role) * (1 + 0.01 * len(texts)), "in a batch than alone"),
        (lambda texts, role: _by_length(texts, role)[:1], "have the shape"),
        (lambda texts, role: np.hstack([_by_length(texts, role)] * (1 + (role == "query"))), "different lengths"),
        (lambda texts, role: [][1], "cannot be run: IndexError"),
    ],
)
def test_what_does_not_work_is_told(values: Any, message: str, folders: dict[str, Path]) -> None:
    spec = tiny_spec("dense", folders["dense"])
    with pytest.raises(UserError, match=f"teacher dense.*{message}"):
        try_teacher(Made(values), spec, torch.float32, *TEXTS)
    try_teacher(Made(_by_length), spec, torch.float32, *TEXTS)


def test_positions_that_were_never_filled_are_told(folders: dict[str, Path]) -> None:
    """What a model built without memory would hold."""
    spec = tiny_spec("dense", folders["dense"])
    teacher: Any = load_teacher(spec, "cpu")
    teacher._runner.model.embeddings.position_ids.fill_(2**40)
    with pytest.raises(UserError, match="teacher dense cannot be run: .*out of bounds"):
        try_teacher(teacher, spec, torch.float32, *TEXTS)
