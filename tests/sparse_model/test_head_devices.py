"""The head as a GPU runs it, on a CPU: values, gradients, precision, and how often it waits for the device."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparse_model import SparseEncoder, activate, device, encoding, head, head_kernel, hidden, load, segments
from sparse_model.head import positive_logits, positive_logits_dense
from tests.conftest import SENTENCES

LENGTHS = [7, 1, 40, 3, 12]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices than a CPU do, several slices of the vocabulary and pieces of the gradients."""
    monkeypatch.setattr(head, "tiled", lambda device: False)
    monkeypatch.setattr(segments, "TILE", 64 * sum(LENGTHS))
    monkeypatch.setattr(segments, "GATHERED", 1000)


def _inputs(dtype: torch.dtype = torch.float32, size: int = 16, bias: float = -3.0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(sum(LENGTHS), size, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(150, size, generator=generator).to(dtype).requires_grad_()
    bias_V = (torch.randn(150, generator=generator) + bias).to(dtype).requires_grad_()
    return hidden, weight, bias_V


def _dense(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padded = torch.nn.utils.rnn.pad_sequence(hidden.split(LENGTHS), batch_first=True)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    return positive_logits_dense(padded, mask, weight, bias)


def _gradients(logits: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    weights = activate(logits, "l1_relu")
    return torch.autograd.grad((weights * torch.linspace(-1, 2, weights.numel()).view_as(weights)).sum(), leaves)


@pytest.mark.parametrize("bias", [4.0, -3.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("outputs", [1 << 28, 301], ids=["one piece", "two documents a piece"])
def test_values_and_gradients_equal_dense_autograd(bias: float, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "OUTPUTS", outputs)
    leaves = _inputs(bias=bias)
    ours, dense = positive_logits(leaves[0], LENGTHS, *leaves[1:]), _dense(*leaves)
    assert 0 < (ours > 0).sum() < ours.numel()
    torch.testing.assert_close(ours, dense, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(_gradients(ours, *leaves), _gradients(dense, *leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", device.HALVES)
def test_a_half_precision_product_is_summed_in_float32(dtype: torch.dtype) -> None:
    """Inputs rounded to the half precision and nothing after: to float32's rounding the dense form of rounded inputs.

    The gradients are those of the rounded product's winners and of inputs that were not rounded.
    """
    leaves = _inputs(size=128)
    rounded = [leaf.detach().to(dtype).float().requires_grad_() for leaf in leaves[:2]]
    ours, dense = positive_logits(leaves[0], LENGTHS, *leaves[1:], dtype), _dense(*rounded, leaves[2])
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, dense, rtol=1e-6, atol=1e-5)
    assert (ours - _dense(*leaves)).abs().max() > 1e-3
    mine = _gradients(ours, *leaves)
    for gradient, theirs in zip(mine, _gradients(dense, *rounded, leaves[2]), strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, theirs, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float64, *device.HALVES])
def test_inputs_of_other_precisions_keep_theirs(dtype: torch.dtype) -> None:
    leaves = _inputs(dtype)
    ours = positive_logits(leaves[0], LENGTHS, *leaves[1:])
    assert ours.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 2e-2
    torch.testing.assert_close(ours.double(), _dense(*leaves).double(), rtol=tolerance, atol=tolerance)


def test_the_first_of_the_tokens_that_tie_wins() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randint(0, 3, (sum(LENGTHS), 2), generator=generator).float()
    weight = torch.randint(-1, 2, (150, 2), generator=generator).float()
    values, tokens = segments.highest(hidden, LENGTHS, weight, winners=True)
    start = 0
    for row, products in enumerate((hidden @ weight.T).split(LENGTHS)):
        assert torch.equal(values[row], products.amax(dim=0))
        assert torch.equal(tokens[row], (products == values[row]).int().argmax(dim=0) + start)
        start += len(products)
    assert segments.highest(hidden, LENGTHS, weight, winners=False)[1] is None


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("where", ["hidden", "weight", "bias"])
def test_a_number_that_is_not_finite_is_seen(where: str, value: str) -> None:
    hidden, weight, bias = (leaf.detach().clone() for leaf in _inputs(bias=-100.0))
    {"hidden": hidden[8:9], "weight": weight[3], "bias": bias[3:4]}[where][:] = float(value)
    leaves = [hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    ours = positive_logits(hidden, LENGTHS, weight, bias)
    torch.testing.assert_close(ours, _dense(hidden, weight, bias), equal_nan=True)
    torch.autograd.grad(ours.sum(), leaves)


class Watched(TorchDispatchMode):
    """Counts what a GPU would make the host wait for, and refuses what other devices do not have."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique", "repeat_interleave")
    MISSING = ("sparse", "_int_mm", "segment_reduce", "to_dense", "coalesce", "addmm_sparse")

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []
        self.waits: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation.overloadpacket.__name__
        if any(part in name for part in self.MISSING):
            raise NotImplementedError(f"{name} is missing on this device")
        self.operations.append(name)
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or name.startswith(self.WAITS):
            self.waits.append(name)
        return operation(*args, **(kwargs or {}))


def test_the_watch_sees_what_it_is_to_see() -> None:
    numbers = torch.ones(3)
    with Watched() as watched:
        numbers[0].item()
        numbers[numbers > 0]
        bool((numbers > 0).any())
    assert len(watched.waits) == 3
    with Watched(), pytest.raises(NotImplementedError, match="sparse"):
        torch.sparse.mm(numbers.diag().to_sparse(), numbers.unsqueeze(1))


def test_the_host_waits_once_and_there_is_no_loop_over_documents() -> None:
    """The same operations whatever the number of documents."""
    operations = []
    for lengths in ([sum(LENGTHS)], LENGTHS, [1] * sum(LENGTHS)):
        leaves = _inputs(bias=-100.0)  # nothing active: how many pieces backward has depends on nothing else
        with Watched() as watched:
            _gradients(positive_logits(leaves[0], lengths, *leaves[1:]), *leaves)
        assert watched.waits == ["nonzero"]
        operations.append(watched.operations)
    assert operations[0] == operations[1] == operations[2]
    assert operations[0].count("scatter_reduce_") == 6  # 3 slices of the vocabulary, a maximum and a position each


def test_the_host_waits_once_where_a_screen_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """For how many candidates there are; those that turn out not to be above zero stay, with no value and gradient."""

    def highest_of(hidden: Tensor, lengths: list[int], weight: Tensor, documents: Tensor, entries: Tensor) -> Any:
        values, tokens = segments.highest(hidden, lengths, weight, winners=True)
        assert tokens is not None
        return values[documents, entries], tokens[documents, entries]

    def highest(hidden: Tensor, lengths: list[int], weight: Tensor, winners: bool) -> tuple[Tensor, None]:
        return segments.highest(hidden.float(), lengths, weight.float(), winners=False)[0].int(), None

    monkeypatch.setattr(head_kernel, "screens", lambda weight: True)
    monkeypatch.setattr(head_kernel, "highest", highest)
    monkeypatch.setattr(head_kernel, "highest_of", highest_of)
    leaves = _inputs(bias=-9.0)
    with Watched() as watched:
        ours = positive_logits(leaves[0], LENGTHS, *leaves[1:], torch.int8)
        gradients = torch.autograd.grad(ours.sum(), leaves)
    assert watched.waits == ["nonzero"]
    dense = _dense(*leaves)
    torch.testing.assert_close(ours, dense, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(gradients, torch.autograd.grad(dense.sum(), leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)
    active = head.Head(*(leaf.detach() for leaf in leaves[1:]), torch.int8).active(leaves[0].detach(), LENGTHS)
    assert (active.values > 0).sum() == (dense > 0).sum() < len(active.values)


@pytest.fixture
def encoder(tiny_model: Path) -> SparseEncoder:
    return load(tiny_model, max_seq_length=32)


@pytest.fixture
def batch(encoder: SparseEncoder) -> Iterator[dict[str, Any]]:
    rows = encoder.tokenize_documents(SENTENCES)
    input_ids, mask = encoder.pad(rows)
    yield {"input_ids": input_ids, "attention_mask": mask, "lengths": [len(row) for row in rows]}


def test_a_training_step_goes_without_sparse_and_8_bit_products(
    encoder: SparseEncoder, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward, backward and the optimizer's step, and the encoding after it: as on a CPU with all operations."""
    trained, gradients, norms = [], [], []
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    for tiled in (True, False):
        monkeypatch.setattr(head, "tiled", lambda _, tiled=tiled: tiled)
        encoder.load_state_dict(state)
        optimizer = torch.optim.SGD(encoder.mlm.parameters(), lr=0.1)
        optimizer.zero_grad()
        with nullcontext() if tiled else Watched():
            weights = encoder.document_weights(**batch)
            (weights @ torch.linspace(-1, 1, weights.shape[1])).square().sum().backward()
            norm = torch.nn.utils.clip_grad_norm_(encoder.mlm.parameters(), 1.0)
            gradients.append([p.grad.clone() for p in encoder.mlm.parameters()])
            norms.append(norm)
            optimizer.step()
            encoded = encoder.encode_documents(SENTENCES)
        trained.append((weights.detach(), *(p.detach().clone() for p in encoder.mlm.parameters()), encoded.toarray()))
    assert trained[0][0].any()
    torch.testing.assert_close(*norms, rtol=1e-6, atol=0)
    for ours, plain in zip(*gradients, strict=True):  # of a gradient whose norm is 1
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-6)
    for ours, plain in zip(*trained, strict=True):
        torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(plain), rtol=1e-5, atol=1e-5)


def test_the_product_follows_the_run_but_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast's precision, else that of the weights where it is a half one."""

    class Elsewhere:
        def __init__(self, kind: str, dtype: torch.dtype) -> None:
            self.device, self.dtype = torch.device(kind), dtype

    def chosen(kind: str, dtype: torch.dtype) -> torch.dtype | None:
        return device.half_precision(Elsewhere(kind, dtype))  # type: ignore[arg-type]

    for kind in ("cuda", "xpu", "mps"):
        assert chosen(kind, torch.float32) is None
        assert chosen(kind, torch.bfloat16) == torch.bfloat16
    assert chosen("cpu", torch.bfloat16) is None
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: True)
    for dtype in (torch.float16, torch.bfloat16):
        monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind, dtype=dtype: dtype)
        assert chosen("cuda", torch.float32) == dtype
        assert chosen("cpu", torch.float32) is None


def test_an_encoder_in_half_precision_multiplies_in_it(
    encoder: SparseEncoder, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training under autocast and in encoding with `encoding_dtype`; a precision that was asked for stays."""
    seen: list[torch.dtype | None] = []
    product = segments._product
    monkeypatch.setattr(segments, "_product", lambda h, w: seen.append(h.dtype) or product(h, w))
    monkeypatch.setattr(
        "sparse_model.encoder.half_precision",
        lambda weight: torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None,
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder.document_weights(**batch).dtype == torch.float32
    encoder.encoding_dtype = torch.float16
    encoder.encode_documents(SENTENCES)
    encoder.product_dtype = torch.bfloat16
    encoder.encode_documents(SENTENCES)
    encoder.encoding_dtype = encoder.product_dtype = None
    encoder.encode_documents(SENTENCES)
    assert list(dict.fromkeys(seen)) == [torch.bfloat16, torch.float16, torch.float32]


def test_tf32_is_as_torch_says() -> None:
    before = torch.get_float32_matmul_precision()
    assert not device.tf32_asked()
    try:
        torch.set_float32_matmul_precision("high")
        assert device.tf32_asked()
    finally:
        torch.set_float32_matmul_precision(before)
    assert not device.tf32_asked()


def test_a_machine_that_cannot_build_kernels_says_so_and_does_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here it is the GPU that is missing; without Triton, or without torch for GPUs, nothing is tried."""
    head_kernel._here.cache_clear()
    assert not head_kernel._here() and not caplog.records
    head_kernel._here.cache_clear()
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(head_kernel.importlib.util, "find_spec", lambda name: name)
    assert not head_kernel._here() and "Triton cannot build kernels here" in caplog.text
    head_kernel._here.cache_clear()


def test_the_kernel_is_chosen_where_its_product_is_on_tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    def pays(dtype: torch.dtype, generation: tuple[int, int] = (8, 0), cuda: bool = True) -> bool:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
        place = SimpleNamespace(dtype=dtype, is_cuda=cuda, device=None)
        return head_kernel.pays(place)  # type: ignore[arg-type]

    monkeypatch.setattr(head_kernel, "_here", lambda: True)
    assert pays(torch.bfloat16) and pays(torch.float16, (9, 0))
    assert not pays(torch.bfloat16, (7, 0)) and not pays(torch.bfloat16, cuda=False)
    assert not pays(torch.float32) and not pays(torch.float64)
    monkeypatch.setattr(head_kernel, "tf32_asked", lambda: True)
    assert pays(torch.float32) and not pays(torch.float64)
    monkeypatch.setattr(head_kernel, "_here", lambda: False)
    assert not pays(torch.bfloat16)


def test_a_batch_is_given_back_while_the_next_one_runs(encoder: SparseEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent, computed and fetched in that order, each a batch behind the one before; the rows stay the same."""
    events: list[str] = []
    states, rows = hidden.hidden_states, encoding._rows

    def finishing(*args: Any) -> Any:
        finish = rows(*args)
        return lambda: events.append("back") or finish()

    monkeypatch.setattr(hidden, "hidden_states", lambda *args: events.append("run") or states(*args))
    monkeypatch.setattr(encoding, "_rows", finishing)
    texts = SENTENCES[:3]
    together = encoder.encode_documents(texts)
    assert events == ["run", "back"]
    events.clear()
    encoder.max_seq_length = max(map(len, encoder.tokenize_documents(texts)))
    single = encoder.encode_documents(texts, batch_size=1)
    assert events == ["run", "run", "back", "run", "back", "back"]
    np.testing.assert_allclose(single.toarray(), together.toarray(), rtol=1e-5, atol=1e-6)
