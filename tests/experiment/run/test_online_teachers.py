"""From kd_ensemble_teacher_kwargs to teachers; what they do to a training: tests/training/test_online_teachers.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiment.run.online_teachers import _specs, asked_teachers, check, load
from experiment.settings.keys import OnlineTeachers
from experiment.settings.mistakes import Mistakes
from mining.teachers import load_teacher
from tests.conftest import SENTENCES
from tests.mining.models import make_cross_encoder, make_dense, make_sparse, tiny_spec

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("teachers")
    return {"sparse": make_sparse(root / "sparse"), "dense": make_dense(root / "dense")}


def _asked(folders: dict[str, Path], **more: Any) -> OnlineTeachers:
    return OnlineTeachers(types=list(folders), model_ids=list(map(str, folders.values())), **more)


def test_none_is_asked_for() -> None:
    check(None, 16)
    assert load(None, 16, CPU) == [] and asked_teachers(None, True) is None


def test_each_encodes_as_a_teacher_of_data_preparation(folders: dict[str, Path]) -> None:
    """In the order of `types`, cut to the student's length."""
    encoders = load(_asked(folders), 24, CPU)
    for encode, (kind, folder) in zip(encoders, folders.items(), strict=True):
        for role in ("query", "document"):
            expected = load_teacher(tiny_spec(kind, folder), CPU).vectors(SENTENCES, role)  # type: ignore[union-attr,arg-type]
            assert torch.equal(encode(SENTENCES, role), expected)  # type: ignore[arg-type]


def test_texts_are_cut_to_the_students_length(folders: dict[str, Path]) -> None:
    long = "rain sun snow wind protein cell gene insulin"
    for encode in load(_asked(folders), 6, CPU):  # four words between the special tokens
        first, whole = encode([" ".join(long.split()[:4]), long], "document")
        np.testing.assert_allclose(first.numpy(), whole.numpy(), rtol=1e-5, atol=1e-6)


def test_a_tokenizer_of_its_own(folders: dict[str, Path], tiny_model: Path, tmp_path: Path) -> None:
    dense = {"dense": folders["dense"]}
    check(_asked(dense, teacher_tokenizer_ids=[str(tiny_model)]), 16)
    with pytest.raises(Mistakes, match="nowhere"):
        check(_asked(dense, teacher_tokenizer_ids=[str(tmp_path / "nowhere")]), 16)


def test_trust_for_all_counts_for_these(folders: dict[str, Path]) -> None:
    asked = _asked(folders)
    trusted = asked_teachers(asked, True)
    assert trusted is not None and trusted.trust_remote_code and not asked.trust_remote_code
    assert asked_teachers(asked, False) is asked


def test_every_teacher_that_cannot_teach_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    """By its place in the list; the good one between them is not."""
    wrong = [make_cross_encoder(tmp_path / "cross"), folders["dense"], tmp_path / "nowhere"]
    asked = OnlineTeachers(types=["dense", "dense", "sparse"], model_ids=list(map(str, wrong)))
    with pytest.raises(Mistakes) as caught:
        check(asked, 16)
    text = str(caught.value)
    assert len(caught.value.found) == 2
    assert "model_ids[0]: " in text and "model_ids[2]: there is no folder" in text and "model_ids[1]" not in text


def test_a_length_that_a_teacher_has_not(folders: dict[str, Path]) -> None:
    """Said of the key that sets it: the student's."""
    with pytest.raises(Mistakes, match="max_seq_length"):
        check(_asked(folders), 99)


def test_each_teacher_has_its_revisions() -> None:
    asked = OnlineTeachers(
        types=["dense", "sparse"], model_ids=["a/one", "a/two"], revisions=["v1", None], code_revisions=["v2", None]
    )
    one, two = _specs(asked, 32)
    assert (one.located, one.code_revision, two.located, two.code_revision) == ("a/one@v1", "v2", "a/two", None)
    with pytest.raises(ValueError, match="revisions has 1"):
        OnlineTeachers(types=["dense", "sparse"], model_ids=["a/one", "a/two"], revisions=["v1"])
