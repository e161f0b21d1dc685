"""data_preparation.py: rows, kills, several processes, changed inputs, mistakes."""

import json
import shutil
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

import sparse_model
from pairs.beir import main as beir_pairs
from tests.conftest import WORDS, make_model
from tests.processes import begin, call, ranks
from tests.retrieval.bag_of_words import write_beir

pytestmark = pytest.mark.xdist_group("preparation")


@pytest.fixture(scope="module")
def teacher_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sparse and a dense teacher."""
    folder = tmp_path_factory.mktemp("teachers")
    return make_model(folder / "sparse-teacher", seed=1), make_model(folder / "dense-teacher", seed=2)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1500 documents (two blocks) and 25 training queries with two judged documents each."""
    rng = np.random.default_rng(0)
    corpus = [{"_id": f"d{i}", "title": "", "text": " ".join(rng.choice(WORDS, 6))} for i in range(1500)]
    queries = [{"_id": f"q{i}", "text": " ".join(rng.choice(WORDS, 3))} for i in range(25)]
    qrels = [(f"q{i}", f"d{d}", 1) for i in range(25) for d in (i, 1000 + i)]
    return write_beir(tmp_path_factory.mktemp("beir") / "words", corpus, queries, qrels, split="train")


@pytest.fixture(scope="module")
def config(
    tiny_model: Path, teacher_models: tuple[Path, Path], data_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """10 candidates, shards of 6 queries, batches of 4."""
    sparse, dense = teacher_models
    path = tmp_path_factory.mktemp("config") / "prepare.yaml"
    path.write_text(
        f"dataset: {data_set}\nmodel_name_or_path: {tiny_model}\nnum_candidates: 10\nshard_size: 6\n"
        f"normalization_batch_size: 4\nmax_seq_length: 16\nteachers:\n"
        f"  - {{type: sparse, model_name_or_path: {sparse}, max_length: 16}}\n"
        f"  - {{type: dense, model_name_or_path: {dense}, pooling: cls, max_length: 16, weight: 3}}\n"
    )
    return path


@pytest.fixture(scope="module")
def prepared(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of one process that nobody disturbed."""
    output = tmp_path_factory.mktemp("one") / "rows"
    done = call("data_preparation.py", str(config), f"output_dir={output}")
    assert done.returncode == 0, done.stderr
    return output


def _rows(folder: Path) -> list[dict]:
    return datasets.load_from_disk(str(folder)).to_list()


def test_rows_equal_a_plain_computation(
    prepared: Path, tiny_model: Path, teacher_models: tuple[Path, Path], data_set: Path
) -> None:
    """Candidates by a dense product; the sparse teacher's scores, min-max over four queries, the mean, the order."""
    from retrieval.beir_data import load_beir

    data, rows = load_beir(str(data_set), "", "train"), _rows(prepared)
    assert [row["q_id"] for row in rows] == data.query_ids and [row["query"] for row in rows] == data.queries
    miner = sparse_model.load(tiny_model, idf_path=str(prepared / "idf.json"), max_seq_length=16)
    mined = (miner.encode_queries(data.queries) @ miner.encode_documents(data.texts).T).toarray()
    teacher = sparse_model.load(teacher_models[0], inf_free=False, max_seq_length=16)
    taught = (teacher.encode_queries(data.queries) @ teacher.encode_documents(data.texts).T).toarray()
    for number, row in enumerate(rows):
        positions = [data.doc_ids.index(name) for name in row["d_ids"]]
        assert row["docs"] == [data.texts[p] for p in positions] and len(set(positions)) == 10
        assert row["labels"] == [name in data.qrels[row["q_id"]] for name in row["d_ids"]] and sum(row["labels"]) == 2
        assert row["first_rank"] == row["labels"].index(True) and row["scores"] == sorted(row["scores"], reverse=True)
        mined_only = [p for p, judged in zip(positions, row["labels"], strict=True) if not judged]
        assert min(mined[number][mined_only]) >= np.sort(mined[number])[-10] - 1e-5
        np.testing.assert_allclose(row["teacher_scores"]["sparse-teacher"], taught[number][positions], rtol=2e-5)
    batch = rows[4:8]
    raw = [
        np.concatenate([row["teacher_scores"][name] for row in batch]) for name in ("sparse-teacher", "dense-teacher")
    ]
    scaled = [(values - values.min()) / (values.max() - values.min()) for values in raw]
    expected = (scaled[0] + 3 * scaled[1]) / 4
    np.testing.assert_allclose(np.concatenate([row["scores"] for row in batch]), expected, atol=1e-6)


@pytest.mark.distributed
def test_two_processes_write_the_same_rows(prepared: Path, config: Path, tmp_path: Path) -> None:
    done = ranks("data_preparation.py", str(config), f"output_dir={tmp_path / 'rows'}")
    assert done.returncode == 0, done.stderr
    assert _rows(tmp_path / "rows") == _rows(prepared)


@pytest.mark.process
def test_killed_in_every_stage(prepared: Path, config: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows"
    command = ["data_preparation.py", str(config), f"output_dir={output}", "shard_size=1"]
    for sign in ("vectors-miner-*/*", "candidates-*/*", "scores-sparse*/*", "scores-dense*/*", "*part*"):
        process = begin(*command)
        deadline = time.monotonic() + 100
        while not list((output / "stages").glob(sign)) and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.join()
    done = call(*command)
    assert done.returncode == 0, done.stderr
    assert _rows(output) == _rows(prepared)


def test_only_a_changed_teacher_runs(prepared: Path, config: Path, tmp_path: Path) -> None:
    output = shutil.copytree(prepared, tmp_path / "rows")
    before = {path: path.stat().st_mtime_ns for path in (output / "stages").rglob("*.safetensors")}
    again = call("data_preparation.py", str(config), f"output_dir={output}")
    assert again.returncode == 0 and "nothing to do" in again.stderr
    text = config.read_text().replace("pooling: cls", "pooling: mean")
    changed = tmp_path / "changed.yaml"
    changed.write_text(text)
    done = call("data_preparation.py", str(changed), f"output_dir={output}")
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    new = {path.parent.name.split("-")[0] for path in (output / "stages").rglob("*.safetensors") if path not in before}
    assert new == {"vectors", "scores"}
    pairs = list(zip(_rows(prepared), _rows(output), strict=True))
    assert all(sorted(one["d_ids"]) == sorted(two["d_ids"]) for one, two in pairs)
    assert any(one["scores"] != two["scores"] for one, two in pairs)
    aside = [path for path in tmp_path.iterdir() if path.name.startswith("rows.")]
    assert len(aside) == 1 and _rows(aside[0]) == _rows(prepared)


def test_training_reads_the_rows(prepared: Path, tiny_model: Path, tmp_path: Path) -> None:
    words = [f"model_name_or_path={tiny_model}", f"train_file={prepared}", "data_type=kd", "max_steps=2"]
    more = [f"idf_path={prepared / 'idf.json'}", "max_seq_length=16", f"output_dir={tmp_path / 'run'}"]
    done = call("train_ir.py", *words, *more, "per_device_train_batch_size=4")
    assert done.returncode == 0, done.stderr


def test_mined_pairs_of_the_rows(prepared: Path, tmp_path: Path) -> None:
    """Two judged documents a query, each with 4 of the 8 others: those of ranks 0, 2, 4, 6 among them."""
    output = tmp_path / "mined.jsonl"
    assert beir_pairs([str(prepared), "--negatives", "4", "--output", str(output)]) == 0
    pairs = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(pairs) == 50
    for row, pair in zip(_rows(prepared), pairs[::2], strict=True):
        others = [doc for doc, judged in zip(row["docs"], row["labels"], strict=True) if not judged]
        assert pair == {"query": row["query"], "pos": row["docs"][row["first_rank"]], "negs": others[0:8:2]}


@pytest.mark.distributed
def test_dry_run_writes_nothing(config: Path, tmp_path: Path) -> None:
    done = ranks("data_preparation.py", str(config), f"output_dir={tmp_path / 'rows'}", "dry_run=true")
    assert done.returncode == 0, done.stderr
    for words in ("250 pairs", "2 process(es)", "scores, sparse-teacher", "scores, dense-teacher", " GB", " h"):
        assert words in done.stdout
    assert not (tmp_path / "rows").exists()


def test_overwrite_moves_aside(prepared: Path, config: Path, tmp_path: Path) -> None:
    output = tmp_path / "rows"
    shutil.copytree(prepared, output)
    done = call("data_preparation.py", str(config), f"output_dir={output}", "overwrite=true")
    assert done.returncode == 0, done.stderr
    aside = [path for path in tmp_path.iterdir() if path.name.startswith("rows.")]
    assert len(aside) == 1 and (aside[0] / "stages").is_dir()
    assert _rows(aside[0]) == _rows(output) == _rows(prepared)
