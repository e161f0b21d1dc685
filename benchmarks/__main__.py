"""All benchmarks one after another, each in a process of its own, and the page that shows them.

    python -m benchmarks [--quick] [--only head encode] [--ndcg] [--tiny FOLDER] [--minilm FOLDER]
        [--output output/benchmarks] [--page docs/performance.md]

Writes output/benchmarks/NAME.json, then docs/performance.md with its plots (benchmarks.page). At most 20 minutes on
two cores; --quick takes a few smaller ones to see that everything works, and writes its page beside its figures.
--ndcg scores SciFact in float32 and with a bfloat16 body, which takes minutes more.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import page

SMALL = ["--vocabulary", "2000"]
QUICK: dict[str, list[str]] = {
    "head": [*SMALL, "--documents", "4", "--length", "64", "--rounds", "2"],
    "training_step": [*SMALL, "--documents", "4", "--length", "64", "--rounds", "2"],
    "encode": [*SMALL, "--documents", "16", "--rounds", "1"],
    "search": ["--documents", "2000", "--queries", "50", "--rounds", "1"],
    "growth": [*SMALL, "--quick", "--rounds", "1"],
}
"""Every benchmark -> its options with --quick."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if a benchmark failed (the others are shown all the same)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=list(QUICK), default=list(QUICK), metavar="NAME")
    parser.add_argument("--ndcg", action="store_true", help="score SciFact, too")
    parser.add_argument("--tiny", metavar="FOLDER", help="a checkpoint of this size")
    parser.add_argument("--minilm", metavar="FOLDER", help="a checkpoint of this size")
    parser.add_argument("--output", type=Path, help="default: output/benchmarks; output/benchmarks-quick with --quick")
    parser.add_argument("--page", type=Path, help="default: docs/performance.md; in --output with --quick")
    asked = parser.parse_args(arguments)
    output = asked.output or Path("output", "benchmarks-quick" if asked.quick else "benchmarks")
    shown = asked.page or (output / "performance.md" if asked.quick else Path("docs", "performance.md"))
    failed = []
    for number, name in enumerate(asked.only, start=1):
        print(f"[{number}/{len(asked.only)}] {name}", flush=True)
        started = time.perf_counter()
        options = _options(name, asked) + (QUICK[name] if asked.quick else [])
        if _run(name, [*options, "--json", str(output / f"{name}.json")]):
            failed.append(name)
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    page.write(output, shown)
    print(f"page: {shown}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _options(name: str, asked: argparse.Namespace) -> list[str]:
    if name == "search" or asked.quick:
        return []
    named = [(f"--{size}", getattr(asked, size)) for size in ("tiny", "minilm")]
    options = [word for option, folder in named if folder for word in (option, folder)]
    return options + (["--ndcg"] if asked.ndcg and name == "encode" else [])


def _run(name: str, options: list[str]) -> int:
    Path(options[-1]).parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options]).returncode


if __name__ == "__main__":
    sys.exit(main())
