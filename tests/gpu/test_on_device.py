"""What a GPU has to compute as a CPU does: the head in each precision, encoding, training, teachers."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

import sparse_model
from sparse_model.device import HALVES
from sparse_model.head import positive_logits, positive_logits_dense
from tests.conftest import SENTENCES
from tests.processes import free_port
from tests.training.runs import NO_DROPOUT, lines, weights, words_for

LENGTHS = [1, 3, 40, 129, 256, 17]
ROOT = Path(__file__).resolve().parents[2]


def _inputs(device: str, vocabulary: int, hidden: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(sum(LENGTHS), hidden, generator=generator)
    weight = torch.randn(vocabulary, hidden, generator=generator) / hidden**0.5
    bias = torch.randn(vocabulary, generator=generator) - 2
    return tuple(t.to(device).requires_grad_() for t in (states, weight, bias))  # type: ignore[return-value]


def _padded(states: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.nn.utils.rnn.pad_sequence(states.split(LENGTHS), batch_first=True)
    mask = torch.arange(max(LENGTHS), device=states.device) < torch.tensor(LENGTHS, device=states.device).unsqueeze(1)
    return rows, mask


@pytest.mark.parametrize("vocabulary", [1000, 30522])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int8], ids=str)
def test_head_values_and_gradients(device: str, dtype: torch.dtype, vocabulary: int) -> None:
    """Against the dense form in float64 on the CPU; float32 to 1e-5, screened (int8) too; halves to what they round."""
    parts = _inputs(device, vocabulary)
    low = dtype in HALVES
    with torch.autocast(device, dtype=dtype if low else torch.bfloat16, enabled=low):
        values = positive_logits(parts[0], LENGTHS, parts[1], parts[2], None if dtype == torch.float32 else dtype)
    upstream = torch.rand(values.shape, generator=torch.Generator().manual_seed(1)).to(device)
    values.float().backward(upstream)
    exact = [p.detach().double().cpu().requires_grad_() for p in parts]
    expected = positive_logits_dense(*_padded(exact[0]), exact[1], exact[2])
    expected.backward(upstream.double().cpu())
    bound = 3e-2 if low else 1e-5
    assert values.dtype == torch.float32
    assert (values.detach().double().cpu() - expected.detach()).abs().max() < bound
    for ours, theirs in zip(parts, exact, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        off = (ours.grad.double().cpu() - theirs.grad).norm() / theirs.grad.norm()
        assert off < (0.2 if low else 1e-5)  # in half precision another token may be the highest by a hair


def test_encoding_is_the_cpus(device: str, tiny_model: Path) -> None:
    expected = sparse_model.load(tiny_model).encode_documents(SENTENCES)
    found = sparse_model.load(tiny_model).to(device).encode_documents(SENTENCES)
    assert abs(found - expected).max() < 1e-5


def _run(argv: list[str], device: str, *launcher: str) -> None:
    done = subprocess.run(_command(argv, device, *launcher), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def _command(argv: list[str], device: str, *launcher: str) -> list[str]:
    more = ["use_cpu=true"] if device == "cpu" else []
    return [sys.executable, *launcher, str(ROOT / "train_ir.py"), *argv, *more]


@pytest.mark.process
@pytest.mark.parametrize("precision", ["fp16=true", "bf16=true", ""])
def test_training_goes_on_after_a_kill(
    device: str, precision: str, tiny_model: Path, posnegs_file: Path, tmp_path: Path
) -> None:
    """20 steps, killed with -9 once a checkpoint is there: the weights of a run that was left alone, bit for bit."""
    more = [precision] if precision else []
    more += ["max_steps=20", "save_strategy=steps", "save_steps=5", "dataloader_num_workers=0"]
    argv = {name: words_for(tiny_model, posnegs_file, tmp_path / name, *more) for name in ("alone", "killed")}
    _run(argv["alone"], device)
    process = subprocess.Popen(_command(argv["killed"], device), cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "killed").glob("checkpoint-*/complete.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _run(argv["killed"], device)
    for name, weight in weights(tmp_path / "alone").items():
        assert torch.equal(weights(tmp_path / "killed")[name], weight), name
    assert lines(tmp_path / "killed")[-1]["step"] == 20


@pytest.mark.process
def test_two_processes_on_one_device(device: str, tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    """Over gloo, since nccl refuses two processes on one GPU: the weights of one process with both batches."""
    more = [NO_DROPOUT, "max_steps=4", "ddp_backend=gloo"]
    argv = words_for(tiny_model, posnegs_file, tmp_path / "one", *more)
    _run(argv, device)
    half = [word.replace("batch_size=4", "batch_size=2") for word in words_for(
        tiny_model, posnegs_file, tmp_path / "two", *more
    )]  # fmt: skip
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    _run(half, device, *launcher)
    for name, weight in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], weight, rtol=1e-3, atol=1e-5, msg=name)


def test_every_trained_parameter_has_a_gradient(device: str, tiny_model: Path) -> None:
    """Else data-parallel training would wait for it."""
    encoder = sparse_model.load(tiny_model).to(device).train()
    rows = encoder.tokenize_documents(SENTENCES)
    ids, mask = (t.to(device) for t in encoder.pad(rows))
    encoder.document_weights(ids, mask, [len(row) for row in rows]).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []
