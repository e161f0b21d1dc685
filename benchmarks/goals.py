"""What the measurements should reach, and whether they do."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import encode, head, measure, training_step

# Two medians of one run that are as close as this are the same.
NOISE = 0.97

Results = dict[str, dict[str, Any]]


class Goal(NamedTuple):
    """A line of the goals' table."""

    what: str
    value: Callable[[Results], float | None]
    limit: float
    shown: Callable[[float], str]
    at_least: bool = True


def figure(benchmark: str, key: str, **match: Any) -> Callable[[Results], float | None]:
    """Reads `key` of the benchmark's first row that has these values; None where there is none."""

    def value(results: Results) -> float | None:
        rows = results.get(benchmark, {}).get("rows", [])
        return next((row.get(key) for row in rows if all(row.get(k) == v for k, v in match.items())), None)

    return value


def _against_low_peer(size: str) -> Callable[[Results], float | None]:
    """Ours in float32 against the peer under autocast: how many times faster."""
    ours, theirs = (
        figure("training_step", "median_s", model=size, name=name)
        for name in (training_step.OURS, training_step.PEER_LOW)
    )
    return lambda results: _quotient(theirs(results), ours(results))


def _ndcg_lost(results: Results) -> float | None:
    exact, low = (
        figure("encode", "ndcg@10", model="minilm", name=name)(results) for name in (encode.OURS, encode.OURS_LOW)
    )
    return None if exact is None or low is None else abs(exact - low)


def _search(key: str, worst: Callable[[list[float]], float]) -> Callable[[Results], float | None]:
    """A figure of our search, the worst over top_k."""

    def value(results: Results) -> float | None:
        rows = [row for row in results.get("search", {}).get("rows", []) if row["name"] == "this toolkit"]
        return worst([row[key] for row in rows]) if rows else None

    return value


def _best_exact_peer(results: Results) -> float | None:
    """The least `times_ours` of any exact peer at any top_k."""
    rows = results.get("search", {}).get("rows", [])
    peers = [row["times_ours"] for row in rows if row["exact"] and row["name"] != "this toolkit" and "top_k" in row]
    return min(peers, default=None)


def _steepest(kind: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        slopes = [curve[kind] for curve in results.get("growth", {}).get("exponents", {}).values()]
        return max((slope for slope in slopes if slope is not None), default=None)

    return value


def _against_plain(size: str) -> Callable[[Results], float | None]:
    """With most outputs active: how many times faster than without a screen at all."""
    active = {"model": size, "case": head.ACTIVE_CASE}
    ours = figure("head", "median_s", name=head.OURS, **active)
    plain = figure("head", "median_s", name=head.SCREEN_OFF, **active)
    return lambda results: _quotient(plain(results), ours(results))


def _quotient(a: float | None, b: float | None) -> float | None:
    return a / b if a and b else None


def _goals() -> list[Goal]:
    times, small, share = measure.times, measure.small, measure.COLUMNS["share"][1]
    goals = []
    few = {"case": head.SPARSE_CASE, "name": head.OURS}
    for size, faster in (("tiny", 10.0), ("minilm", 4.0)):
        what = f"head forward + backward against dense autograd, {size}: "
        goals.append(Goal(what + "faster", figure("head", "ratio", model=size, **few), faster, times))
        goals.append(Goal(what + "less memory", figure("head", "memory_ratio", model=size, **few), 15.0, times))
        goals.append(
            Goal(what + "gradients off", figure("head", "gradients_off", model=size, **few), 1e-6, small, False)
        )
    for size, faster, less in (("tiny", 8.0, 4.0), ("minilm", 2.5, 2.0)):
        what = f"training step against sentence-transformers, {size}: "
        ours = {"model": size, "name": training_step.OURS}
        goals.append(Goal(what + "faster", figure("training_step", "ratio", **ours), faster, times))
        goals.append(Goal(what + "less memory", figure("training_step", "memory_ratio", **ours), less, times))
        goals.append(Goal(what + "faster than its bfloat16 autocast", _against_low_peer(size), 1.0, times))
    tiny, minilm = {"model": "tiny", "name": encode.OURS}, {"model": "minilm", "name": encode.OURS_LOW}
    what = "encoding against sentence-transformers, "
    goals += [
        Goal(what + "tiny, float32-exact: faster", figure("encode", "ratio", **tiny), 5.0, times),
        Goal(what + "tiny: values off", figure("encode", "values_off", **tiny), 1e-6, small, False),
        Goal(what + "tiny: of float32's GEMM limit", figure("encode", "share_float32", **tiny), 0.75, share),
        Goal(what + "minilm, bfloat16 body: faster", figure("encode", "ratio", **minilm), 2.8, times),
        Goal(what + "minilm: NDCG@10 lost", _ndcg_lost, 0.002, lambda value: f"{value:.4f}", False),
        Goal(what + "minilm: of the GEMM limit", figure("encode", "share", **minilm), 0.75, share),
    ]
    off = {"case": head.NO_INT8_CASE, "name": head.SCREEN_OFF}
    for size in ("tiny", "minilm"):
        what = f"never slower than plain float32, {size}: "
        goals.append(Goal(what + "no 8-bit products", figure("head", "ratio", model=size, **off), NOISE, times))
        goals.append(Goal(what + "most outputs active", _against_plain(size), NOISE, times))
    goals += [
        Goal("exact search: queries/s", _search("queries_per_s", min), 2000.0, measure.count),
        Goal("exact search: faster than the best exact peer", _best_exact_peer, 1.0, times),
        Goal(
            "exact search: index / postings", _search("bytes_ratio", max), 1.2, measure.COLUMNS["bytes_ratio"][1], False
        ),
        Goal("growth: largest exponent of time", _steepest("time"), 1.1, lambda value: f"{value:.2f}", False),
        Goal("growth: largest exponent of memory", _steepest("memory"), 1.1, lambda value: f"{value:.2f}", False),
    ]
    return goals


def goals_table(results: Results) -> str:
    """What was to be reached, what was measured, and whether it is met."""
    lines = ["| what | goal | measured | |", "| --- | --- | --- | --- |"]
    for goal in _goals():
        value = goal.value(results)
        bound = f"{'≥' if goal.at_least else '≤'} {goal.shown(goal.limit)}"
        if value is None:
            lines.append(f"| {goal.what} | {bound} | not measured | |")
            continue
        met = value >= goal.limit if goal.at_least else value <= goal.limit
        lines.append(f"| {goal.what} | {bound} | {goal.shown(value)} | {'met' if met else '**not met**'} |")
    return "\n".join(lines)
