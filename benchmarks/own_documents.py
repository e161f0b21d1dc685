"""What the ladder is worth where real queries were held back.

    python -m benchmarks.own_documents files data/beir/medquad data/files/medquad
    python train_ir.py config/own_documents.yaml documents=data/files/medquad output_dir=output/own/medquad
    python -m benchmarks.own_documents score output/own/medquad data/beir/medquad --split test

`files` writes a corpus as plain files, without queries and judgements. `score` asks a run's passages (all judged
documents and some of the others, at most --passages) the real queries: NDCG@10 of every rung at every length; then how
well each kind of pseudo-query orders models as the real ones do (Spearman's rank correlation over the start and the
trained model × query weights × lexical shares). What was scored once stays in RUN/real.
"""

import argparse
import json
import logging
import random
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

from experiment.ladder.climb import Climb, Model
from experiment.ladder.judge import Judge, Judged, named
from experiment.settings.settings import load_settings
from retrieval.beir_data import load_beir
from retrieval.files import read_json
from retrieval.tables import text_table
from sparse_model.lexical import TrainedShare

SHARES = (0.0, 0.1, 0.25, 0.5, 1.0)


def write_files(beir: Path, out: Path, split: str, documents: int | None) -> int:
    """A .txt for each document, named by its id; how many.

    Args:
        documents: only so many, those that the split judges and some of the others; None: all.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (beir / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    judged = {line.split("\t")[1] for line in (beir / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]}
    others = [row["_id"] for row in rows if row["_id"] not in judged]
    random.Random(0).shuffle(others)
    kept = judged.union(others if documents is None else others[: max(0, documents - len(judged))])
    rows = [row for row in rows if row["_id"] in kept]
    for row in rows:
        title = (row.get("title") or "").strip()
        text = f"{title}\n\n{row['text']}" if title else row["text"]
        (out / f"{row['_id']}.txt").write_text(text, encoding="utf-8")
    return len(rows)


def real_data(run: Path, beir: Path, split: str, passages: int) -> Path:
    """A BEIR folder of a run's passages with the real queries; a copy that was left out stands for its first."""
    out = run / "real"
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    dropped = map(json.loads, (run / "documents/dropped.jsonl").read_text(encoding="utf-8").splitlines())
    kept = {row["document"]: row["same"] for row in dropped if "same" in row}
    header, *rows = (beir / "qrels" / f"{split}.tsv").read_text().splitlines()
    judged = [(query, f"{document}.txt", grade) for query, document, grade in (row.split("\t") for row in rows)]
    judged = [(query, kept.get(document, document), grade) for query, document, grade in judged]
    (out / "qrels/test.tsv").write_text("\n".join([header, *map("\t".join, judged)]) + "\n")
    (out / "queries.jsonl").write_bytes((beir / "queries.jsonl").read_bytes())
    wanted = {document for _, document, _ in judged}
    lines = (run / "documents/corpus.jsonl").read_text(encoding="utf-8").splitlines()
    own = [json.loads(line) for line in lines]
    names = [row["metadata"].get("passage_of", row["_id"]) for row in own]
    others = sorted({*names} - wanted)
    np.random.default_rng(0).shuffle(others)
    counts = dict(zip(*np.unique(names, return_counts=True), strict=True))
    room = passages - sum(counts.get(name, 0) for name in wanted)
    taken = set(np.array(others)[np.cumsum([counts[name] for name in others]) <= room]) | wanted
    chosen = [line for line, name in zip(lines, names, strict=True) if name in taken]
    (out / "corpus.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return out


def systems(climb: Climb, run: Path) -> dict[str, Model]:
    """Every model of the comparison by its name; the trained ones once there is one."""
    start = climb.start_model
    models = {"start": start}
    if (run / "training" / "model.safetensors").is_file():
        models["trained"] = climb.trained_model(start)
    tables = {"start IDF": start.table_V, "documents' IDF": climb.corpus_idf}
    return {
        f"{name}, {table}, share {share:g}": replace(models[name], table_V=tables[table], share=TrainedShare(share))
        for name, table, share in product(models, tables, SHARES)
    }


def score(run: Path, beir: Path, split: str, passages: int) -> str:
    """Both tables as text."""
    climb = Climb(load_settings([str(run / "config.yaml")]))
    place = run / "real"
    if not (place / "corpus.jsonl").is_file():
        real_data(run, beir, split, passages)
    real = Judge(load_beir(str(place), "", "test"), climb.judge.lengths, place / "judged", "best", 32)
    pseudo = Judge(load_beir(str(run / "pseudo"), "", "dev+test"), climb.judge.lengths, place / "pseudo", "best", 32)
    found, asked = {}, {}
    for name, model in systems(climb, run).items():
        label = name.replace(",", "").replace("'", "").replace(" ", "_")
        found[name], asked[name] = model.judged(real, label), model.judged(pseudo, label)
    rows = [[name, *(f"{value:.4f}" for value in judged.mean_L)] for name, judged in found.items()]
    bm25 = ["BM25", *(f"{value:.4f}" for value in real.bm25().mean_L)]
    heads = ["real queries, NDCG@10", *map(named, climb.judge.lengths)]
    said = f"{len(real.data.query_ids)} real queries, {len(real.data.doc_ids)} passages; {_kept(run)}"
    return "\n\n".join([said, text_table([heads, *rows, bm25]), correlations(found, asked, pseudo)])


def _kept(run: Path) -> str:
    rungs = read_json(run / "ladder/ladder.json").get("rungs", [])
    return "kept: " + ", ".join(rung["name"] for rung in rungs if rung["kept"])


def correlations(real: dict[str, Judged], asked: dict[str, Judged], pseudo: Judge) -> str:
    """Spearman's correlation of real and pseudo NDCG@10 over the systems, by kind of query and length."""
    kinds = np.array([name.split(":")[0] for name in pseudo.data.query_ids])
    rows = []
    for kind in [*sorted(set(kinds)), "all kinds"]:
        mine = np.ones(len(kinds), bool) if kind == "all kinds" else kinds == kind
        row = [f"{kind} ({mine.sum()})"]
        for place in range(len(pseudo.lengths)):
            truth = [judged.mean_L[place] for judged in real.values()]
            said = [judged.ndcg_LQ[place][mine].mean() for judged in asked.values()]
            row.append(f"{stats.spearmanr(truth, said).statistic:+.2f}")
        rows.append(row)
    heads = [f"Spearman over {len(real)} models", *map(named, pseudo.lengths)]
    return text_table([heads, *rows])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files")
    files.add_argument("beir", type=Path)
    files.add_argument("out", type=Path)
    files.add_argument("--split", default="test")
    files.add_argument("--documents", type=int, help="so many: all that the split judges, and some of the others")
    scoring = commands.add_parser("score")
    scoring.add_argument("run", type=Path)
    scoring.add_argument("beir", type=Path)
    scoring.add_argument("--split", default="test")
    scoring.add_argument("--passages", type=int, default=6000)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if arguments.command == "files":
        written = write_files(arguments.beir, arguments.out, arguments.split, arguments.documents)
        print(f"{arguments.out}: {written} files")
    else:
        print(score(arguments.run, arguments.beir, arguments.split, arguments.passages))


if __name__ == "__main__":
    main()
