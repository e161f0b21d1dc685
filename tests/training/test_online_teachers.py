"""Teachers that score batches while training: against a plain computation, over processes, resumed, refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

import sparse_model
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import UserError
from tests.mining.models import make_cross_encoder, make_dense, make_sparse
from tests.processes import ranks
from tests.training.runs import stop_before

NO_DROPOUT = 'model_overrides={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}'


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("teachers")
    return {"sparse": make_sparse(root / "sparse"), "dense": make_dense(root / "dense", pooling="mean")}


def _argv(model: Path, file: Path, output: Path, teachers: dict[str, Path], *more: str) -> list[str]:
    kwargs = {"types": list(teachers), "model_ids": list(map(str, teachers.values())), "score_scale": 20}
    return [
        *(f"model_name_or_path={model}", f"train_file={file}", "data_type=posnegs", f"output_dir={output}"),
        *("loss_types=kldiv,marginmse", f"kd_ensemble_teacher_kwargs={json.dumps(kwargs)}", "max_seq_length=16"),
        *("per_device_train_batch_size=4", "max_steps=2", "learning_rate=1e-3", "flops_d_T=1", "logging_steps=1"),
        *("save_strategy=no", "disable_tqdm=true", *more),
    ]


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("in_batch", [True, False])
def test_a_step_is_the_plain_computation(
    in_batch: bool, tiny_model: Path, posnegs_file: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    """All examples in one batch, so that their order does not matter; texts repeat in it."""
    more = [NO_DROPOUT, "per_device_train_batch_size=24", "max_steps=1", f"use_in_batch_negatives={in_batch}"]
    train(load_settings(_argv(tiny_model, posnegs_file, tmp_path / "run", teachers, *more)))
    rows = [json.loads(line) for line in posnegs_file.read_text().splitlines()]
    queries = [row["query"] for row in rows]
    documents = [text for row in rows for text in (row["pos"], *row["negs"])]
    own = np.arange(len(documents)).reshape(len(rows), 3)
    columns = np.tile(np.arange(len(documents)), (len(rows), 1)) if in_batch else own
    pick = lambda matrix: np.take_along_axis(matrix, columns, axis=1)  # noqa: E731

    student = sparse_model.load(tiny_model, max_seq_length=16)
    student_QN = pick((student.encode_queries(queries) @ student.encode_documents(documents).T).toarray())
    teacher_QN = np.mean([_min_max(pick(_scores(*t, queries, documents)), in_batch) for t in teachers.items()], axis=0)
    kldiv, margins = [], []
    for query in range(len(rows)):
        positive = own[query, 0]
        kept = (
            [c for c in columns[query] if c == positive or documents[c] != documents[positive]]
            if in_batch
            else own[query]
        )
        chosen = np.searchsorted(columns[query], kept)
        s, t = student_QN[query, chosen].astype(np.float64), 20 * teacher_QN[query, chosen]
        log_s, log_t = s - np.log(np.exp(s).sum()), t - np.log(np.exp(t).sum())
        kldiv.append((np.exp(log_t) * (log_t - log_s)).sum())
        at = list(kept).index(positive)
        margins += [((s[at] - s[i]) - (t[at] - t[i])) ** 2 for i in range(len(kept)) if i != at]
    line = _lines(tmp_path / "run")[0]
    assert line["kldiv"] == pytest.approx(np.mean(kldiv), rel=1e-4)
    assert line["marginmse"] == pytest.approx(np.mean(margins), rel=1e-4)


def _min_max(scores: np.ndarray, by_query: bool) -> np.ndarray:
    low, high = ((f(scores, axis=1, keepdims=True) if by_query else f(scores)) for f in (np.min, np.max))
    return (scores - low) / (high - low)


def _scores(kind: str, folder: Path, queries: list[str], documents: list[str]) -> np.ndarray:
    """[queries, documents] by plain transformers, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = (AutoModelForMaskedLM if kind == "sparse" else AutoModel).from_pretrained(folder).eval()

    def vector(text: str) -> np.ndarray:
        with torch.no_grad():
            output = model(**tokenizer(text, truncation=True, max_length=16, return_tensors="pt"))[0][0]
        if kind == "dense":
            return (output.mean(dim=0) / output.mean(dim=0).norm()).numpy()
        weights = torch.log1p(torch.relu(output.max(dim=0).values))
        weights[tokenizer.all_special_ids] = 0
        return weights.numpy()

    return np.stack([vector(text) for text in queries]) @ np.stack([vector(text) for text in documents]).T


