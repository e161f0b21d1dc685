"""Run files: what is written is what is read, and the bytes depend on nothing else."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.run_file import read_run, write_run
from sparse_model.errors import UserError

RUN = {"q1": [("d2", float(np.float32(17.5307))), ("d1", float(np.nextafter(np.float32(1), np.float32(0))))]}


def test_round_trip_and_format(tmp_path: Path) -> None:
    path = tmp_path / "x.trec.gz"
    write_run(path, {**RUN, "no hits": []})
    assert read_run(path) == RUN
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines[0].split()[:4] == ["q1", "Q0", "d2", "1"]


def test_same_run_same_bytes_under_any_name(tmp_path: Path) -> None:
    write_run(tmp_path / "a.gz", RUN)
    write_run(tmp_path / "b.gz", RUN)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gz", "b.gz"]


def test_ids_with_spaces_survive(tmp_path: Path) -> None:
    run = {"query one": [("document one", 1.5), ("d\u2028\u00e9", 0.1)]}
    write_run(tmp_path / "a.gz", run)
    assert read_run(tmp_path / "a.gz") == run


@pytest.mark.parametrize("spoil", [lambda b: b[:-9], lambda b: b[: len(b) // 2], lambda b: b"no gzip", lambda b: b""])
def test_a_damaged_run_is_no_shorter_run(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.trec.gz"
    write_run(path, {f"q{n}": RUN["q1"] for n in range(50)})
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match="x.trec.gz:.* is damaged"):
        read_run(path)


def test_a_line_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.trec.gz"
    path.write_bytes(gzip.compress(b"q1 Q0 d1 1 0.5 sparse\nq1 Q0 d2\n"))
    with pytest.raises(UserError, match="x.trec.gz:2: is damaged"):
        read_run(path)
