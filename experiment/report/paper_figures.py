"""The figures that the paper and the authors' model pages report, beside ours where the data sets are the same.

Source: Shen, Geng and Yang, SIGIR 2025 (arXiv 2504.14839): averages over BEIR; the released models' pages: averages
over 13 BEIR sets, with FLOPS.
"""

from collections.abc import Sequence

from experiment.report.parts import Cell, Section, Table
from experiment.report.result_tables import number
from experiment.report.runs import NOT_TRAINED, PLAIN, RunResults
from experiment.report.systems import System
from retrieval.dataset_names import BEIR_13
from retrieval.metrics import PRIMARY

# NDCG@10 in percent, by the kind of run that it belongs to.
PAPER = {
    PLAIN: ("SPLADE-doc-distill", 45.02),
    "ℓ0 mask": ("ℓ0 mask", 50.43),
    "ℓ0 mask + ℓ0 activation": ("ℓ0 mask + ℓ0 activation", 50.28),
}
# NDCG@10 in percent and FLOPS of opensearch-project/opensearch-neural-sparse-encoding-…
RELEASED = {
    "doc-v1": (49.0, 2.3),
    "doc-v2-mini": (49.7, 1.7),
    "doc-v2-distill": (50.4, 1.8),
    "doc-v3-distill": (51.7, 1.8),
    "doc-v3-gte": (54.6, 1.7),
    "v1": (52.4, 11.4),
    "v2-distill": (52.8, 8.3),
}
SIAMESE = ("v1", "v2-distill")
PREFIX = "opensearch-neural-sparse-encoding-"


def published_section(systems: Sequence[System]) -> Section:
    """The reported figures, and each system on exactly the 13 data sets beside the figure for its kind of run."""
    reported = [[Cell(f"{name} (paper)"), number(ndcg, ".2f"), Cell("–")] for name, ndcg in PAPER.values()]
    siamese = {name: ", siamese" if name in SIAMESE else "" for name in RELEASED}
    reported += [
        [Cell(f"{PREFIX}{name} (released{siamese[name]})"), number(ndcg, ".1f"), number(flops, ".1f")]
        for name, (ndcg, flops) in RELEASED.items()
    ]
    same = [system for system in systems if set(system.datasets) == set(BEIR_13)]
    tables = [Table("Reported", ["model", "NDCG@10 %", "FLOPS"], reported, folded=not same)]
    text = [f"Reported averages are over {len(BEIR_13)} BEIR data sets: {', '.join(BEIR_13)}."]
    if same:
        heads = ["run", "compared to", "NDCG@10 %", "reported", "ours - reported", "FLOPS", "reported FLOPS"]
        tables.insert(0, Table("Ours", heads, [_line(system) for system in same], align="<<>"))
    else:
        ours = sorted({", ".join(system.datasets) for system in systems if system.datasets})
        text.append(
            "No run here is an average over exactly these, so none is comparable with them; ours are over "
            f"{' | '.join(ours) or 'nothing'}."
        )
    return Section("The paper's figures and ours", text, tables)


def _line(system: System) -> list[Cell]:
    ndcg, flops = (system.figure(key, BEIR_13) for key in (PRIMARY, "flops"))
    name, reported, reported_flops = _counterpart(system)
    ours = None if ndcg is None else 100 * ndcg
    difference = None if ours is None or reported is None else ours - reported
    figures = [number(ours, ".2f"), number(reported, ".2f"), number(difference, "+.2f")]
    return [Cell(system.name), Cell(name), *figures, number(flops, ".3f"), number(reported_flops, ".1f")]


def _counterpart(system: System) -> tuple[str, float | None, float | None]:
    """(name, NDCG@10 in percent, FLOPS) of what was reported for this kind of run, or for this very model."""
    model = _released(system.run)
    if model in RELEASED and system.kind == NOT_TRAINED:
        return PREFIX + model, *RELEASED[model]
    name, ndcg = PAPER.get(system.kind, ("nothing reported", None))
    return name, ndcg, None


def _released(run: RunResults) -> str:
    return str(run.config.get("model_name_or_path") or "").rpartition("/")[2].removeprefix(PREFIX)