@pytest.mark.distributed
@pytest.mark.parametrize("in_batch", [True, False])
def test_two_processes_learn_like_one(
    in_batch: bool, tiny_model: Path, posnegs_file: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    """Steps of SGD at rate 1e-2 without clipping: teachers that were normalised over one process's batch alone, or
    scored its documents alone, would move the weights elsewhere."""
    more = [NO_DROPOUT, "optim=sgd", "learning_rate=1e-2", "max_grad_norm=null", f"use_in_batch_negatives={in_batch}"]
    train(load_settings(_argv(tiny_model, posnegs_file, tmp_path / "one", teachers, *more)))
    words = _argv(tiny_model, posnegs_file, tmp_path / "two", teachers, *more, "per_device_train_batch_size=2")
    done = ranks("train_ir.py", *words)
    assert done.returncode == 0, done.stderr
    for one, two in zip(_lines(tmp_path / "one")[:2], _lines(tmp_path / "two")[:2], strict=True):
        assert [two[name] for name in ("kldiv", "marginmse")] == pytest.approx(
            [one[name] for name in ("kldiv", "marginmse")], rel=1e-4
        )
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in load_file(tiny_model / "model.safetensors").items():
        assert (one[name] - two[name]).abs().max() <= 1e-4 * (one[name] - weight).abs().max() + 1e-6, name


def test_a_stopped_run_goes_on(tiny_model: Path, posnegs_file: Path, teachers: dict[str, Path], tmp_path: Path) -> None:
    """To the same weights; dropout on, stopped after step 2 of 4."""
    more = ["use_in_batch_negatives=true", "save_strategy=steps", "save_steps=2", "max_steps=4"]
    for name in ("whole", "stopped"):
        train(load_settings(_argv(tiny_model, posnegs_file, tmp_path / name, teachers, *more)))
    stopped = tmp_path / "stopped"
    stop_before(stopped, 4)
    train(load_settings(_argv(tiny_model, posnegs_file, stopped, teachers, *more)))
    again = load_file(stopped / "model.safetensors")
    for name, weight in load_file(tmp_path / "whole" / "model.safetensors").items():
        assert torch.equal(weight, again[name]), name
    with pytest.raises(UserError, match="kd_ensemble_teacher_kwargs: .* before"):
        train(load_settings(_argv(tiny_model, posnegs_file, stopped, {"dense": teachers["dense"]}, *more)))


def test_kd_rows_are_scored_in_the_batch(
    tiny_model: Path, kd_file: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    argv = _argv(tiny_model, kd_file, tmp_path / "run", teachers, "data_type=kd", "use_in_batch_negatives=true")
    train(load_settings(argv))
    assert all(line["kldiv"] > 0 for line in _lines(tmp_path / "run")[:2])


def test_what_cannot_teach(tiny_model: Path, posnegs_file: Path, teachers: dict[str, Path], tmp_path: Path) -> None:
    """It is said before anything is written."""
    wrong = {"dense": make_cross_encoder(tmp_path / "cross"), "sparse": tmp_path / "nowhere"}
    with pytest.raises(UserError) as caught:
        train(load_settings(_argv(tiny_model, posnegs_file, tmp_path / "run", wrong)))
    assert "model_ids[0]: " in str(caught.value) and "model_ids[1]: there is no folder" in str(caught.value)
    assert not (tmp_path / "run").exists()
