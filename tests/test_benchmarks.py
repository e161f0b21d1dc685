"""Every benchmark at its tiniest, the fields it writes, and the page made of them. No time is asserted."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sparse_model
from benchmarks import distillation_rows as rows
from benchmarks import (
    encode,
    flops_forms,
    growth,
    head,
    loss_curves,
    measure,
    micro_batches,
    page,
    search,
    training_step,
)
from benchmarks import made_models as models
from retrieval.tables import text_table
from tests.conftest import SENTENCES, write_jsonl

TINY: dict[str, Any] = {"folders": {"tiny": None}, "documents": 2, "length": 16, "rounds": 1, "vocabulary": 300}
# Measured once: `results`.
pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.slow]
RUNS: dict[str, Callable[[], dict[str, Any]]] = {
    "head": lambda: head.run(**TINY),
    "training_step": lambda: training_step.run(**TINY),
    "encode": lambda: encode.run(**TINY),
    "search": lambda: search.run(documents=200, queries=5, top_k=(10,), rounds=1, threads=1),
    "rows": lambda: rows.run(queries=20, candidates=5, documents=30, teachers=2),
    "growth": lambda: growth.run(
        {"tokens": [4, 8], "documents": [2, 4], "vocabulary": [100, 200]}, [2, 4], (100, 200), 1, None, 300
    ),
}


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        peaks = measure.gemm_peaks
        patch.setattr(measure, "gemm_peaks", lambda: peaks(size=64, tries=1))
        # The others compile for seconds.
        fast = dict(list(search.CONTENDERS.items())[:3])
        patch.setattr(search, "CONTENDERS", fast)
        return {name: run() for name, run in RUNS.items()}


@pytest.mark.parametrize("name", list(RUNS))
def test_a_benchmark_writes_what_is_needed_to_read_it(results: dict, name: str) -> None:
    figures = json.loads(json.dumps(results[name]))
    assert {"machine", "versions", "settings", "rows"} <= figures.keys()
    assert figures["machine"]["cpu"] and figures["versions"]["torch"]
    assert figures["rows"]


def test_the_head_equals_dense_autograd(results: dict) -> None:
    rows = results["head"]["rows"]
    assert {row["case"] for row in rows} == {head.SPARSE_CASE, head.NO_INT8_CASE, head.ACTIVE_CASE}
    for row in rows:
        assert row["min_s"] <= row["median_s"] <= row["max_s"] and row["ratio"] > 0 and row["share"] > 0
        if row["name"] in (head.OURS, head.SCREEN_OFF):
            assert row["values_off"] <= 1e-6 and row.get("gradients_off", 0.0) <= 1e-6


def test_the_training_losses_agree(results: dict) -> None:
    pytest.importorskip("sentence_transformers")
    rows = {row["name"]: row for row in results["training_step"]["rows"]}
    assert rows[training_step.PEER]["loss_off"] <= training_step.AGREEMENT
    assert rows[training_step.OURS]["ratio"] > 0


def test_pieces_have_the_gradients_of_the_whole_batch() -> None:
    rows = micro_batches.run({"tiny": None}, (4, 8), piece=2, length=32, rounds=1, most_at_once=4, vocabulary=1000)[
        "rows"
    ]
    assert [row["x"] for row in rows] == [4, 4, 8, 8]
    assert rows[0]["gradients_off"] == 0 < rows[1]["gradients_off"] < 1e-5
    assert "missing" in rows[2] and rows[3]["median_s"] > 0


def test_encodings_equal_plain_torch(results: dict) -> None:
    rows = {row["name"]: row for row in results["encode"]["rows"]}
    assert rows[encode.OURS]["values_off"] <= 1e-6 and rows[encode.OURS]["active"] > 10
    assert rows[encode.OURS]["documents_per_s"] > 0 and rows[encode.OURS]["share"] > 0


def test_growth_has_an_exponent_for_each_curve(results: dict) -> None:
    assert len(results["growth"]["exponents"]) == 5
    linear = [{"x": x, "median_s": 3.0 * x, "peak_bytes": 7.0 * x * x} for x in (1, 2, 4)]
    assert growth.exponent(linear) == pytest.approx({"time": 1.0, "memory": 2.0})


def test_a_peer_that_is_not_installed_is_a_row() -> None:
    rows = measure.side_by_side({"ours": lambda: None, "peer": "not installed: pip install peer"}, "peer", 1, model="m")
    assert rows[1] == {"model": "m", "name": "peer", "missing": "not installed: pip install peer"}
    assert "ratio" not in rows[0]
    assert "not installed" in text_table(measure.cells(rows))


def test_peak_memory_is_that_of_the_call() -> None:
    peak, output = measure.peak_bytes(lambda: len(bytearray(b"1") * 50_000_000))
    assert output == 50_000_000
    assert peak is None or 45e6 < peak < 80e6


def test_a_stand_in_is_as_sparse_as_a_trained_model(tmp_path: Path) -> None:
    model = models.prepare("tiny", None, tmp_path, 2000, 16, 64)
    assert 150 < model.load().encode_documents(model.texts).nnz / 16 < 400


def test_the_page_shows_tables_plots_and_keeps_what_was_added(results: dict, tmp_path: Path) -> None:
    for name, figures in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(figures))
    written = tmp_path / "docs" / "performance.md"
    page.write(tmp_path, written)
    written.write_text(written.read_text() + "a note by hand\n")
    page.write(tmp_path, written)
    text = written.read_text()
    assert text.endswith(page.KEPT + "\na note by hand\n") and text.count(page.KEPT) == 1
    assert "not met" not in text and text.count("| contender |") == 4 and "python -m benchmarks.encode" in text
    assert str(tmp_path) not in text
    pictures = sorted(path.name for path in written.parent.glob("*.png"))
    assert pictures == [f"performance_{name}.png" for name in ("encode", "growth", "head", "training_step")]
    assert all(path.stat().st_size < 100_000 for path in written.parent.glob("*.png"))
    (tmp_path / "empty").mkdir()
    page.write(tmp_path / "empty", tmp_path / "empty.md")
    assert "Nothing was measured" in (tmp_path / "empty.md").read_text()


def test_loss_curves_are_compared_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step that a run logged twice, since it went on, counts once; steps that only one has are left out."""
    rows = {"whole": [(10, 2.0), (20, 1.0), (30, 1.0)], "pieces": [(10, 9.0), (10, 2.02), (20, 1.0)]}
    for name, logged in rows.items():
        (tmp_path / name).mkdir()
        lines = [json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in logged]
        (tmp_path / name / "metrics.jsonl").write_text("".join(lines) + json.dumps({"step": 30, "d_length": 5}))
    curves = {name: loss_curves.losses(tmp_path / name) for name in rows}
    assert loss_curves.distances(curves["whole"], curves["pieces"]) == {10: pytest.approx(0.01), 20: 0.0}
    assert loss_curves.main([*(str(tmp_path / name) for name in rows), "--output", str(tmp_path / "a.png")]) == 0
    assert "1.0e-02" in capsys.readouterr().out and (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_forms_of_flops_and_rows_to_train_on(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The published form is about G times the pooled one; scores are the model's own, the positive first."""
    texts = [f"{sentence} {number}" for sentence in SENTENCES for number in range(3)]
    pairs = [{"query": text.split()[1], "pos": text} for text in texts]
    file = write_jsonl(tmp_path / "pairs.jsonl", pairs)
    assert flops_forms.main([str(tiny_model), str(file), "--rows", str(tmp_path / "rows")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("128 × 8"))
    unbiased, published, pooled = map(float, re.findall(r"([\d.]+) ±", line))
    assert unbiased == pytest.approx(1, rel=0.05) and published == pytest.approx(8 * pooled, rel=0.1)
    row = json.loads((tmp_path / "rows" / "8.jsonl").read_text().splitlines()[0])
    encoder = sparse_model.load(tiny_model, inf_free=True, max_seq_length=24)
    scores = (encoder.encode_queries([row["query"]]) @ encoder.encode_documents(row["docs"]).T).toarray()[0]
    assert row["scores"] == pytest.approx(scores.tolist(), rel=1e-5) and len({*row["docs"]}) == 8
