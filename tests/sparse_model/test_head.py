"""The head against plain dense autograd: values, gradients, lengths, precision, and the screen under attack."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sparse_model import activate, head, screen
from sparse_model.head import Head, Screen, positive_logits, positive_logits_dense

LENGTHS = [7, 3, 1, 5, 7]


def _inputs(dtype: torch.dtype = torch.float32, seed: int = 0, bias: float = 0.0, size: int = 6) -> tuple[Tensor, ...]:
    """Hidden states [N, L, D] of N documents (the padding is rubbish), mask [N, L], output weights and bias."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(5, 7, size, generator=generator, dtype=dtype, requires_grad=True)
    weight = torch.randn(150, size, generator=generator, dtype=dtype, requires_grad=True)
    bias_V = (torch.randn(150, generator=generator, dtype=dtype) + bias).requires_grad_()
    mask = (torch.arange(7) < torch.tensor(LENGTHS).unsqueeze(1)).long()
    return hidden, mask, weight, bias_V


def _ours(hidden: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return positive_logits(hidden[mask.bool()], mask.sum(1).tolist(), weight, bias, dtype)


@pytest.fixture(params=["screened", "plain", "screened, 3 threads", "plain, 3 threads"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways on every CPU: one without instructions for 8-bit products is slow, not wrong, at this size."""
    monkeypatch.setattr(head, "screening_pays", lambda weight, _: "screened" in request.param and weight.shape[1] > 1)
    monkeypatch.setattr(head, "CPU_TOKENS", 11)  # several chunks
    monkeypatch.setattr(screen, "CPU_TILE", 11 * 64)  # several tiles
    threads = torch.get_num_threads()
    torch.set_num_threads(3 if "threads" in request.param else 1)
    yield request.param
    torch.set_num_threads(threads)


@pytest.mark.parametrize("bias", [0.0, -5.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("activation, size", [("relu", 6), ("l1_relu", 1), ("l2_relu", 2), ("l3_relu", 3)])
def test_values_and_gradients_equal_dense_autograd(way: str, activation: str, size: int, bias: float) -> None:
    outputs, gradients = [], []
    for function in (positive_logits_dense, _ours):
        hidden, mask, weight, bias_V = _inputs(bias=bias, size=size)
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
        monkeypatch.setattr(head, "screening_pays", lambda *_, answer=screened: answer)
        found.append(Head(weight, bias).active(hidden, [300, 1, 399]))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)
    candidates = Screen(weight, bias)(hidden, [(0, 300), (300, 301), (301, 700)])
    assert 0 < len(found[0].entries) <= candidates.sum() < 0.1 * candidates.numel()


@pytest.mark.slow
def test_gradcheck_in_double_precision() -> None:
    hidden, mask, weight, bias = _inputs(torch.float64)
    assert torch.autograd.gradcheck(lambda h, w, b: _ours(h, mask, w, b), (hidden, weight, bias))


def test_a_tie_gives_its_gradient_to_the_first_token(way: str) -> None:
    """Both tokens have h·w = 2; the dense amax would give each half."""
    hidden = torch.full((2, 2), 1.0, requires_grad=True)
    positive_logits(hidden, [2], torch.ones(1, 2), torch.zeros(1)).sum().backward()
    assert hidden.grad is not None and hidden.grad.tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_among_many_tokens_that_tie_the_first_wins() -> None:
    generator = torch.Generator().manual_seed(0)
    for length in range(60, 140):
        product = torch.randint(0, 4, (length, 40), generator=generator).float()
        values, tokens = head._max_over_tokens(product)
        assert torch.equal(values, product.amax(dim=0))
        assert torch.equal(tokens, (product == values).int().argmax(dim=0))


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
    monkeypatch.setattr(head, "screening_pays", lambda *_: True)
    hidden, mask, weight, bias = (t.detach() for t in _inputs(bias=3.0))
    torch.testing.assert_close(_ours(hidden, mask, weight, bias), positive_logits_dense(hidden, mask, weight, bias))
    assert calls == [1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([4, 34, 128, 384, 1042]), st.integers(-45, 30), st.integers(-30, 30))
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
    # Beside it, documents of other sizes share the rounding's step.
    three = torch.cat([h / 8, h, h / 2])
    assert Screen(w, bias)(three, [(0, 1), (1, 3)])[1].all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([2, 3, 7, 128]), st.integers(-140, 40), st.integers(-140, 40))
def test_nothing_that_float32_finds_above_zero_escapes(seed: int, size: int, scale_h: int, scale_w: int) -> None:
    """Any size of numbers, down to where squares and products vanish; zeros; no bias."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(9, size, generator=generator) * (torch.rand(9, 1, generator=generator) < 0.8) * 2.0**scale_h
    w = torch.randn(40, size, generator=generator) * (torch.rand(40, size, generator=generator) < 0.8) * 2.0**scale_w
    bias = torch.zeros(40)
    above = (h @ w.T).amax(dim=0) > 0
    assert not (above & ~Screen(w, bias)(h, [(0, 9)])[0]).any()


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("where", ["hidden", "weight", "bias"])
def test_a_number_that_is_not_finite_is_not_hidden_by_the_screen(way: str, where: str, value: str) -> None:
    hidden, mask, weight, bias = (t.detach().clone() for t in _inputs(bias=-100.0))
    {"hidden": hidden[1, 0], "weight": weight[3], "bias": bias[3:4]}[where][:] = float(value)
    dense = positive_logits_dense(hidden, mask, weight, bias)
    torch.testing.assert_close(_ours(hidden, mask, weight, bias), dense, equal_nan=True)


def test_autocast_does_not_reach_the_head(way: str) -> None:
    hidden, mask, weight, bias = (t.detach() for t in _inputs())
    expected = _ours(hidden, mask, weight, bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(_ours(hidden, mask, weight, bias), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_not_screened(dtype: torch.dtype) -> None:
    hidden, mask, weight, bias = (t.detach().to(dtype) for t in _inputs())
    assert Head(weight, bias).screen is None
    assert Head(weight, bias, torch.float32).screen is None
    values = _ours(hidden, mask.long(), weight, bias)
    dense = positive_logits_dense(hidden, mask.long(), weight, bias)
    torch.testing.assert_close(values, dense, rtol=2e-2, atol=6e-2)


def test_the_number_of_threads_is_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for threads to come, and after an error in a worker."""
    monkeypatch.setattr(head, "CPU_TOKENS", 1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        hidden, mask, weight, bias = (t.detach() for t in _inputs())
        for error in (False, True):
            if error:
                monkeypatch.setattr(head, "_max_over_tokens", lambda product: product.no_such_attribute)
            with pytest.raises(AttributeError) if error else nullcontext():
                _ours(hidden, mask, weight, bias)
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("lengths", [[], [3, 0], [2], [4]])
def test_lengths_that_are_not_the_tokens_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="3 tokens, but lengths"):
        positive_logits(torch.ones(3, 2), lengths, torch.ones(4, 2), torch.zeros(4))


def test_backward_keeps_nothing_of_size_n_l_v() -> None:
    """What autograd saves: the inputs, and where the active entries are."""
    hidden, mask, weight, bias = _inputs()
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        _ours(hidden, mask, weight, bias)
    assert sizes and max(sizes) <= max(hidden.numel(), weight.numel(), 5 * 150) < 5 * 7 * 150
