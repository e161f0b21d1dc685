"""What the ladder is worth where real queries were held back.

    python -m benchmarks.own_documents files data/beir/medquad data/files/medquad
    python train_ir.py config/own_documents.yaml documents=data/files/medquad output_dir=output/own/medquad
    python -m benchmarks.own_documents score output/own/medquad data/beir/medquad --split test
    python -m benchmarks.own_documents shift rasyosef/splade-tiny IDF data/beir/*

`files` writes a corpus as plain files, without queries and judgements. `score` asks a run's passages (all judged
documents and some of the others, at most --passages) the real queries: NDCG@10 of every rung at every length, and of
the last rung against the one that it stands on. With --correlations also how well each kind of pseudo-query orders
models as the real ones do (Spearman's rank correlation over the start and the trained model × query weights × lexical
shares). What was scored once stays in RUN/real. `shift` says how far corpora, and parts of them, lie from the texts
that a table of query weights was counted on.
"""

import argparse
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats
from transformers import AutoTokenizer

from experiment.ladder.climb import Climb, Model
from experiment.ladder.judge import Judge, named
from experiment.ladder.shift import shift
from experiment.settings.settings import load_settings
from retrieval.beir_data import load_beir
from retrieval.beir_files import read_records
from retrieval.tables import text_table
from sparse_model import corpus_idf
from sparse_model.lexical import TrainedShare
from sparse_model.query_weights import read_idf

LENGTHS = [None, 80, 64, 48, 32, 24]
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
    tables = {"start IDF": start.table_V, "documents' IDF": climb.query_weights_V}
    return {
        f"{name}, {table}, share {share:g}": replace(models[name], table_V=tables[table], share=TrainedShare(share))
        for name, table, share in product(models, tables, SHARES)
    }


def score(run: Path, beir: Path, split: str, passages: int, with_correlations: bool) -> str:
    """The tables as text."""
    climb = Climb(load_settings([str(run / "config.yaml")], for_training=True))
    place = run / "real"
    if not (place / "corpus.jsonl").is_file():
        real_data(run, beir, split, passages)
    real = Judge(load_beir(str(place), "", "test"), LENGTHS, place / "judged", "best", 32)
    climbed = climb.climb()
    found = [rung.model.judged(real, f"rung{number}") for number, rung in enumerate(climbed.rungs)]
    rows = [
        [f"{rung.name}{'' if rung.kept else ' (not kept)'}", *(f"{value:.4f}" for value in judged.mean_L)]
        for rung, judged in zip(climbed.rungs, found, strict=True)
    ]
    if climbed.at_home:
        return f"at home\n\n{text_table([['real queries, NDCG@10', *map(named, LENGTHS)], *rows])}"
    below = max(number for number, rung in enumerate(climbed.rungs[:-1]) if rung.kept)
    gain_LQ = found[-1].ndcg_LQ - found[below].ndcg_LQ
    rows.append(["last rung's gain", *(f"{gain:+.4f}" for gain in gain_LQ.mean(axis=1))])
    rows.append(["p", *(f"{p:.2g}" for p in stats.ttest_1samp(gain_LQ, 0, axis=1).pvalue)])
    rows.append(["tokens a passage", *(f"{tokens:.0f}" for tokens in found[-1].d_length_L)])
    rows.append(["BM25", *(f"{value:.4f}" for value in real.bm25().mean_L)])
    said = f"{len(real.data.query_ids)} real queries, {len(real.data.doc_ids)} passages"
    tables = [said, text_table([["real queries, NDCG@10", *map(named, LENGTHS)], *rows])]
    return "\n\n".join(tables + ([correlations(climb, run, real)] if with_correlations else []))


def correlations(climb: Climb, run: Path, judge: Judge) -> str:
    """Spearman's correlation of real and pseudo NDCG@10 over the systems, by kind of query and length."""
    pseudo = Judge(load_beir(str(run / "pseudo"), "", "dev+test"), LENGTHS, run / "real" / "pseudo", "best", 32)
    real, asked = {}, {}
    for name, model in systems(climb, run).items():
        label = name.replace(",", "").replace("'", "").replace(" ", "_")
        real[name], asked[name] = model.judged(judge, label), model.judged(pseudo, label)
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


def shifts(model: str, idf_path: str, corpora: list[Path], sizes: Sequence[int] = (300, 1000, 5000)) -> str:
    """A row for each corpus, a column for so many of its documents, drawn at random."""
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    source_V = read_idf(idf_path, tokenizer, len(tokenizer))
    rows = []
    for corpus in corpora:
        texts = [record.document for record in read_records(corpus / "corpus.jsonl", "document", [])]
        random.Random(0).shuffle(texts)
        tables = [corpus_idf(tokenizer, texts[:size], len(tokenizer)).numpy() for size in sizes]
        found = [
            shift(source_V.numpy(), table, min(size, len(texts))) for size, table in zip(sizes, tables, strict=True)
        ]
        rows.append([corpus.name, *(f"{value:.3f}" for value in found)])
    return text_table([["shift, bits", *map(str, sizes)], *rows])


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
    scoring.add_argument("--correlations", action="store_true")
    apart = commands.add_parser("shift")
    apart.add_argument("model", help="a folder or hub id whose tokenizer it is")
    apart.add_argument("idf", help="the query weights, as in idf_path")
    apart.add_argument("corpora", type=Path, nargs="+", metavar="BEIR")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if arguments.command == "files":
        written = write_files(arguments.beir, arguments.out, arguments.split, arguments.documents)
        print(f"{arguments.out}: {written} files")
    elif arguments.command == "shift":
        print(shifts(arguments.model, arguments.idf, arguments.corpora))
    else:
        given = arguments.run, arguments.beir, arguments.split, arguments.passages, arguments.correlations
        print(score(*given))


if __name__ == "__main__":
    main()
