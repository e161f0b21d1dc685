"""The headline: what is best, at which cost, by how much, and whether that is significant, in plain sentences."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiment.report.comparisons import family_area, family_curves, interval_words, query_draws
from experiment.report.costs import COSTS
from experiment.report.differences import Difference, differences_to, probability
from experiment.report.metric_names import heading
from experiment.report.query_scores import query_scores
from experiment.report.runs import BM25
from experiment.report.shapes import FREE
from experiment.report.systems import System

Found = dict[str, Difference]


def headline(systems: Sequence[System], baseline: System | None, datasets: tuple[str, ...]) -> list[str]:
    """The best model; the best at no more cost than the baseline's; how far the best is from BM25."""
    models = [s for s in systems if s.is_main and s.kind != BM25 and s.quality(datasets) is not None]
    if not models:
        return []
    best = max(models, key=lambda system: system.quality(datasets) or 0)
    metric = heading(best.metrics[0])
    where = f"on {datasets[0]}" if len(datasets) == 1 else f"as average over {len(datasets)} data sets"
    sentences = [f"Best {metric} {where}: {best.name}, {_figures(best, datasets)}."]
    if baseline is not None and baseline.kind != BM25 and baseline.quality(datasets) is not None:
        sentences += _at_no_more_cost(models, baseline, datasets)
    for bm25 in [s for s in systems if s.kind == BM25 and s.quality(datasets) is not None][:1]:
        found = _compared(bm25, [best], datasets)
        by = _by(best, bm25, found, datasets)
        sentences.append(f"Against {BM25} ({bm25.quality(datasets):.4f}), {by}.")
    return sentences


def against_free(systems: Sequence[System], datasets: tuple[str, ...]) -> list[str]:
    """What training gained over the start model cut to its heaviest tokens, at equal costs; or that it is not there."""
    trained = [s for s in systems if s.is_main and s.run.is_trained]
    curves, _ = family_curves(systems, datasets)
    if FREE not in curves:
        missing = "Not shown: the start model cut to its heaviest tokens, which costs no training"
        return [f"{missing} ({_free_command(trained[0].run.config)})."] if trained else []
    ours = {family: curves[family] for family in dict.fromkeys(s.family for s in trained) if family in curves}
    draws = query_draws([s for members in [curves[FREE], *ours.values()] for s in members], datasets)
    found = [_gain(ours, curves[FREE], key, datasets, draws) for key in COSTS]
    return [f"The start model, cut to its heaviest tokens without training: {'; '.join(filter(None, found))}."] * any(
        found
    )


def _free_command(config: Mapping[str, Any]) -> str:
    """The command that scores a run's start model cut: same data sets, query weights and length."""
    data_sets = config.get("beir_datasets")
    words = {
        "model_name_or_path": config.get("model_name_or_path"),
        "idf_path": config.get("idf_path"),
        "max_seq_length": config.get("eval_max_seq_length") or config.get("max_seq_length"),
        "beir_dir": config.get("beir_dir"),
        "beir_datasets": ",".join(map(str, data_sets)) if isinstance(data_sets, list) else data_sets,
        "max_active_dims": "null,96,64,48,32,24",
    }
    return shlex.join(["python", "evaluate_beir.py", *(f"{key}={value}" for key, value in words.items() if value)])


def _gain(
    ours: Mapping[str, list[System]],
    free: list[System],
    key: str,
    datasets: tuple[str, ...],
    draws: dict[str, np.ndarray],
) -> str:
    """The family that lies highest above the free curve, and by how much."""
    areas = {family: family_area(members, free, key, datasets, draws) for family, members in ours.items()}
    if not (known := {family: area for family, area in areas.items() if area}):
        return ""
    best = max(known, key=lambda family: known[family].mean)
    area = known[best]
    where = "above" if area.mean > 0 else "below"
    interval = f", 95 % {interval_words(area)}" if area.interval else ""
    return (
        f"at equal {COSTS[key].short} ({area.low:.3g} to {area.high:.3g}) the best family, {best}, lies "
        f"{abs(area.mean):.4f} {where} it (difference {area.mean:+.4f}{interval})"
    )


def _at_no_more_cost(models: Sequence[System], baseline: System, datasets: tuple[str, ...]) -> list[str]:
    limit = baseline.figure("flops", datasets)
    rivals = [s for s in models if s is not baseline and 0 < (s.figure("flops", datasets) or 0) <= (limit or 0)]
    if not rivals:
        return []
    found = _compared(baseline, [s for s in models if s is not baseline], datasets)
    named = f"the baseline, {baseline.name} ({_figures(baseline, datasets)})"
    lead = max(rivals, key=lambda system: system.quality(datasets) or 0)
    if (lead.quality(datasets) or 0) > (baseline.quality(datasets) or 0):
        return [f"At no more FLOPS than {named}, the best is {_told(lead, baseline, found, datasets)}."]
    as_good = [s for s in rivals if s.name in found and not found[s.name].is_significant]
    none = f"At no more FLOPS than {named}, none is better"
    if not as_good:
        return [f"{none}; nearest is {_told(lead, baseline, found, datasets)}."]
    cheapest = min(as_good, key=lambda system: system.figure("flops", datasets) or 0)
    return [f"{none}. The cheapest that is not significantly worse is {_told(cheapest, baseline, found, datasets)}."]


def _compared(baseline: System, systems: Sequence[System], datasets: tuple[str, ...]) -> Found:
    scores, _ = query_scores([baseline, *systems], datasets)
    return {one.system.name: one for one in differences_to(baseline, systems, datasets, scores)}


def _figures(system: System, datasets: tuple[str, ...]) -> str:
    """0.5344 at 1.89 FLOPS."""
    flops = system.figure("flops", datasets)
    return f"{system.quality(datasets):.4f}" + (f" at {flops:.3g} FLOPS" if flops is not None else "")


def _told(system: System, baseline: System, found: Found, datasets: tuple[str, ...]) -> str:
    """A system that costs no more than the baseline, with its share of the cost and its difference."""
    flops, limit = system.figure("flops", datasets) or 0, baseline.figure("flops", datasets) or 1
    saved = f" ({100 - 100 * flops / limit:.0f} % fewer)" if flops < 0.995 * limit else ""
    return f"{system.name}, {_figures(system, datasets)}{saved}: {_by(system, baseline, found, datasets)}"


def _by(system: System, baseline: System, found: Found, datasets: tuple[str, ...]) -> str:
    """By how much a system differs from the baseline: interval, and whether it is significant."""
    if (one := found.get(system.name)) is None:
        difference = (system.quality(datasets) or 0) - (baseline.quality(datasets) or 0)
        return f"the difference {difference:+.4f} is not tested, since figures of single queries are missing"
    verdict = "significant" if one.is_significant else "not significant"
    p = probability(one.p)
    return (
        f"the difference {one.result.mean:+.4f} (95 % interval {one.result.low:+.4f} to {one.result.high:+.4f}) is "
        f"{verdict} (p {p if p.startswith('<') else f'= {p}'})"
    )
