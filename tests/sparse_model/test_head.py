"""The head against plain dense autograd: values, gradients, lengths, precision, and the screen under attack."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparse_model import activate, head
from sparse_model.head import Head, Screen, positive_logits, positive_logits_dense

LENGTHS = [7, 3, 1, 5, 7]


def _inputs(dtype: torch.dtype = torch.float32, seed: int = 0, bias: float = 0.0) -> tuple[Tensor, ...]:
    """Hidden states [N, L, D] of N documents (the padding is rubbish), mask [N, L], output weights and bias."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(5, 7, 6, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(23, 6, generator=generator, dtype=dtype, requires_grad=True)
    bias_V = (torch.randn(23, generator=generator, dtype=dtype) + bias).requires_grad_()
    mask = (torch.arange(7) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    return hidden, mask, weight, bias_V


def _ours(hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return positive_logits(hidden[mask.bool()], mask.sum(1).tolist(), weight, bias, dtype)


@pytest.fixture(params=["screened", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways on every CPU: one without instructions for 8-bit products is slow, not wrong, at this size."""
    monkeypatch.setattr(head, "screening_pays", lambda device: request.param == "screened")
    monkeypatch.setattr(head, "CPU_TOKENS", 11)  # several chunks, several tiles
    monkeypatch.setattr(head, "CPU_TILE", 11 * 64)
    return request.param


@pytest.mark.parametrize("bias", [0.0, -6.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("activation", ["relu", "l1_relu", "l2_relu", "l3_relu"])
def test_values_and_gradients_equal_dense_autograd(way: str, activation: str, bias: float) -> None:
    outputs, gradients = [], []
    for function in (positive_logits_dense, _ours):
        hidden, mask, weight, bias_V = _inputs(bias=bias)
        weights = activate(function(hidden, mask, weight, bias_V), activation)
        (weights * torch.linspace(-1, 2, weights.numel()).view_as(weights)).sum().backward()
        outputs.append(weights)
        gradients.append((hidden.grad, weight.grad, bias_V.grad))
    assert outputs[0].any()
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-6, atol=1e-6)
    for ours, dense in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(ours, dense, rtol=1e-6, atol=1e-6)


def test_both_ways_find_the_same_entries_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a realistic size, where the screen leaves out nearly everything."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(700, 32, generator=generator)
    weight = torch.randn(3000, 32, generator=generator)
    bias = torch.full((3000,), -24.0)
    found = []
    for screened in (True, False):
        monkeypatch.setattr(head, "screening_pays", lambda _, answer=screened: answer)
        found.append(Head(weight, bias).active(hidden, [300, 1, 399]))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)
    candidates = Screen(weight, bias)(hidden, [(0, 300), (300, 301), (301, 700)])
    assert 0 < len(found[0].entries) <= candidates.sum() < 0.1 * candidates.numel()


def test_gradcheck_in_double_precision() -> None:
    hidden, mask, weight, bias = _inputs(torch.float64)
    assert torch.autograd.gradcheck(lambda h, w, b: _ours(h, mask, w, b), (hidden, weight, bias))


def test_a_tie_gives_its_gradient_to_the_first_token(way: str) -> None:
    """Both tokens have h·w = 2; the dense amax would give each half."""
    hidden = torch.full((2, 1), 2.0, requires_grad=True)
    positive_logits(hidden, [2], torch.ones(1, 1), torch.zeros(1)).sum().backward()
    assert hidden.grad is not None and hidden.grad.flatten().tolist() == [1.0, 0.0]


def test_low_precision_product_keeps_float32_outputs() -> None:
    hidden, mask, weight, bias = (t.detach() for t in _inputs())
    exact = _ours(hidden, mask, weight, bias)
    low = _ours(hidden, mask, weight, bias, torch.bfloat16)
    assert low.dtype == torch.float32
    assert 0 < (low - exact).abs().max() < 0.1


def test_dense_outputs_leave_the_screen_after_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    screen = Screen.__call__
    monkeypatch.setattr(Screen, "__call__", lambda self, h, spans: calls.append(len(spans)) or screen(self, h, spans))
    monkeypatch.setattr(head, "screening_pays", lambda _: True)
    hidden, mask, weight, bias = (t.detach() for t in _inputs(bias=3.0))
    torch.testing.assert_close(_ours(hidden, mask, weight, bias), positive_logits_dense(hidden, mask, weight, bias))
    assert calls == [1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([4, 34, 128, 384]), st.integers(-60, 30), st.integers(-30, 30))
def test_no_active_entry_escapes_the_screen(seed: int, size: int, scale_h: int, scale_w: int) -> None:
    """Attack: logits just above zero whose rounding errors all point down.

    Terms come in pairs, one positive and one negative, that nearly cancel, so that no bias is needed which is
    large beside the errors. The first pair sets the size of a step. Every further h and w of a positive term lies
    just below the middle between two steps and is rounded down by nearly half a step; of a negative term just
    above, and is rounded up.
    """
    generator = torch.Generator().manual_seed(seed)
    sign = torch.tensor([1.0, -1.0]).repeat(size // 2)

    def worst(rows: int) -> Tensor:
        grid = torch.randint(32, 126, (rows, size // 2), generator=generator).float()
        steps = grid.repeat_interleave(2, dim=1) + (0.5 - 0.002 * sign)
        steps[:, :2] = 127
        return steps

    h, w = worst(1) * 2.0**scale_h, worst(16) * sign * 2.0**scale_w
    terms = h.double() * w.double()
    # An exact logit of 2⁻²⁰ of its terms' size: above zero in float32 too, and far below the errors of 8 bits.
    bias = (2.0**-20 * terms.abs().sum(dim=1) - terms.sum(dim=1)).float()
    assert (h @ w.T + bias > 0).all()
    rounded = (h / 2.0**scale_h).round() @ (w / 2.0**scale_w).round().T * 2.0 ** (scale_h + scale_w)
    assert (rounded + bias < 0).all()  # the attack works: without a bound these would be lost
    assert Screen(w, bias)(h, [(0, 1)]).all()


@pytest.mark.parametrize("where", ["hidden", "weight", "bias"])
def test_a_number_that_is_not_finite_is_not_hidden_by_the_screen(way: str, where: str) -> None:
    hidden, mask, weight, bias = (t.detach().clone() for t in _inputs(bias=-100.0))
    {"hidden": hidden[1, 0], "weight": weight[3], "bias": bias[3:4]}[where][:] = float("inf")
    assert not _ours(hidden, mask, weight, bias).isfinite().all() or where == "weight"
    {"hidden": hidden[1, 0], "weight": weight[3], "bias": bias[3:4]}[where][:] = float("nan")
    dense = positive_logits_dense(hidden, mask, weight, bias)
    assert torch.equal(_ours(hidden, mask, weight, bias).isnan(), dense.isnan())


def test_backward_keeps_nothing_of_size_n_l_v() -> None:
    """What autograd saves: the inputs, and where the active entries are."""
    hidden, mask, weight, bias = _inputs()
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        _ours(hidden, mask, weight, bias)
    assert sizes and max(sizes) <= max(hidden.numel(), weight.numel(), 5 * 23) < 5 * 7 * 23
