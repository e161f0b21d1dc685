"""Teachers that cannot be used are told apart without their weights, each with its remedy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from mining.teachers import check_teacher, load_teacher
from mining.teachers.dense_layout import dense_layout
from sparse_model import UserError
from tests.mining.models import make_cross_encoder, make_dense, tiny_spec


@pytest.mark.parametrize("kind", ["sparse", "dense", "cross_encoder", "monot5"])
def test_good_teachers_pass(kind: str, folders: dict[str, Path]) -> None:
    check_teacher(tiny_spec(kind, folders[kind]), "teachers[0]")
    assert tiny_spec(kind, folders[kind]).name == kind


@pytest.mark.parametrize(
    ("kind", "model", "more", "message"),
    [
        ("sparse", "nowhere/at/all", {}, "there is no folder"),
        ("sparse", "dense", {}, "not a sparse masked LM"),
        ("sparse", "cross_encoder", {}, "type sparse is a …ForMaskedLM"),
        ("dense", "sparse", {}, "not a dense encoder"),
        ("dense", "monot5", {}, "is an encoder-decoder"),
        ("cross_encoder", "sparse", {}, "…ForSequenceClassification"),
        ("cross_encoder", "dense", {"max_length": 65}, "positions for 64 tokens; give max_length: 64 or less"),
        ("monot5", "cross_encoder", {}, "…ForConditionalGeneration"),
        ("monot5", "sparse", {}, "no tokens ▁true and ▁false"),
        ("monot5", "monot5", {"dtype": "float16"}, "T5 overflows in float16"),
        ("monot5", "monot5", {"max_length": 3}, "no room before"),
        ("sparse", "sparse", {"max_length": 2}, "no room beside 2 special tokens"),
        ("dense", "dense", {"tokenizer_name": "no/such/tokenizer"}, "tokenizer_name: there is no folder"),
    ],
)
def test_what_cannot_teach_says_why(
    kind: str, model: str, more: dict[str, Any], message: str, folders: dict[str, Path]
) -> None:
    spec = replace(tiny_spec(kind, folders.get(model, Path(model))), **more)
    with pytest.raises(UserError) as caught:
        check_teacher(spec, "teachers[1]")
    assert message in str(caught.value)
    assert all(line.startswith("teachers[1]: ") for line in str(caught.value).splitlines())


def test_an_unknown_pooling_is_refused(folders: dict[str, Path]) -> None:
    """Where a config is read, and where a model is laid out."""
    with pytest.raises(ValueError, match="'cls', 'mean' or 'max'"):
        tiny_spec("dense", folders["dense"], pooling="median")
    with pytest.raises(UserError, match="pooling: 'median' is none of cls, mean, max"):
        dense_layout(folders["dense"], "median")


def test_another_models_tokenizer_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders["dense"])
    tokenizer.add_tokens(["more", "than", "fit"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="another model's tokenizer"):
        check_teacher(tiny_spec("dense", folders["dense"], tokenizer_name=str(tmp_path)), "teachers[0]")


def test_several_logits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has 3 logits"):
        check_teacher(tiny_spec("cross_encoder", make_cross_encoder(tmp_path, num_labels=3)), "teachers[0]")


def test_remote_code_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    """A model whose folder brings its class: refused by name, and loaded once it is trusted."""
    make_dense(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own_kind", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own_kind'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(UserError, match="brings its own code.*trust_remote_code: true for this teacher"):
        check_teacher(tiny_spec("dense", tmp_path), "teachers[0]")
    trusted = tiny_spec("dense", tmp_path, trust_remote_code=True)
    check_teacher(trusted, "teachers[0]")
    assert load_teacher(trusted, "cpu").encode(["rain"], "query").shape == (1, 16)


def test_a_dense_model_of_other_modules_is_refused(tmp_path: Path) -> None:
    make_dense(tmp_path, pooling="mean")
    modules = json.loads((tmp_path / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="Transformer, Pooling, Normalize, Dense"):
        check_teacher(tiny_spec("dense", tmp_path), "teachers[0]")


def test_a_lost_pooling_is_not_guessed(tmp_path: Path) -> None:
    make_dense(tmp_path, pooling="mean")
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(UserError, match="1_Pooling/config.json is missing.* give pooling"):
        check_teacher(tiny_spec("dense", tmp_path), "teachers[0]")
    check_teacher(tiny_spec("dense", tmp_path, pooling="mean"), "teachers[0]")


def test_the_prompts_of_a_dense_model_are_to_be_given(tmp_path: Path) -> None:
    """Refused with the lines to give; given so, vectors are those of sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(make_dense(tmp_path, pooling="mean")), device="cpu")
    theirs.prompts = {"query": "red ", "passage": "rain ", "document": ""}
    theirs.save(str(tmp_path))
    needed = "query_prefix: 'red ', document_prefix: 'rain '"
    with pytest.raises(UserError, match=f"prompts: it was trained with texts before its own; give {needed}"):
        check_teacher(tiny_spec("dense", tmp_path), "teachers[0]")
    spec = tiny_spec("dense", tmp_path, query_prefix="red ", document_prefix="rain ")
    check_teacher(spec, "teachers[0]")
    ours: Any = load_teacher(spec, "cpu")
    for role, prompt in (("query", "query"), ("document", "passage")):
        expected = theirs.encode(["bird rain"], prompt_name=prompt)
        np.testing.assert_allclose(ours.encode(["bird rain"], role), expected, atol=1e-6)


def test_a_pooling_that_leaves_prompts_out_is_refused(tmp_path: Path) -> None:
    make_dense(tmp_path, pooling="mean")
    says = {"pooling_mode": "mean", "include_prompt": False}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(says))
    with pytest.raises(UserError, match="include_prompt: false is not supported"):
        check_teacher(tiny_spec("dense", tmp_path), "teachers[0]")


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, None),
        ({"pooling_mode": ["cls", "mean"]}, None),
    ],
)
def test_both_forms_of_a_stored_pooling(stored: dict[str, Any], found: str | None, tmp_path: Path) -> None:
    make_dense(tmp_path, pooling="mean")
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **stored}))
    if found is None:
        with pytest.raises(UserError, match="give pooling"):
            check_teacher(tiny_spec("dense", tmp_path), "teachers[0]")
    else:
        assert load_teacher(tiny_spec("dense", tmp_path), "cpu").pooling == found  # type: ignore[union-attr]
