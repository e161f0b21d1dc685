"""lexical_share: auto: who judges, what is chosen and recorded, and that none is used without a reason."""

import json
import logging
import random
from pathlib import Path

import numpy as np
import pytest

from experiment.run import auto_share
from experiment.run.evaluate import run_evaluation
from experiment.run.share_judges import FEWEST_QUERIES, find_judges
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import load_settings
from retrieval.beir_data import load_beir
from tests.conftest import WORDS, write_jsonl

PLAIN = [word for word in WORDS if not word.startswith("##")]
DOCUMENTS = 80


def _made(folder: Path, train: bool) -> Path:
    """Documents of two sentences of random words; a query is three of a document's words."""
    draw = random.Random(5)
    (folder / "qrels").mkdir(parents=True)
    texts = [
        f"{' '.join(draw.sample(PLAIN, 5))} ends. {' '.join(draw.sample(PLAIN, 12)).capitalize()}."
        for _ in range(DOCUMENTS)
    ]
    queries = [" ".join(draw.sample(text.replace(".", "").split()[6:], 3)) for text in texts]
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"d{i:02}", "title": "", "text": t} for i, t in enumerate(texts)])
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": query} for i, query in enumerate(queries)])
    for split, numbers in {"test": range(3), **({"train": range(3, DOCUMENTS)} if train else {})}.items():
        lines = "".join(f"q{i}\td{i:02}\t1\n" for i in numbers)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder


def _evaluated(model: Path, data: Path, out: Path, *more: str) -> dict:
    words = [
        f"model_name_or_path={model}",
        f"beir_datasets={data}",
        f"output_dir={out}",
        "evaluation_name=named",
        *more,
    ]
    run_evaluation(load_settings(words))
    return json.loads((out / "evaluation" / "named" / f"{data.name}.json").read_text())


@pytest.mark.parametrize("train", [True, False])
def test_a_share_that_helps_is_used(
    train: bool, tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of random weights finds by chance, words find; the result is that of the share by its value."""
    data = _made(tmp_path / "made", train)
    with caplog.at_level(logging.INFO):
        result = _evaluated(tiny_model, data, tmp_path, "lexical_share=auto")
    why = result["lexical_share"]
    assert why["lexical_share"] > 0 and why["documents"] == DOCUMENTS
    assert why["judged by"] == ("queries of the train split" if train else "first sentences")
    assert why["queries"] == (DOCUMENTS - 3 if train else DOCUMENTS)
    assert [row["share"] for row in why["tried"]] == [0, 0.1, 0.1, 0.25, 0.25, 0.5, 0.5]
    chosen = max(why["tried"], key=lambda row: row["gain"])
    assert (chosen["share"], chosen["idf"]) == (why["lexical_share"], why["lexical_idf"]) and chosen["p"] < 0.01
    assert "lexical_share auto: " in caplog.text and "more than none" in caplog.text
    explicit = [f"lexical_share={why['lexical_share']}", *(["lexical_idf=true"] if why["lexical_idf"] else [])]
    again = _evaluated(tiny_model, data, tmp_path, *explicit)
    assert again["ndcg@10"] == result["ndcg@10"] and again["flops"] == result["flops"]
    monkeypatch.setattr(auto_share, "_compared", None)
    assert _evaluated(tiny_model, data, tmp_path, "lexical_share=auto", "top_k=20")["lexical_share"] == why


def test_without_judges_there_is_none(tiny_model: Path, beir_folder: Path, tmp_path: Path) -> None:
    why = _evaluated(tiny_model, beir_folder, tmp_path, "lexical_share=auto", "max_active_dims=3")["lexical_share"]
    assert why == {
        **{"lexical_share": 0.0, "lexical_idf": False, "tried": []},
        **{"judged by": "first sentences", "queries": 0, "documents": 6},
    }


@pytest.mark.parametrize(("spread", "chosen"), [(0.01, 0.25), (0.5, 0.0)])
def test_chance_is_no_reason(
    spread: float, chosen: float, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.25 is better by 0.02 in the mean over 77 queries: beyond chance with a spread of 0.01, not with 0.5."""
    noise = np.random.default_rng(3).normal(size=(2, DOCUMENTS - 3))
    noise -= noise.mean(axis=1, keepdims=True)
    gains = {0.25: 0.02 + spread * noise[0], 0.5: 0.01 + spread * noise[1]}
    shares = iter(auto_share.SHARES)
    monkeypatch.setattr(auto_share, "_by_query", lambda *_: 0.5 + gains.get(next(shares)[0], 0 * noise[0]))
    data = _made(tmp_path / "made", train=True)
    why = _evaluated(tiny_model, data, tmp_path, "lexical_share=auto")["lexical_share"]
    assert (why["lexical_share"], why["lexical_idf"]) == (chosen, False)


def test_queries_that_were_trained_on_do_not_judge(tmp_path: Path) -> None:
    data = load_beir(str(_made(tmp_path / "made", train=True)), "")
    places = {doc: place for place, doc in enumerate(data.doc_ids[:70])}
    every = find_judges(data, places, [])
    assert len(every.queries) == 67 and every.grades[0] == {3: 1} and every.rest == {}
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"query": query, "pos": "x"} for query in every.queries[:10]])
    left = find_judges(data, places, [(rows, "query")])
    assert left.queries == every.queries[10:] and "not trained on" in left.source
    rows = write_jsonl(
        tmp_path / "more.jsonl", [{"query": q, "pos": "x"} for q in every.queries[FEWEST_QUERIES - 10 :]]
    )
    none = find_judges(data, places, [(rows, "query")])
    assert none.source == "first sentences" and len(none.queries) == 70
    parts = [(f"{query} {none.rest[place]}", data.texts[place]) for place, query in enumerate(none.queries)]
    assert sum(joined == text for joined, text in parts) > 50  # some stay whole
    assert all(query in data.texts[place] for place, query in enumerate(none.queries))


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("lexical_share=auto lexical_idf=true", "lexical_idf"),
        ("lexical_share=auto keep_vectors=false", "keep_vectors"),
        ("lexical_share=often", "lexical_share"),
        ("train_lexical_share=auto", "train_lexical_share"),
    ],
)
def test_what_cannot_be_is_refused(more: str, key: str) -> None:
    with pytest.raises(Mistakes, match=f"command line: {key}"):
        load_settings(["model_name_or_path=x", *more.split()])
