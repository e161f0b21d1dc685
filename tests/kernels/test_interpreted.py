"""The kernels as Triton's interpreter runs them on a CPU, beside the plain form.

The interpreter multiplies the bits of bfloat16 as integers: here numbers of that precision stand in float32, and that
the kernel takes bfloat16 itself is `test_compiled`'s to show.
"""

import os

import pytest
import torch
from torch import Tensor

from sparse_model import activate, head, head_kernel, segments
from sparse_model.head import positive_logits, positive_logits_dense

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not os.environ.get("TRITON_INTERPRET"), reason="TRITON_INTERPRET=1 is not set"),
]


def _inputs(lengths: list[int], size: int, vocabulary: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(sum(lengths), size, generator=generator)
    weight = torch.randn(vocabulary, size, generator=generator)
    if dtype == torch.int8:
        return (hidden * 30).clamp(-127, 127).to(dtype), (weight * 30).clamp(-127, 127).to(dtype)
    if dtype == torch.bfloat16:
        return hidden.to(dtype).float(), weight.to(dtype).float()
    return hidden.to(dtype), weight.to(dtype)


def _check(lengths: list[int], size: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> None:
    """Values to the rounding of float32's sums, positions exactly: no two tokens are as close as that."""
    hidden, weight = _inputs(lengths, size, vocabulary, dtype)
    values, tokens = head_kernel.highest(hidden, lengths, weight, winners=True)
    wide = (hidden.double(), weight.double()) if dtype == torch.int8 else (hidden.float(), weight.float())
    expected, expected_tokens = segments.highest(wide[0], lengths, wide[1], winners=True)
    assert values.dtype == (torch.int32 if dtype == torch.int8 else torch.float32)
    torch.testing.assert_close(values.to(expected.dtype), expected, rtol=1e-5, atol=1e-5 * size**0.5)
    if dtype == torch.int8:  # whose products tie
        assert torch.equal(values.double(), expected)
    assert tokens is not None and torch.equal(tokens, expected_tokens)
    again, none = head_kernel.highest(hidden, lengths, weight, winners=False)
    assert torch.equal(again, values) and none is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int8])
def test_values_and_positions_in_each_precision(dtype: torch.dtype) -> None:
    """Documents of one block, of several, and ones that end within a block; V is no multiple of a tile."""
    _check([1, 2, 16, 17, 129, 40], 128, 300, dtype)


@pytest.mark.parametrize("length", [1, 15, 128, 512])
def test_lengths(length: int) -> None:
    _check([length, 1], 128, 130, torch.float16)


@pytest.mark.parametrize("size", [1, 100, 312, 384, 768, 1024])
def test_hidden_sizes(size: int) -> None:
    """Those of small and large models, and some that are no multiple of a block: zeros fill it up."""
    _check([20, 3], size, 100, torch.float16)
    _check([3], size, 100)


def test_a_large_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger tiles, for the interpreter's sake; the plain form takes as many entries in several slices."""
    monkeypatch.setattr(head_kernel, "BLOCK_V", 1 << 15)
    monkeypatch.setattr(segments, "TILE", 23 * 50_000)
    _check([20, 3], 128, 250_002)


def test_the_first_of_the_tokens_that_tie_wins() -> None:
    """Within a block of tokens and between blocks."""
    generator = torch.Generator().manual_seed(0)
    lengths = [300, 5]
    hidden = torch.randint(0, 3, (305, 2), generator=generator).float()
    weight = torch.randint(-1, 2, (40, 2), generator=generator).float()
    ours = head_kernel.highest(hidden, lengths, weight, winners=True)
    for mine, plain in zip(ours, segments.highest(hidden, lengths, weight, winners=True), strict=True):
        assert mine is not None and plain is not None and torch.equal(mine, plain)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("row", [0, 50, 199])
def test_a_number_that_is_not_finite_is_seen(value: str, row: int) -> None:
    """Whatever block of tokens it is in; its token is one of the document's."""
    hidden, weight = _inputs([200, 30], 16, 140, torch.float32)
    hidden[row, 0] = float(value)
    values, tokens = head_kernel.highest(hidden, [200, 30], weight, winners=True)
    expected, _ = segments.highest(hidden, [200, 30], weight, winners=True)
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert tokens is not None and (tokens[0] >= 0).all() and (tokens[0] < 200).all() and (tokens[1] >= 200).all()


def test_where_all_is_minus_infinity_the_first_token_stands() -> None:
    hidden = torch.full((150, 1), float("-inf"))
    values, tokens = head_kernel.highest(hidden, [20, 130], torch.ones(3, 1), winners=True)
    assert tokens is not None and tokens.tolist() == [[0] * 3, [20] * 3] and (values == float("-inf")).all()


