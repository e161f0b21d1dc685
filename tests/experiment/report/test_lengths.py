"""What a training brought at each length: rows by hand, seeds together, and what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from experiment.report.lengths import main, rows
from experiment.report.runs import load_runs
from retrieval.significance import compare

START = [0.5, 0.2, 0.9, 0.4]
SEEDS = [[0.6, 0.4, 0.9, 0.5], [0.8, 0.2, 0.9, 0.5]]


def _run(folder: Path, values: dict[int | None, list[float]], share: float = 0.0) -> Path:
    for kept, of in values.items():
        name = "" if kept is None else f"max_active_dims-{kept}" + (f"_lexical_share-{share}" if share else "")
        place = folder / "evaluation" / name
        (place / "runs").mkdir(parents=True, exist_ok=True)
        result = {"dataset": "made", "metrics": ["ndcg@10"], "ndcg@10": float(np.mean(of)), "d_length": kept or 99.0}
        (place / "made.json").write_text(json.dumps(result))
        (place / "summary.json").write_text(json.dumps({"datasets": ["made"]}))
        (place / "config.yaml").write_text(yaml.safe_dump({"max_active_dims": kept, "lexical_share": share}))
        scores = {"ndcg@10": {f"q{number}": value for number, value in enumerate(of)}}
        (place / "runs" / "made.per_query.json").write_text(json.dumps(scores))
    return folder


def test_rows_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At 48 the seeds' figures of a query are averaged before they are paired; at 24 one seed was not scored."""
    start = _run(tmp_path / "start", {None: START, 48: START, 24: START})
    seeds = [_run(tmp_path / f"seed{i}", {None: START, 48: of}) for i, of in enumerate(SEEDS)]
    _run(seeds[0], {24: START})
    whole, cut = rows(*_apart(load_runs([start, *seeds])))
    assert (whole.place[3], cut.place[3]) == (0, 48) and whole.test.mean == 0 and whole.p == 1
    assert cut.start == 0.5 and cut.runs == [pytest.approx(0.6), pytest.approx(0.6)] and cut.tokens == (48, 48)
    expected = compare([np.mean(SEEDS, axis=0) - START])
    assert expected is not None and cut.test == expected and cut.p == pytest.approx(min(1, 2 * expected.p))
    picture = tmp_path / "lengths.png"
    assert main([str(start), *map(str, seeds), "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG") and "+0.1000" in capsys.readouterr().out


def _apart(runs: list) -> tuple:
    return runs[0], runs[1:]


def test_other_cuts_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = _run(tmp_path / "start", {48: START})
    assert main([str(start), str(_run(tmp_path / "shared", {48: START}, share=0.25))]) == 2
    assert "not scored with the same cut" in capsys.readouterr().err
    fewer = _run(tmp_path / "fewer", {48: START[:3]})
    assert main([str(start), str(fewer)]) == 2
