"""The working files of a data preparation: what they hold, and which of them a change makes anew."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sparse_model
from experiment.run import stages
from experiment.run.models import Chosen
from experiment.run.stages import Stages
from experiment.settings.keys import EvaluationKeys, OpenSearchKeys, PreparationKeys
from mining.candidates import corpus_of
from mining.teachers import TeacherSpec, load_teacher
from retrieval.arrays import map_arrays
from retrieval.beir_data import BeirData, load_beir
from sparse_model import UserError
from tests.conftest import make_model
from tests.mining.models import make_dense, tiny_spec

KEYS = PreparationKeys(num_candidates=4, shard_size=2)


@pytest.fixture
def data(beir_folder: Path) -> BeirData:
    """Six documents, three queries."""
    return load_beir(str(beir_folder), "", "test")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> TeacherSpec:
    return tiny_spec("dense", make_dense(tmp_path_factory.mktemp("teachers") / "dense"))


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> TeacherSpec:
    return tiny_spec("sparse", make_model(tmp_path_factory.mktemp("teachers") / "sparse", seed=5))


def _stages(folder: Path, model: Path, data: BeirData, keys: PreparationKeys = KEYS, **options: Any) -> Stages:
    return Stages(folder, keys, Chosen(str(model), options, "cpu"), 4, data, corpus_of(data))


def _candidates(stages: Stages, **evaluation: Any) -> Any:
    return stages.candidates(stages.miner.load(), EvaluationKeys(**evaluation), OpenSearchKeys())


def _read(shards: Any) -> dict[str, np.ndarray]:
    """All shards' arrays, one after the other."""
    parts: list[Any] = [map_arrays(shards.path(number)) for number in range(len(shards))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "offsets"}


def _times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_candidates_are_the_best_and_the_judged(tiny_model: Path, data: BeirData, tmp_path: Path) -> None:
    """By a dense product with IDF of the corpus, which a miner without query weights is given."""
    found = _read(_candidates(_stages(tmp_path, tiny_model, data)))
    corpus, encoder = corpus_of(data), sparse_model.load(tiny_model)
    encoder.use_idf(sparse_model.corpus_idf(encoder.tokenizer, corpus.texts, encoder.vocabulary_size))
    scores_QN = (encoder.encode_queries(corpus.queries) @ encoder.encode_documents(corpus.texts).T).toarray()
    documents_QC, labels_QC = found["documents"].reshape(3, 4), found["labels"].reshape(3, 4)
    for query, (documents, labels) in enumerate(zip(documents_QC, labels_QC, strict=True)):
        positives = set(corpus.positives[query].tolist())
        assert positives == set(documents[labels.astype(bool)].tolist())
        others = [d for d in documents if d not in positives]
        assert min(scores_QN[query][others]) >= np.sort(scores_QN[query])[-4] - 1e-5


