"""What every benchmark measures with: turns in one process, peak memory, the machine's limit; tables and JSON.

No command of its own. A row is a dict; `COLUMNS` says how its keys are shown.
"""

import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from retrieval.metrics import PRIMARY
from retrieval.tables import text_table
from sparse_model.head import screening_pays

Row = dict[str, Any]
PACKAGES = (
    *("torch", "transformers", "sentence-transformers", "tokenizers", "numpy", "scipy", "numba"),
    *("bm25s", "splade-index", "impact-index", "bmp"),
)


def side_by_side(
    contenders: dict[str, Callable[[], Any] | str],
    reference: str,
    rounds: int,
    enough_seconds: float = 60.0,
    outputs: dict[str, Any] | None = None,
    **common: Any,
) -> list[Row]:
    """A row for each contender: time and peak memory, and how many times the reference's they are better.

    All contenders take turns, `rounds` times after a warm-up, so that a slow spell of the machine meets them all.

    Args:
        contenders: name -> the call to measure, or a sentence that says why it cannot be.
        reference: the name of the contender whose median the others' are compared with.
        enough_seconds: a contender that has run for so long is left out of further rounds.
        outputs: gets what each contender's warm-up returns.
        common: goes into every row.
    """
    calls = {name: call for name, call in contenders.items() if not isinstance(call, str)}
    outputs = {} if outputs is None else outputs
    gc.collect()
    peaks = {}
    for name, call in calls.items():
        peaks[name], outputs[name] = _warm_up(call)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if sum(seconds[name]) < enough_seconds:
                started = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - started)
    rows: list[Row] = []
    for name, contender in contenders.items():
        row: Row = {**common, "name": name}
        if isinstance(contender, str):
            rows.append(row | {"missing": contender})
            continue
        times = seconds[name]
        row |= {"median_s": median(times), "min_s": min(times), "max_s": max(times), "rounds": len(times)}
        row["peak_bytes"] = peaks[name]
        if reference in calls:
            row["ratio"] = median(seconds[reference]) / row["median_s"]
            theirs, mine = peaks[reference], peaks[name]
            row["memory_ratio"] = theirs / mine if theirs and mine else None
        rows.append(row)
    return rows


def _warm_up(call: Callable[[], Any]) -> tuple[int | None, Any]:
    """The peak memory of the second call (what stays, as an optimizer's state, is there by then); what it returns."""
    call()
    return peak_bytes(call)


def peak_bytes(call: Callable[[], Any]) -> tuple[int | None, Any]:
    """What the process holds at the call's peak beyond what it held before (None where Linux does not tell), and
    what the call returns.
    """
    # What earlier calls freed is given back, else it would be used again unseen.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak (VmHWM) becomes what is held now
    except OSError:
        return None, call()
    before = _status_bytes("VmRSS")
    output = call()
    return max(1, _status_bytes("VmHWM") - before), output


def _status_bytes(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) * 1024


def gemm_peaks(size: int = 2048, tries: int = 5) -> dict[str, float]:
    """Operations a second of the fastest of some size³ products, in each precision: the machine's limit."""
    peaks = {}
    precisions = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if screen_precision() == "int8":
        precisions["int8"] = torch.int8
    for name, dtype in precisions.items():
        a, b = ((40 * torch.randn(size, size)).clamp(-127, 127).to(dtype) for _ in range(2))
        multiply = torch._int_mm if dtype == torch.int8 else torch.mm
        seconds = []
        for _ in range(tries):
            started = time.perf_counter()
            multiply(a, b)
            seconds.append(time.perf_counter() - started)
        peaks[name] = 2 * size**3 / min(seconds)
    return peaks


def screen_precision() -> str:
    """What the head's product is computed in: in 8-bit integers where this CPU has instructions for them."""
    return "int8" if screening_pays(torch.ones(2, 2), float("inf")) else "float32"


def machine() -> dict[str, Any]:
    """Processor, cores and threads, the head's precision, memory, system."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": name,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "head": screen_precision(),
        "memory_gb": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Python's, and those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def result(benchmark: str, settings: dict[str, Any], rows: list[Row], **more: Any) -> dict[str, Any]:
    """What a benchmark writes: its figures, and all that is needed to read them."""
    about = {"benchmark": benchmark, "machine": machine(), "versions": versions(), "settings": settings}
    return {**about, "rows": rows, **more}


def report(figures: dict[str, Any], json_file: str | None) -> int:
    """Print a benchmark's result and write it to a file, if one is named; the exit code."""
    print(figures["machine"], figures["settings"], sep="\n")
    print(text_table(cells(figures["rows"]), align="<"), flush=True)
    if json_file:
        Path(json_file).parent.mkdir(parents=True, exist_ok=True)
        Path(json_file).write_text(json.dumps(figures, indent=1) + "\n")
        print(f"written: {json_file}", file=sys.stderr)
    return 0


# --- tables -----------------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """0.0123 -> 12.3 ms."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def size(n_bytes: float) -> str:
    """1_300_000_000 -> 1.3 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.3g} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"


def times(ratio: float) -> str:
    """12.34 -> 12.3 ×."""
    return f"{ratio:.0f} ×" if ratio >= 100 else f"{ratio:.3g} ×"


def count(number: float) -> str:
    """30522 -> 30,522."""
    return f"{number:,.0f}"


def small(number: float) -> str:
    """0.00000012 -> 1.2e-07."""
    return f"{number:.1e}" if number else "0"


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "case": ("case", str),
    "model": ("model", str),
    "top_k": ("top_k", str),
    "curve": ("grows", str),
    "x": ("to", count),
    "name": ("contender", str),
    "median_s": ("median", duration),
    "min_s": ("fastest", duration),
    "max_s": ("slowest", duration),
    "ratio": ("times faster", times),
    "peak_bytes": ("peak memory", size),
    "memory_ratio": ("times less", times),
    "documents_per_s": ("documents/s", lambda value: f"{value:.1f}"),
    "queries_per_s": ("queries/s", count),
    "ms_per_query": ("ms a query", lambda value: f"{value:.3f}"),
    "times_ours": ("time, ours = 1", lambda value: f"{value:.2f}"),
    "values_off": ("values off", small),
    "gradients_off": ("gradients off", small),
    "loss_off": ("loss off", small),
    PRIMARY: (PRIMARY.upper(), lambda value: f"{value:.4f}"),
    "active": ("active a document", count),
    "share": ("of the GEMM limit", lambda value: f"{value:.0%}"),
    "share_float32": ("of float32's", lambda value: f"{value:.0%}"),
    "recall": ("agreement", lambda value: f"{value:.3f}"),
    "build_seconds": ("built in", duration),
    "bytes_ratio": ("index / postings", lambda value: f"{value:.2f}"),
    "missing": ("note", str),
}
"""Key of a row -> (heading, how a value is written), in the order of the columns."""


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """Heading and rows as text, with the columns that have a value in some row."""
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    body = [["" if row.get(key) is None else COLUMNS[key][1](row[key]) for key in keys] for row in rows]
    return [[COLUMNS[key][0] for key in keys], *body]
