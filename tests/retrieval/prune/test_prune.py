"""Each method by hand; the command; a checkpoint that says what it keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import sparse_model
from experiment.run.evaluate import run_evaluation
from experiment.settings.settings import load_settings
from retrieval.prune.__main__ import main
from retrieval.prune.methods import METHODS, abs_value, alpha_mass, eight_bits, infrequent, max_ratio, top_k, top_k_df
from sparse_model import UserError
from tests.conftest import SENTENCES, write_jsonl

VECTORS = csr_matrix(np.array([[4.0, 2, 1, 1], [0, 3, 0, 3], [0, 0, 0, 0]], np.float32))


def rows(vectors: csr_matrix) -> list[list[float]]:
    return vectors.toarray().tolist()


def test_methods_by_hand() -> None:
    """alpha_mass: of 8, half is the 4; 3/4 needs 4 + 2; of (3, 3) half is one, the lower id; more than half both.

    df (1, 2, 1, 2) of 3: two tokens are in more than half of the documents.
    By weight × ln(3/df), df (1, 2, 1, 2): 4 ln 3, 2 ln 1.5, ln 3, ln 1.5, so that document 0 keeps ids 0 and 2.
    """
    assert rows(top_k(VECTORS, 2)) == [[4, 2, 0, 0], [0, 3, 0, 3], [0, 0, 0, 0]]
    assert rows(top_k_df(VECTORS, 2)) == [[4, 0, 1, 0], [0, 3, 0, 3], [0, 0, 0, 0]]
    assert rows(max_ratio(VECTORS, 0.5)) == [[4, 2, 0, 0], [0, 3, 0, 3], [0, 0, 0, 0]]
    assert rows(abs_value(VECTORS, 2.5)) == [[4, 0, 0, 0], [0, 3, 0, 3], [0, 0, 0, 0]]
    assert rows(alpha_mass(VECTORS, 0.5)) == [[4, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]]
    assert rows(alpha_mass(VECTORS, 0.75)) == [[4, 2, 0, 0], [0, 3, 0, 3], [0, 0, 0, 0]]
    assert rows(infrequent(VECTORS, 0.5)) == [[4, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert rows(infrequent(VECTORS, 2 / 3)) == rows(VECTORS)
    small = csr_matrix(np.array([[255, 100.4, 0.2, 30]], np.float32))
    assert rows(eight_bits(small, None)) == [[255, 100, 1, 30]] and rows(eight_bits(small, 2)) == [[255, 100, 0, 0]]
    assert eight_bits(VECTORS, 1).nnz == 2


@pytest.mark.parametrize("name", METHODS)
def test_nothing_but_what_was_there_is_kept(name: str) -> None:
    """Stronger is never longer, and what is given stays as it is."""
    generator = np.random.default_rng(3)
    dense = generator.random((50, 200)) * (generator.random((50, 200)) < 0.7)
    vectors = csr_matrix(dense.astype(np.float32))
    before = vectors.copy()
    method, strengths = METHODS[name]
    lengths = [np.diff(method(vectors, strength).indptr) for strength in strengths]
    assert all((weaker >= stronger).all() for weaker, stronger in zip(lengths, lengths[1:], strict=False))
    assert (before != vectors).nnz == 0
    assert method(csr_matrix((3, 9), dtype=np.float32), strengths[-1]).nnz == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": t} for n, t in enumerate(SENTENCES)])
    queries = [{"_id": f"q{n}", "text": " ".join(t.split()[:3])} for n, t in enumerate(SENTENCES)]
    write_jsonl(folder / "queries.jsonl", queries)
    lines = "".join(f"q{n}\td{n}\t1\n" for n in range(len(SENTENCES)))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    return folder


def test_the_command(tiny_model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "figures"
    assert main([str(tiny_model), str(folder), "--output", str(output), "--use-cpu"]) == 0
    points = json.loads((output / "prune.json").read_text())
    assert [p["strength"] for p in points if p["method"] == "top_k"] == ["128", "96", "64", "48", "32", "24", "16"]
    whole, sixteen = points[0], next(p for p in points if (p["method"], p["strength"]) == ("top_k", "16"))
    assert sixteen["d_length"] <= 16 < whole["d_length"] and sixteen["index_bytes"] < whole["index_bytes"]
    assert whole["longest_list"] >= sixteen["longest_list"] > 0 and 0 < whole["ms_p50"] <= whole["ms_p95"]
    assert (output / "prune.png").stat().st_size > 10_000 and "| alpha_mass" in (output / "prune.md").read_text()
    assert "top_k" in capsys.readouterr().out


def test_a_checkpoint_says_what_it_keeps(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    """Encoding, evaluation and the card go by it; what is asked for counts before; a training begins without it."""
    small = tmp_path / "small"
    words = [str(tiny_model), str(folder), "--use-cpu", "--output", str(tmp_path / "figures")]
    assert main([*words, "--save", str(small), "--max-active-dims", "5"]) == 0
    encoder = sparse_model.load(small)
    assert (np.diff(encoder.encode_documents(SENTENCES).indptr) <= 5).all()
    assert np.diff(sparse_model.load(small, max_active_dims=7).encode_documents(SENTENCES).indptr).max() == 7
    assert "max_active_dims=5" in (small / "README.md").read_text()
    scored_in = [f"output_dir={tmp_path / 'scored'}", "use_cpu=true"]
    run_evaluation(load_settings([f"model_name_or_path={small}", f"beir_datasets={folder}", *scored_in]))
    scored = json.loads((tmp_path / "scored" / "evaluation" / "made.json").read_text())
    assert scored["d_length"] <= 5


def test_figures_of_another_model_stay(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    mine = tmp_path / "figures" / "prune.md"
    mine.write_text("mine")
    assert main([str(tiny_model), str(folder), "--output", str(mine.parent), "--use-cpu"]) == 2
    assert mine.read_text() == "mine"


def test_mistakes(tiny_model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(tiny_model), str(folder)]
    assert main([*words, "--max-active-dims", "5"]) == main([*words, "--save", str(tmp_path / "x")]) == 2
    assert main([*words, "--save", str(tmp_path), "--max-active-dims", "5"]) == 2
    assert main([*words, "--save", str(tmp_path / "x"), "--prune-ratio", "2"]) == 2
    said = capsys.readouterr().err
    assert main([*words, "--output", str(folder / "corpus.jsonl")]) == 2
    assert main([*words, "--save", str(folder / "corpus.jsonl" / "x"), "--max-active-dims", "5"]) == 2
    assert capsys.readouterr().err.count("corpus.jsonl is no folder") == 2
    assert "belong together" in said and "is there already" in said and "--prune-ratio" in said


@pytest.mark.parametrize("key", [{"max_active_dims": 0}, {"max_active_dims": True}, {"prune_ratio": "x"}], ids=str)
def test_what_a_checkpoint_cannot_keep_is_refused(key: dict, tiny_model: Path, tmp_path: Path) -> None:
    sparse_model.load(tiny_model).save(tmp_path)
    (tmp_path / "complete.json").unlink()
    path = tmp_path / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | key))
    with pytest.raises(UserError, match=next(iter(key))):
        sparse_model.load(tmp_path)