def test_query_weights_of_the_checkpoint_are_left(tiny_model: Path, data: BeirData, tmp_path: Path) -> None:
    encoder = sparse_model.load(tiny_model)
    assert encoder.idf_V is not None
    encoder.use_idf(encoder.idf_V.detach() * 3)
    encoder.save(tmp_path / "ours")
    stages = _stages(tmp_path / "stages", tmp_path / "ours", data)
    miner = stages.miner.load()
    stages.candidates(miner, EvaluationKeys(), OpenSearchKeys())
    assert miner.idf_V is not None and set(miner.idf_V.tolist()) == {0.0, 3.0}


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_scores_are_the_teachers(
    kind: str, tiny_model: Path, data: BeirData, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spec: TeacherSpec = request.getfixturevalue(kind)
    stages = _stages(tmp_path, tiny_model, data)
    candidates = _candidates(stages)
    found = _read(stages.scores(spec, candidates))["scores"].reshape(3, 4)
    documents_QC = _read(candidates)["documents"].reshape(3, 4)
    corpus, teacher = corpus_of(data), load_teacher(spec, torch.device("cpu"))
    queries, texts = teacher.vectors(corpus.queries, "query"), teacher.vectors(corpus.texts, "document")  # type: ignore[union-attr]
    expected = np.take_along_axis((queries @ texts.T).numpy(), documents_QC.astype(np.int64), axis=1)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_a_teacher_that_changes_while_it_is_read(
    tiny_model: Path, data: BeirData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores would be filed under the hash of other weights."""
    folder = make_model(tmp_path / "teacher", seed=5)

    def meanwhile(spec: TeacherSpec, place: torch.device) -> Any:
        teacher = load_teacher(spec, place)
        (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
        return teacher

    monkeypatch.setattr(stages, "load_teacher", meanwhile)
    files = _stages(tmp_path / "stages", tiny_model, data)
    candidates = _candidates(files)
    with pytest.raises(UserError, match="the teacher teacher changed while it was read"):
        files.scores(tiny_spec("sparse", folder), candidates)


def test_the_same_again_writes_nothing(tiny_model: Path, data: BeirData, dense: TeacherSpec, tmp_path: Path) -> None:
    times = []
    for _ in range(2):
        stages = _stages(tmp_path, tiny_model, data)
        stages.scores(dense, _candidates(stages))
        times.append(_times(tmp_path))
    assert times[0] == times[1] and len(times[0]) > 4


def test_a_lost_shard_alone_is_made_again(tiny_model: Path, data: BeirData, tmp_path: Path) -> None:
    shards = _candidates(_stages(tmp_path, tiny_model, data))
    before, content = _times(tmp_path), shards.path(1).read_bytes()
    shards.path(1).unlink()
    _candidates(_stages(tmp_path, tiny_model, data))
    after = _times(tmp_path)
    assert [path for path in after if after[path] != before[path]] == [str(shards.path(1))]
    assert shards.path(1).read_bytes() == content


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], set[str]]] = {
    "nothing": ({}, {}, {}, set()),
    "another length of the miner": ({}, {"max_seq_length": 9}, {}, {"vectors-miner", "candidates"}),
    "more candidates": ({"num_candidates": 5}, {}, {}, {"candidates"}),
    "larger shards": ({"shard_size": 3}, {}, {}, {"candidates"}),
    "judged documents are left out": ({"include_positives": False}, {}, {}, {"candidates"}),
    "rounded weights": ({}, {}, {"round_weights": True}, {"candidates"}),
    "how scores become one": ({"normalization": "none"}, {}, {}, set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_makes_anew(change: str, tiny_model: Path, data: BeirData, tmp_path: Path) -> None:
    keys, model, evaluation, anew = CHANGES[change]
    _candidates(_stages(tmp_path, tiny_model, data))
    before = {path.name for path in tmp_path.iterdir()}
    _candidates(_stages(tmp_path, tiny_model, data, KEYS.model_copy(update=keys), **model), **evaluation)
    new = {path.name for path in tmp_path.iterdir()} - before
    assert {name.rpartition("-")[0] for name in new} == anew


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"weight": 2.0, "batch_size": 3}, set()),
        ({"max_length": 9}, {"vectors-dense", "scores-dense"}),
        ({"query_prefix": "query: "}, {"vectors-dense", "scores-dense"}),
        ({"pooling": "mean"}, {"vectors-dense", "scores-dense"}),
    ],
)
def test_what_a_changed_teacher_makes_anew(
    change: dict[str, Any], anew: set[str], tiny_model: Path, data: BeirData, dense: TeacherSpec, tmp_path: Path
) -> None:
    stages = _stages(tmp_path, tiny_model, data)
    candidates = _candidates(stages)
    stages.scores(dense, candidates)
    before = {path.name for path in tmp_path.iterdir()}
    stages.scores(replace(dense, **change), candidates)
    assert {path.name.rpartition("-")[0] for path in tmp_path.iterdir() if path.name not in before} == anew


def test_a_changed_corpus_makes_everything_anew(
    tiny_model: Path, data: BeirData, dense: TeacherSpec, tmp_path: Path
) -> None:
    for texts in (data.texts, [*data.texts[:-1], "snow"]):
        before = {path.name for path in tmp_path.iterdir()}
        stages = _stages(tmp_path, tiny_model, replace(data, texts=texts))
        stages.scores(dense, _candidates(stages))
    new = {path.name.rpartition("-")[0] for path in tmp_path.iterdir() if path.name not in before}
    assert new == {"vectors-miner", "candidates", "vectors-dense", "scores-dense"}
