import math

import pytest
import torch

from sparse_model import activate


@pytest.mark.parametrize(("name", "times"), [("relu", 1), ("l1_relu", 2), ("l2_relu", 3), ("l3_relu", 4)])
def test_log1p_is_applied_once_more_at_each_step(name: str, times: int) -> None:
    """x = e − 1: log1p gives 1, then ln 2, then ln(1 + ln 2), …"""
    expected = math.e - 1
    for _ in range(times):
        expected = math.log1p(expected)
    weights = activate(torch.tensor([math.e - 1, 0.0, -3.0], dtype=torch.float64), name)
    assert weights.tolist() == [pytest.approx(expected, rel=1e-12), 0.0, 0.0]


def test_tiny_logits_stay_active() -> None:
    """log(1 + 1e-9) is 0 in float32; log1p(1e-9) is not, and counts as an active token."""
    assert activate(torch.tensor([1e-9]), "l3_relu").item() > 0
