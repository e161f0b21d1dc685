"""How sharp targets are, by hand; and the scale that score_scale: auto finds, keeps, and says."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import sparse_model
from experiment.run.train import train
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import load_settings
from sparse_model import UserError
from tests.conftest import SENTENCES, write_jsonl
from tests.training.runs import lines, weights, words_for
from training.data import Example, Examples
from training.targets import fitting_scale, median_peak, target_sentences


def _rows(folder: Path, *scores: list[float]) -> Path:
    rows = [
        {"query": SENTENCES[i].split()[0], "docs": SENTENCES[i : i + len(row)], "scores": row}
        for i, row in enumerate(scores)
    ]
    return write_jsonl(folder / "kd.jsonl", rows)


def test_median_peak_by_hand() -> None:
    """Differences 1, 2 and 0 at temperature 2: 1 / (1 + e^-0.5), 1 / (1 + e^-1), a half; the middle one counts."""
    examples = [Example("q", ["a", "b"], scores) for scores in ([1.0, 0.0], [0.0, 2.0], [3.0, 3.0])]
    assert median_peak(examples, 2.0) == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_flat_targets_are_told(tmp_path: Path) -> None:
    """Scores from 0 to 1 are nearly uniform between two documents; times 30 they are not."""
    path = _rows(tmp_path, [0.9, 0.6], [0.8, 0.3], [1.0, 0.5])
    flat, sharp = (Examples(path, "kd", documents_per_query=2, score_scale=scale) for scale in (1.0, 30.0))
    assert "has 0.62 (median); that is nearly uniform" in target_sentences(flat, 1.0)[0]
    assert target_sentences(sharp, 1.0) == ["targets: the likeliest of 2 documents has 1.00 (median)"]
    assert "nearly uniform" in target_sentences(sharp, 100.0)[0]


def test_the_scale_brings_both_spreads_together(tiny_model: Path, tmp_path: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    path = _rows(tmp_path, [0.9, 0.6], [0.8, 0.3], [1.0, 0.5])
    part = Examples(path, "kd", documents_per_query=2)
    scale = fitting_scale(encoder, [part])
    queries = encoder.encode_queries([SENTENCES[i].split()[0] for i in range(3)]).toarray()
    student = [encoder.encode_documents(SENTENCES[i : i + 2]).toarray() @ queries[i] for i in range(3)]
    spreads = [
        np.sqrt(np.mean([np.var(row) for row in rows])) for rows in (student, [[0.9, 0.6], [0.8, 0.3], [1, 0.5]])
    ]
    assert scale == pytest.approx(spreads[0] / spreads[1], rel=5e-3)
    with pytest.raises(UserError, match="the teacher scores the documents of each example alike"):
        fitting_scale(encoder, [Examples(_rows(tmp_path, [0.5, 0.5]), "kd", documents_per_query=2)])


def test_a_run_keeps_its_scale(tiny_model: Path, kd_file: Path, tmp_path: Path) -> None:
    """It trains as with that number, records it, and goes on with it, whatever would be found now."""
    more = ["save_strategy=steps", "save_steps=2"]
    argv = words_for(tiny_model, kd_file, tmp_path / "auto", "score_scale=auto", *more)
    train(load_settings([*argv, "max_steps=2"]))
    record = tmp_path / "auto" / "run.json"
    scale = json.loads(record.read_text())["score scale"]
    assert scale > 0 and "likeliest of 2" in (tmp_path / "auto" / "train.log").read_text()
    number = words_for(tiny_model, kd_file, tmp_path / "number", f"score_scale={scale}", *more)
    train(load_settings([*number, "max_steps=2"]))
    assert lines(tmp_path / "auto")[0]["loss"] == lines(tmp_path / "number")[0]["loss"]
    record.write_text(json.dumps(json.loads(record.read_text()) | {"score scale": 2 * scale}))
    train(load_settings([*argv, "max_steps=4"]))
    assert json.loads(record.read_text())["score scale"] == 2 * scale
    assert weights(tmp_path / "auto").keys() == weights(tmp_path / "number").keys()


def test_it_is_for_rows_with_scores(tiny_model: Path, posnegs_file: Path, tmp_path: Path) -> None:
    with pytest.raises(Mistakes, match="score_scale: auto is for data_type: kd"):
        load_settings(words_for(tiny_model, posnegs_file, tmp_path, "score_scale=auto"), for_training=True)
