"""Figures of the whole evaluation against a computation that shares no code with it: plain transformers and numpy."""

import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from experiment.run.evaluate import run_evaluation
from experiment.settings.settings import load_settings
from tests.conftest import write_jsonl

SHARED = os.environ.get("SPARSE_SHARED") or None


def _independent(model_folder: Path, data: Path, max_length: int) -> dict[str, float]:
    """NDCG@10, FLOPS and lengths of an inference-free relu model with the corpus' own IDF, document by document."""
    model, tokenizer = (
        AutoModelForMaskedLM.from_pretrained(model_folder).eval(),
        AutoTokenizer.from_pretrained(model_folder),
    )
    special = set(tokenizer.all_special_ids)
    rows = [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()]
    texts = {row["_id"]: (row.get("title", "") + " " + row["text"]).strip() for row in rows}
    df: Counter[int] = Counter()
    for text in texts.values():
        df.update(set(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) - special)
    idf = lambda j: math.log(1 + (len(texts) - df[j] + 0.5) / (df[j] + 0.5))  # noqa: E731
    vectors = {}
    for name, text in texts.items():
        with torch.no_grad():
            batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length)
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[0]
        weights = np.log1p(np.maximum(logits.max(dim=0).values.numpy(), 0))
        weights[list(special)] = 0
        vectors[name] = weights
    queries = {row["_id"]: row["text"] for row in map(json.loads, (data / "queries.jsonl").read_text().splitlines())}
    qrels: dict[str, dict[str, int]] = {}
    for line in (data / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels.setdefault(query, {})[document] = int(grade)
    ndcg, query_ids = [], []
    for name, grades in qrels.items():
        ids = set(tokenizer(queries[name], add_special_tokens=False)["input_ids"]) - special
        query_ids.append(ids)
        scores = {d: sum(idf(j) * w[j] for j in ids) for d, w in vectors.items()}
        ranked = sorted((d for d in scores if scores[d] > 0), key=lambda d: -scores[d])[:10]
        gain = sum(grades.get(d, 0) / math.log2(rank + 2) for rank, d in enumerate(ranked))
        best = sorted(grades.values(), reverse=True)[:10]
        ndcg.append(gain / sum(g / math.log2(rank + 2) for rank, g in enumerate(best)))
    active = np.mean([w > 0 for w in vectors.values()], axis=0)
    used = Counter(j for ids in query_ids for j in ids)
    return {
        "ndcg@10": float(np.mean(ndcg)),
        "flops": sum(count / len(query_ids) * active[j] for j, count in used.items()),
        "d_length": float(np.mean([(w > 0).sum() for w in vectors.values()])),
        "q_length": float(np.mean([len(ids) for ids in query_ids])),
    }


def _ours(model: Path, data: Path, max_length: int, output: Path) -> dict[str, float]:
    words = [f"model_name_or_path={model}", "idf_path=corpus", f"max_seq_length={max_length}"]
    run_evaluation(load_settings([*words, f"beir_datasets={data}", f"output_dir={output}", "evaluation_name=e"]))
    return json.loads((output / "evaluation" / "e" / f"{data.name}.json").read_text())


def test_figures_of_a_tiny_model(tiny_model: Path, beir_folder: Path, tmp_path: Path) -> None:
    expected = _independent(tiny_model, beir_folder, 12)
    ours = _ours(tiny_model, beir_folder, 12, tmp_path)
    assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.skipif(SHARED is None, reason="SPARSE_SHARED names no folder with beir/scifact and models/splade-tiny")
def test_figures_of_a_trained_model_on_scifact(tmp_path: Path) -> None:
    """The judged documents of 60 SciFact queries and 100 others."""
    source, folder = Path(str(SHARED)) / "beir" / "scifact", tmp_path / "part"
    (folder / "qrels").mkdir(parents=True)
    judgements = (source / "qrels" / "test.tsv").read_text().splitlines()[:61]
    judged = {line.split("\t")[1] for line in judgements[1:]}
    rows = [json.loads(line) for line in (source / "corpus.jsonl").read_text().splitlines()]
    write_jsonl(
        folder / "corpus.jsonl",
        [row for row in rows if row["_id"] in judged] + [r for r in rows if r["_id"] not in judged][:100],
    )
    (folder / "queries.jsonl").write_text((source / "queries.jsonl").read_text())
    (folder / "qrels" / "test.tsv").write_text("\n".join(judgements) + "\n")
    model = Path(str(SHARED)) / "models" / "splade-tiny"
    expected = _independent(model, folder, 256)
    ours = _ours(model, folder, 256, tmp_path / "out")
    assert {name: ours[name] for name in expected} == pytest.approx(expected, rel=1e-4)
