"""Several cuts in one evaluation: documents are encoded once, each value has its results, and all must be there."""

import json
from pathlib import Path

import pytest

from experiment.run.done import is_evaluated
from experiment.run.evaluate import run_evaluation
from experiment.settings.mistakes import Mistakes
from experiment.settings.settings import load_settings
from sparse_model.encoding import encode_block

WORDS = ["model_name_or_path={model}", "beir_datasets={data}", "output_dir={out}"]


@pytest.fixture
def words(tiny_model: Path, beir_folder: Path, tmp_path: Path) -> list[str]:
    return [word.format(model=tiny_model, data=beir_folder, out=tmp_path) for word in WORDS]


def _length(folder: Path) -> float:
    return json.loads((folder / "tiny.json").read_text())["d_length"]


def test_documents_are_encoded_once(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    original = encode_block
    monkeypatch.setattr("sparse_model.encoder.encode_block", lambda *args: encoded.append(1) or original(*args))
    settings = load_settings([*words, "max_active_dims=null,3", "prune_ratio=[null, 0.9]"])
    assert not is_evaluated(settings)
    run_evaluation(settings)
    results = tmp_path / "evaluation"
    assert len(encoded) == 1 and is_evaluated(settings)
    assert is_evaluated(load_settings([*words, "max_active_dims=3"]))
    assert not is_evaluated(load_settings([*words, "max_active_dims=3,4"]))
    assert _length(results) > 3 >= _length(results / "max_active_dims-3") > 1
    assert _length(results / "prune_ratio-0.9") < _length(results)
    assert _length(results / "max_active_dims-3_prune_ratio-0.9") <= 3


def test_one_of_several_is_as_one_alone(words: list[str], tmp_path: Path) -> None:
    """Its figures are those of an evaluation of that value alone, whose results it takes for its own."""
    run_evaluation(load_settings([*words, "max_active_dims=4", "lexical_share=0.5", "cut_by=weight_df"]))
    path = tmp_path / "evaluation" / "max_active_dims-4_cut_by-weight_df_lexical_share-0.5" / "tiny.json"
    before = path.read_text()
    run_evaluation(load_settings([*words, "max_active_dims=4,2", "lexical_share=0.5", "cut_by=weight_df"]))
    assert path.read_text() == before


def test_names_of_several(words: list[str], tmp_path: Path) -> None:
    run_evaluation(load_settings([*words, "max_active_dims=2,3", "evaluation_name=short"]))
    assert {p.name for p in (tmp_path / "evaluation").glob("short*")} == {
        "short_max_active_dims-2",
        "short_max_active_dims-3",
    }


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("cut_by=weight_df", "cut_by"),
        ("lexical_idf=true", "lexical_idf"),
        ("max_active_dims=2,3 keep_vectors=false", "keep_vectors"),
        ("max_active_dims=2 cut_by=weight_df keep_vectors=false", "keep_vectors"),
        ("max_active_dims=5 baseline=bm25", "max_active_dims"),
        ("max_active_dims=0", "max_active_dims"),
        ("max_active_dims=[]", "max_active_dims"),
        ("lexical_share=-1", "lexical_share"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], more: str, key: str) -> None:
    with pytest.raises(Mistakes, match=f"command line: {key}"):
        load_settings([*words, *more.split()])


def test_several_values_are_recorded_without_a_warning(words: list[str], recwarn: pytest.WarningsRecorder) -> None:
    resolved = load_settings([*words, "max_active_dims=null,3", "lexical_share=0,0.5"]).resolved()
    assert resolved["max_active_dims"] == [None, 3] and resolved["lexical_share"] == [0.0, 0.5]
    assert not [str(warning.message) for warning in recwarn if "erializ" in str(warning.message)]
