"""The page of all measurements, from the JSON files of the benchmarks: tables, plots.

    python -m benchmarks.page [output/benchmarks] [docs/performance.md]

A benchmark without a file is left out. What stands below the line KEPT in an earlier page (notes by hand) is kept.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import head, measure
from experiment.report.style import COLOURS, MARKERS, STYLE
from retrieval.tables import markdown_table

KEPT = "<!-- what follows is kept when this page is written anew -->"
SECTIONS = {
    "head": ("Head", "The vocabulary head, forward and backward, on 32 documents × 256 tokens."),
    "training_step": ("Training step", "Tokenisation, forward, loss, backward and AdamW."),
    "encode": ("Encoding", "From texts to sparse rows."),
    "search": ("Exact search", "Synthetic vectors with the term frequencies of real ones, queries weighed by IDF."),
    "growth": ("Growth", "One thing grows at a time; an exponent of 1 is linear."),
}
Results = dict[str, dict[str, Any]]
TOY = "A stand-in is a model of random weights with as many active outputs as a trained one, on made-up texts."


def write(folder: Path, page: Path) -> None:
    """The page and its plots (beside it), from folder/NAME.json."""
    files = {name: folder / f"{name}.json" for name in SECTIONS}
    results = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    page.parent.mkdir(parents=True, exist_ok=True)
    kept = page.read_text().partition(KEPT)[2] if page.is_file() else "\n"
    parts = ["# Performance", _introduction(results)]
    for name, figures in results.items():
        title, sentence = SECTIONS[name]
        parts += [f"## {title}", sentence, f"```\npython -m benchmarks.{name}\n```", _settings(figures["settings"])]
        parts += _pictures(name, figures, page)
        parts.append(markdown_table(measure.cells(figures["rows"])))
        if "exponents" in figures:
            parts.append(_exponents(figures["exponents"]))
    page.write_text("\n\n".join([*parts, KEPT]) + kept)


def _introduction(results: Results) -> str:
    if not results:
        return "Nothing was measured."
    about: dict[str, Any] = {}
    versions: dict[str, str] = {}
    for figures in results.values():
        about = figures["machine"] | about
        versions = figures["versions"] | versions
    return (
        f"Written by `make benchmark`. Contenders take turns in one process; medians, fastest and slowest of some "
        f"rounds. Peak memory is what a call needs beyond what the process held before it.\n\n"
        f"Machine: {_pairs(about)}.\n\nVersions: {_pairs(versions)}."
    )


def _settings(settings: dict[str, Any]) -> str:
    plain = {key: value for key, value in settings.items() if key != "gemm_flops"}
    text = f"Settings: {_pairs(plain)}."
    if "stand-in" in plain.values():
        text += f" {TOY}"
    if "gemm_flops" in settings:
        peaks = ", ".join(f"{flops / 1e9:.0f} GFLOP/s in {name}" for name, flops in settings["gemm_flops"].items())
        text += f" GEMM limit (2048³): {peaks}."
    return text


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_pairs(v) if isinstance(v, dict) else _plain(v)}" for key, v in values.items())


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _exponents(exponents: dict[str, dict[str, float | None]]) -> str:
    rows = [["grows", "exponent of time", "exponent of memory"]]
    for name, curve in exponents.items():
        rows.append([name, *("" if curve[kind] is None else f"{curve[kind]:.2f}" for kind in ("time", "memory"))])
    return markdown_table(rows)


# --- plots ------------------------------------------------------------------------------------------------------------


def _pictures(name: str, figures: dict[str, Any], page: Path) -> list[str]:
    """Draws the benchmark's plot beside the page; the line that shows it."""
    if name == "search" or not figures["rows"]:
        return []
    picture = page.with_name(f"{page.stem}_{name}.png")
    with matplotlib.rc_context(STYLE):
        drawn = _curves(figures["rows"]) if name == "growth" else _bars(figures["rows"])
        FigureCanvasAgg(drawn)
        drawn.savefig(
            picture,
            dpi=100,  # at most 100 kB each
            metadata={"Software": None},
            pil_kwargs={"optimize": True},
        )
    return [f"![{SECTIONS[name][0]}]({picture.name})"]


def _bars(rows: Sequence[measure.Row]) -> Figure:
    """Median time of each contender with its spread, a panel a case and model."""
    timed = [row for row in rows if "median_s" in row]
    panels = list(dict.fromkeys((row.get("case"), row["model"]) for row in timed))
    models_shown = list(dict.fromkeys(model for _, model in panels))
    cases = list(dict.fromkeys(case for case, _ in panels))
    drawn = Figure(figsize=(5.2 * len(models_shown), 0.4 + 2.3 * len(cases)), layout="constrained")
    grid = drawn.subplots(len(cases), len(models_shown), squeeze=False)
    for line, case in enumerate(cases):
        for column, model in enumerate(models_shown):
            axes = grid[line, column]
            shown = [row for row in timed if row.get("case") == case and row["model"] == model]
            for place, row in enumerate(reversed(shown)):
                ours = row["name"] in (head.SCREEN_OFF, head.LOW) or row["name"].startswith("this toolkit")
                spread = [[row["median_s"] - row["min_s"]], [row["max_s"] - row["median_s"]]]
                axes.barh(
                    place, row["median_s"], xerr=spread, color=COLOURS[0] if ours else COLOURS[1], ecolor="#444444"
                )
                axes.annotate(
                    measure.duration(row["median_s"]),
                    (row["max_s"], place),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                )
            names = [row["name"] for row in reversed(shown)]
            axes.set_yticks(range(len(names)), names if column == 0 else [""] * len(names))
            axes.set_title(model if case is None else f"{model}, {case}", loc="left", fontsize=11)
            axes.set_xlim(0, 1.25 * max(row["max_s"] for row in shown))
            axes.grid(visible=False, axis="y")
            axes.set_xlabel("seconds" if line == len(cases) - 1 else "")
    return drawn


def _curves(rows: Sequence[measure.Row]) -> Figure:
    """Time and memory over size, each relative to its curve's first point, with a line of slope 1."""
    drawn = Figure(figsize=(10, 4.6), layout="constrained")
    panels = drawn.subplots(1, 2)
    names = list(dict.fromkeys(row["curve"] for row in rows))
    for axes, key, title in zip(panels, ("median_s", "peak_bytes"), ("time", "peak memory"), strict=True):
        furthest = 1.0
        for index, name in enumerate(names):
            points = [(row["x"], row[key]) for row in rows if row["curve"] == name and row.get(key)]
            if points:
                xs, ys = ([value / values[0] for value in values] for values in zip(*points, strict=True))
                axes.plot(xs, ys, marker=MARKERS[index], color=COLOURS[index], label=name)
                furthest = max(furthest, *xs)
        axes.plot([1, furthest], [1, furthest], color="#888888", linestyle="--", label="linear")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("size, first point = 1")
        axes.set_ylabel("first point = 1")
    panels[0].legend(fontsize=9)
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    folder, page = words + ["output/benchmarks", "docs/performance.md"][len(words) :]
    write(Path(folder), Path(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
