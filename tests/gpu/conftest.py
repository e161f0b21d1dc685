"""The device of these tests: SPARSE_DEVICE=cuda, or cpu for a rehearsal. Without it they are skipped."""

import os

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def device() -> str:
    """cuda or cpu."""
    name = os.environ.get("SPARSE_DEVICE", "")
    if not name:
        pytest.skip("SPARSE_DEVICE (cuda, or cpu for a rehearsal) is not set: make gpu")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("SPARSE_DEVICE=cuda, but torch finds no GPU")
    return name
