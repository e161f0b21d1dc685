"""The head against plain dense autograd: values, gradients, padding, double precision."""

import pytest
import torch

from sparse_model import activate
from sparse_model.head import max_logits, max_logits_dense


def _inputs(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(5, 7, 6, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(23, 6, generator=generator, dtype=dtype, requires_grad=True)
    bias = torch.randn(23, generator=generator, dtype=dtype, requires_grad=True)
    mask = torch.ones(5, 7, dtype=torch.long)
    for row, length in enumerate((7, 3, 1, 5, 7)):
        mask[row, length:] = 0
    return hidden, mask, weight, bias


@pytest.mark.parametrize("activation", ["relu", "l1_relu", "l2_relu", "l3_relu"])
def test_values_and_gradients_equal_dense_autograd(activation: str) -> None:
    outputs, gradients = [], []
    for head in (max_logits_dense, max_logits):
        hidden, mask, weight, bias = _inputs()
        weights = activate(head(hidden, mask, weight, bias), activation)
        (weights * torch.linspace(-1, 2, weights.numel()).view_as(weights)).sum().backward()
        outputs.append(weights)
        gradients.append((hidden.grad, weight.grad, bias.grad))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-6, atol=1e-6)
    for ours, dense in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-6, atol=1e-6)


def test_gradcheck_in_double_precision() -> None:
    hidden, mask, weight, bias = _inputs(torch.float64)
    assert torch.autograd.gradcheck(lambda h, w, b: max_logits(h, mask, w, b), (hidden, weight, bias))


def test_padding_changes_nothing() -> None:
    hidden, mask, weight, bias = (t.detach() for t in _inputs())
    longer = torch.cat([hidden, 1e6 * torch.ones(5, 4, 6)], dim=1)
    longer_mask = torch.cat([mask, torch.zeros(5, 4, dtype=torch.long)], dim=1)
    same = max_logits(longer, longer_mask, weight, bias)
    torch.testing.assert_close(same, max_logits(hidden, mask, weight, bias), rtol=0, atol=0)


def test_a_tie_gives_its_gradient_to_the_first_token() -> None:
    """Both tokens have h·w = 2; the dense amax would give each half."""
    hidden = torch.full((1, 2, 1), 2.0, requires_grad=True)
    max_logits(hidden, torch.ones(1, 2), torch.ones(1, 1), torch.zeros(1)).sum().backward()
    assert hidden.grad is not None and hidden.grad.flatten().tolist() == [1.0, 0.0]


def test_low_precision_product_keeps_float32_outputs() -> None:
    hidden, mask, weight, bias = (t.detach() for t in _inputs())
    exact = max_logits(hidden, mask, weight, bias)
    low = max_logits(hidden, mask, weight, bias, torch.bfloat16)
    assert low.dtype == torch.float32
    assert 0 < (low - exact).abs().max() < 0.1


def test_backward_keeps_nothing_of_size_n_l_v() -> None:
    """What autograd saves: the inputs, and one winner for each document and entry."""
    hidden, mask, weight, bias = _inputs()
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        max_logits(hidden, mask, weight, bias)
    assert sizes and max(sizes) <= max(hidden.numel(), weight.numel(), 5 * 23) < 5 * 7 * 23
