"""The kernels, compiled for NVIDIA's GPUs of several generations by the compiler that Triton carries."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sparse_model import head_kernel

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(bool(os.environ.get("TRITON_INTERPRET")), reason="nothing is compiled for the interpreter"),
]

NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.int8: "i8"}
VOLTA, AMPERE, HOPPER = 70, 80, 90
_NUMBERS = {"starts": "i32", "listed": "i32", "columns": "i64", "tokens": "i32"}


@pytest.fixture(autouse=True, scope="module")
def _nothing_kept(tmp_path_factory: pytest.TempPathFactory) -> None:
    triton.knobs.cache.dir = str(tmp_path_factory.mktemp("kernels"))


def _compiled(kernel: Any, signature: dict[str, str], constants: dict[str, Any], generation: int) -> Any:
    """The kernel for pointers that are multiples of 16, as torch's are."""
    aligned = {
        (kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in signature if signature[name][0] == "*"
    }
    signature = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
    options = head_kernel.OPTIONS if "WINNERS" in constants else {}
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", generation, 32), options=options)


def _highest(
    dtype: torch.dtype, generation: int, precision: str = "ieee", size: int = 768, listed: bool = False
) -> Any:
    from sparse_model.triton_kernels import highest_products

    integers = dtype == torch.int8
    pointers = {"hidden": NAMES[dtype], "weight": NAMES[dtype], "values": "i32" if integers else "fp32"}
    signature = {name: f"*{kind}" for name, kind in {**pointers, **_NUMBERS}.items()}
    blocks = head_kernel.block_sizes(dtype, size, 256)
    constants = {"D": size, "LISTED": listed, "WINNERS": not integers, "PRECISION": precision, **blocks}
    return _compiled(highest_products, signature | {"N": "i32", "V": "i32"}, constants, generation)


def _spilled(compiled: Any, folder: Path) -> int:
    """Bytes a thread keeps in memory since its registers do not suffice."""
    (folder / "kernel.cubin").write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    says = subprocess.run([tool, "-res-usage", folder / "kernel.cubin"], capture_output=True, text=True, check=True)
    return int(says.stdout.split("STACK:")[1].split()[0])


@pytest.mark.parametrize("generation", [AMPERE, HOPPER])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8])
def test_the_maximum_is_computed_on_tensor_cores_and_in_registers(
    dtype: torch.dtype, generation: int, tmp_path: Path
) -> None:
    compiled = _highest(dtype, generation)
    assert ("wgmma.mma_async" if generation == HOPPER else "mma.sync") in compiled.asm["ptx"]
    assert _spilled(compiled, tmp_path) == 0


@pytest.mark.parametrize("generation", [AMPERE, HOPPER])
def test_the_few_that_pass_a_screen_are_computed_in_float32_and_in_registers(generation: int, tmp_path: Path) -> None:
    compiled = _highest(torch.float32, generation, listed=True)
    assert "mma" not in compiled.asm["ptx"] and "fma.rn.f32" in compiled.asm["ptx"]
    assert _spilled(compiled, tmp_path) == 0


def test_float32_is_rounded_to_tf32_where_that_is_asked_only() -> None:
    assert "tf32" in _highest(torch.float32, AMPERE, "tf32").asm["ptx"]
    exact = _highest(torch.float32, AMPERE).asm["ptx"]
    assert "mma" not in exact and "tf32" not in exact and "fma.rn.f32" in exact


def test_volta_can_be_compiled_for_but_is_not_chosen() -> None:
    """Triton has no tensor cores there; `pays` leaves it to cuBLAS."""
    assert "mma" not in _highest(torch.float32, VOLTA, size=128).asm["ptx"]


@pytest.mark.parametrize("generation", [VOLTA, AMPERE, HOPPER])
def test_sums_of_rows(generation: int, tmp_path: Path) -> None:
    from sparse_model.triton_kernels import summed_rows

    names = {"starts": "i32", "columns": "i64", "factors": "fp32", "dense": "fp32", "sums": "fp32"}
    signature = {name: f"*{kind}" for name, kind in names.items()} | {"D": "i32"}
    constants = {"BLOCK_K": head_kernel.BLOCK_K, "BLOCK_D": head_kernel.BLOCK_COLUMNS}
    assert _spilled(_compiled(summed_rows, signature, constants, generation), tmp_path) == 0
