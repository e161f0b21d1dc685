"""The data card: README.md, summary.json (the same figures for programs) and two pictures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mining.rows import Recipe
from mining.statistics import Statistics, target_sharpness
from retrieval.files import write_atomically, write_json
from retrieval.tables import markdown_table

if TYPE_CHECKING:
    from datasets import Dataset

SHARPNESS_ROWS = 1000
SCORES_PICTURE, RANKS_PICTURE = "scores.png", "first_ranks.png"
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class About:
    """What the card says that the rows do not show."""

    dataset: str
    split: str
    miner: str
    """The model that found the candidates, or where these come from."""
    num_candidates: int
    """Candidates asked for, for each query."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """What the rows were made of, by name: hashes of data and models."""
    positives_added: int = 0
    """Judged positives that took the place of a candidate."""
    positives_left_out: int = 0
    """Judged positives beyond num_candidates."""
    published: bool = False
    """Rows that others chose: train_ir.py keeps those without a judged document too."""
    notes: tuple[str, ...] = ()


def write_card(
    folder: Path,
    output_dir: Path,
    key: str,
    statistics: Statistics,
    rows: "Dataset",
    recipe: Recipe,
    about: About,
    documents: int,
) -> dict[str, Any]:
    """Write card, summary and pictures into folder; the summary.

    Args:
        output_dir: where they will lie in the end: the path that the card names.
        key: stored in the summary, to tell whether the rows belong to some inputs.
        rows: all of them, for the pictures.
        documents: distinct documents in the rows.
    """
    from mining.card_pictures import ranks_picture, scores_picture  # brings matplotlib

    sharpness = target_sharpness(rows.select(range(min(SHARPNESS_ROWS, len(rows))))["scores"])
    summary = summarise(statistics, recipe, about, documents) | {"targets": sharpness, "key": key}
    names = [*(teacher.name for teacher in recipe.teachers), ENSEMBLE]
    n_queries = statistics.counts.queries
    scores = (_flat(rows, "teacher_scores", teacher.name) for teacher in recipe.teachers)
    pictured = scores_picture(names, chain(scores, [_flat(rows, "scores")]), _flat(rows, "labels"))
    (folder / SCORES_PICTURE).write_bytes(pictured)
    (folder / RANKS_PICTURE).write_bytes(ranks_picture(names, statistics.scorers, n_queries))
    write_json(folder / "summary.json", summary)
    write_atomically(folder / "README.md", card(summary, output_dir))
    return summary


def _flat(rows: "Dataset", column: str, field: str | None = None) -> np.ndarray:
    """A column of lists, or a field of a column of structs of lists, end to end."""
    chunks = rows.data.column(column).chunks
    lists = chunks if field is None else [chunk.field(field) for chunk in chunks]
    return np.concatenate([values.flatten().to_numpy(zero_copy_only=False) for values in lists])


def summarise(statistics: Statistics, recipe: Recipe, about: About, documents: int) -> dict[str, Any]:
    """The figures of summary.json."""
    counts = asdict(statistics.counts) | {
        "documents": documents,
        "positives_added": about.positives_added,
        "positives_left_out": about.positives_left_out,
    }
    scorers = [scorer.figures(statistics.counts.queries) for scorer in statistics.scorers]
    teachers = [
        asdict(teacher) | figures | {"constant_scopes": scorer.constant_scopes}
        for teacher, figures, scorer in zip(recipe.teachers, scorers, statistics.scorers, strict=False)
    ]
    return {
        "dataset": about.dataset,
        "split": about.split,
        "miner": about.miner,
        "num_candidates": about.num_candidates,
        "hashes": dict(about.hashes),
        "normalization": recipe.normalization,
        "normalization_scope": recipe.scope,
        "normalization_batch_size": recipe.batch_size,
        "counts": counts,
        "teachers": teachers,
        ENSEMBLE: scorers[-1],
        "published": about.published,
        "notes": list(about.notes),
    }


def card(summary: Mapping[str, Any], output_dir: Path) -> str:
    """README.md: what the rows are, where they come from, how good the teachers are on them, how to train on them."""
    counts = summary["counts"]
    sections = [
        f"# Distillation rows from {summary['dataset']} ({summary['split']})",
        f"{counts['queries']:,} queries with {counts['pairs']:,} documents and their scores, for `data_type: kd`. "
        "Documents come by combined score, highest first.",
        _columns(summary),
        "## Sources\n\n" + _sources(summary),
        "## Scores\n\n" + _normalisation(summary) + "\n\n" + _teachers(summary),
        f"![Histograms of the scores of every teacher and of the ensemble]({SCORES_PICTURE})",
        f"![Histograms of the rank of each query's first judged positive]({RANKS_PICTURE})",
        "## Counts\n\n" + _counts(counts, summary["num_candidates"]),
        "## Training",
        f"```\npython train_ir.py CONFIG.yaml train_file={output_dir} data_type=kd loss_types=kldiv\n```",
        "An example takes `sample_num_one_query` documents of a row, spread over the ranks; rows with a first_rank "
        + ("" if summary["published"] else "below 0 or ")
        + "above `first_rank_thresh` are left out.",
        _targets(summary["targets"]),
        *summary["notes"],
    ]
    return "\n\n".join(sections) + "\n"


def _targets(sharpness: Mapping[str, float]) -> str:
    pair, row = sharpness["of two documents"], sharpness["of a row"]
    return (
        "As targets at `score_scale: 1`, the likeliest of two documents of a row has a probability of "
        f"{pair:.2f}, that of a whole row {row:.2f} (medians). Near 0.5 of two, a model learns little from them: "
        "`score_scale: auto` brings their spread to that of the untrained model's scores."
    )


def _columns(summary: Mapping[str, Any]) -> str:
    meanings = {
        "query, docs": "texts",
        "scores": "the combined score of each document",
        "q_id, d_ids": f"ids in {summary['dataset']}",
        "first_rank": "the rank, from 0, of the first judged positive; -1 if there is none among them",
        "labels": "whether each document is judged relevant",
        "teacher_scores": "raw scores by teacher, in the order of docs",
    }
    return markdown_table([["column", "content"], *([f"`{name}`", meaning] for name, meaning in meanings.items())])


def _sources(summary: Mapping[str, Any]) -> str:
    rows = [
        ["data set", f"{summary['dataset']}, split {summary['split']}"],
        ["candidates", f"{summary['miner']}, {summary['num_candidates']} a query"],
        *([f"hash of {name}", f"`{value}`"] for name, value in summary["hashes"].items()),
    ]
    return markdown_table([["what", "which"], *rows])


def _normalisation(summary: Mapping[str, Any]) -> str:
    if summary["normalization"] == "none":
        return "Scores are the weighted mean of the teachers' raw scores."
    name = {"minmax": "min-max normalised", "zscore": "brought to mean 0 and standard deviation 1"}
    batch = f"each batch of {summary['normalization_batch_size']} consecutive queries"
    scope = {"batch": batch, "query": "each query"}[summary["normalization_scope"]]
    return (
        f"Each teacher's scores are {name[summary['normalization']]} over the candidates of {scope}; the score is the "
        "weighted mean over teachers. A teacher that scores all candidates of a scope alike is left out there."
    )


def _teachers(summary: Mapping[str, Any]) -> str:
    head = ["teacher", "model", "weight", "positive in front", "MRR@10", "mean rank", "constant scopes"]
    rows = [
        [t["name"], t["model"], f"{t['weight']:g}", *_quality(t), f"{t['constant_scopes']:,}"]
        for t in summary["teachers"]
    ]
    rows.append([f"**{ENSEMBLE}**", "", "", *_quality(summary[ENSEMBLE]), ""])
    explained = (
        "Positive in front: share of the queries whose best-scored document is judged relevant. Mean rank: of the "
        f"first judged positive, from 0, where there is one. Constant scopes: of {summary['counts']['scopes']:,}."
    )
    return markdown_table([head, *rows]) + "\n\n" + explained


def _quality(figures: Mapping[str, Any]) -> list[str]:
    rank = figures["mean_first_rank"]
    return [f"{figures['top_is_positive']:.1%}", f"{figures['mrr@10']:.3f}", "none" if rank is None else f"{rank:.1f}"]


def _counts(counts: Mapping[str, int], num_candidates: int) -> str:
    meanings = {
        "queries": "queries",
        "pairs": "pairs of query and document",
        "documents": "distinct documents",
        "positive_pairs": "pairs judged relevant",
        "queries_without_positive": "queries without a judged positive among their documents",
        "positives_added": "positives that were not found and took the place of a candidate",
        "positives_left_out": f"positives left out, since a query has more than {num_candidates}",
        "short_queries": f"queries with fewer than {num_candidates} documents",
    }
    rows = [[meaning, f"{counts[name]:,}"] for name, meaning in meanings.items()]
    return markdown_table([["what", "how many"], *rows])