def test_sums_of_rows() -> None:
    """Rows without an entry, rows of more than a block, D beyond a block."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.randint(0, 9, (60,), generator=generator), torch.full((40,), 4)])
    columns = torch.randint(0, 30, (100,), generator=generator)
    factors, dense = torch.randn(100, generator=generator), torch.randn(30, 300, generator=generator)
    ours, plain = (form.row_sums(rows, columns, factors, dense, 12) for form in (head_kernel, segments))
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    assert not ours[9:].any()
    nothing = torch.zeros(0, dtype=torch.long)
    assert not head_kernel.row_sums(nothing, nothing, factors[:0], dense, 3).any()


def test_the_head_with_both_kernels_equals_dense_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "tiled", lambda device: False)
    monkeypatch.setattr(head_kernel, "pays", lambda hidden: True)
    monkeypatch.setattr(head_kernel, "sums_here", lambda values: True)
    monkeypatch.setattr(segments, "highest", None)
    monkeypatch.setattr(segments, "row_sums", None)
    lengths, results = [7, 1, 40], []
    hidden, weight = (rows.requires_grad_() for rows in _inputs(lengths, 16, 150, torch.float32))
    bias = torch.full((150,), -5.0, requires_grad=True)
    mask = torch.arange(40) < torch.tensor(lengths).unsqueeze(1)
    for ours in (True, False):
        padded = torch.nn.utils.rnn.pad_sequence(hidden.split(lengths), batch_first=True)
        logits = (
            positive_logits(hidden, lengths, weight, bias)
            if ours
            else positive_logits_dense(padded, mask, weight, bias)
        )
        loss = (activate(logits, "l1_relu") * torch.linspace(-1, 2, 450).view(3, 150)).sum()
        results.append([logits, *torch.autograd.grad(loss, (hidden, weight, bias))])
    assert 0 < (results[0][0] > 0).sum() < 450
    for mine, dense in zip(*results, strict=True):
        torch.testing.assert_close(mine, dense, rtol=1e-5, atol=1e-5)


def _winners(hidden: Tensor, lengths: list[int], weight: Tensor) -> Tensor:
    """[N, V]: the token of each maximum, among all documents' tokens."""
    tokens = torch.arange(len(hidden)).split(lengths)
    rows = zip(hidden.split(lengths), tokens, strict=True)
    return torch.stack([numbers[(states @ weight.T).argmax(dim=0)] for states, numbers in rows])


def _screened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "tiled", lambda device: False)
    monkeypatch.setattr(head, "screening_pays", lambda weight, tokens: False)
    monkeypatch.setattr(head_kernel, "screens", lambda weight: True)
    monkeypatch.setattr(head_kernel, "sums_here", lambda values: True)
    monkeypatch.setattr(segments, "highest", None)


@pytest.mark.parametrize(
    ("lengths", "bias"), [([7, 1, 40, 3], -2.5), ([130, 512, 20], -3.2), ([3, 9], -9.0)], ids=["", "blocks", "none"]
)
def test_screened_in_8_bits_it_equals_dense_autograd(
    lengths: list[int], bias: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, positions and gradients; documents with a block of candidates, with several, and with none."""
    _screened(monkeypatch)
    hidden, weight = (rows.requires_grad_() for rows in _inputs(lengths, 96, 700, torch.float32))
    bias_V = torch.full((700,), bias * 96**0.5, requires_grad=True)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    padded = torch.nn.utils.rnn.pad_sequence(hidden.split(lengths), batch_first=True)
    results = []
    for logits in (
        positive_logits(hidden, lengths, weight, bias_V, torch.int8),
        positive_logits_dense(padded, mask, weight, bias_V),
    ):
        loss = (activate(logits, "l1_relu") * torch.linspace(-1, 2, logits.numel()).view_as(logits)).sum()
        results.append([logits, *torch.autograd.grad(loss, (hidden, weight, bias_V))])
    for mine, dense in zip(*results, strict=True):
        torch.testing.assert_close(mine, dense, rtol=1e-5, atol=2e-5)
    ready = head.Head(weight.detach(), bias_V.detach(), torch.int8)
    candidates = ready.active(hidden.detach(), lengths)
    assert (results[0][0] > 0).sum() <= len(candidates.values) < 0.3 * 700 * len(lengths)
    assert len(candidates.values) > 128 or max(lengths) < 512
    winners = _winners(hidden.detach(), lengths, weight.detach())
    assert torch.equal(candidates.tokens, winners[candidates.documents, candidates.entries])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tokens_that_tie_and_numbers_that_are_not_finite_behind_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first token that ties, within a block of tokens and between blocks; NaN is a candidate everywhere."""
    _screened(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    lengths = [300, 5]
    hidden = torch.randint(0, 3, (305, 2), generator=generator).float()
    weight = torch.randint(-1, 2, (900, 2), generator=generator).float()
    weight[100:] = -1  # so that few pass
    active = head.Head(weight, torch.full((900,), -0.5), torch.int8).active(hidden, lengths)
    assert torch.equal(active.tokens, _winners(hidden, lengths, weight)[active.documents, active.entries])
    weight[7, 1] = float("nan")
    active = head.Head(weight, torch.full((900,), -0.5), torch.int8).active(hidden, lengths)
    assert active.documents[active.values.isnan()].tolist() == [0, 1]


def test_where_most_pass_the_screen_all_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "tiled", lambda device: False)
    monkeypatch.setattr(head_kernel, "screens", lambda weight: True)
    hidden, weight = _inputs([9, 4], 16, 150, torch.float32)
    ours, plain = (positive_logits(hidden, [9, 4], weight, torch.zeros(150), kind) for kind in (torch.int8, None))
    assert torch.equal(ours, plain)
