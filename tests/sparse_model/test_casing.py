"""Lower-casing that is saved in the tokenizer, of a cased and a multilingual one; what is told before a training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

import sparse_model
from experiment.run.train import train
from experiment.settings.settings import load_settings
from sparse_model import UserError
from sparse_model.casing import cautions, lowers
from sparse_model.vocabulary import silent_ids
from tests.conftest import SPECIAL, WORDS, make_model
from tests.training.runs import words_for

TEXTS = ["New York [SEP] rain", "new york RAIN", "Москва Ｎｅｗ снег", "москва new СНЕГ", ""]
TEXTS_LOWERED = [text.lower().replace("[sep]", "[SEP]") for text in TEXTS]


def cased(folder: Path) -> None:
    """A BertTokenizer: a class that makes its own normalizer when it is loaded."""
    words = [word.title() if n % 3 == 2 else word for n, word in enumerate(WORDS)]
    words[-6:-3] = ["New", "York", "Rain"]
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words]) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)


def multilingual(folder: Path) -> None:
    """Unigram pieces of several scripts behind NFKC, as XLM-R's."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(["New York rain", "new york rain", "Москва снег", "москва снег СНЕГ", "RAIN"] * 9, trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)


@pytest.fixture(params=[cased, multilingual], ids=["cased", "multilingual"])
def backbone(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Path:
    folder = shutil.copytree(tiny_model, tmp_path / "backbone")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    request.param(folder)
    return folder


def test_every_consumer_lower_cases(backbone: Path, tmp_path: Path) -> None:
    """Ids are those of lower-cased texts: here, after a save, in transformers and tokenizers, and in vectors."""
    st = pytest.importorskip("sentence_transformers")
    plain = sparse_model.load(backbone)
    encoder = sparse_model.load(backbone, lowercase=True)
    special = [text.replace("[SEP]", plain.tokenizer.sep_token or "") for text in TEXTS_LOWERED]
    wanted = plain.tokenize_documents(special)
    asked = [text.replace("[SEP]", plain.tokenizer.sep_token or "") for text in TEXTS]
    assert plain.tokenize_documents(asked) != wanted == encoder.tokenize_documents(asked)
    encoder.save(tmp_path / "run")
    again, key_too = sparse_model.load(tmp_path / "run"), sparse_model.load(tmp_path / "run", lowercase=True)
    auto = transformers.AutoTokenizer.from_pretrained(tmp_path / "run")
    file = Tokenizer.from_file(str(tmp_path / "run" / "tokenizer.json"))
    assert again.tokenize_documents(asked) == key_too.tokenize_documents(asked) == wanted
    assert auto(asked)["input_ids"] == [each.ids for each in file.encode_batch(asked)] == wanted
    assert auto.special_tokens_map == plain.tokenizer.special_tokens_map
    assert auto.model_max_length == plain.tokenizer.model_max_length
    theirs = st.SparseEncoder(str(tmp_path / "run"), device="cpu")
    for found, expected in (
        (encoder.encode_documents(asked[:-1]), theirs.encode_document(asked[:-1], convert_to_sparse_tensor=False)),
        (encoder.encode_queries(asked), theirs.encode_query(asked, convert_to_sparse_tensor=False)),
    ):
        rows = expected.numpy()
        rows[:, plain.tokenizer.all_special_ids] = 0
        np.testing.assert_allclose(found.toarray(), rows, rtol=1e-5, atol=1e-5)


def test_a_foreign_folder_that_lower_cases(tiny_model: Path, tmp_path: Path) -> None:
    """do_lower_case of sentence-transformers is obeyed where texts are documents and queries alike; ids are its own."""
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sparse_encoder.models import MLMTransformer, SpladePooling

    folder = shutil.copytree(tiny_model, tmp_path / "backbone")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    multilingual(folder)
    modules = [MLMTransformer(str(folder), max_seq_length=20), SpladePooling("max")]
    st.SparseEncoder(modules=modules, device="cpu").save(str(tmp_path / "theirs"))
    says = json.loads((tmp_path / "theirs" / "sentence_bert_config.json").read_text()) | {"do_lower_case": True}
    (tmp_path / "theirs" / "sentence_bert_config.json").write_text(json.dumps(says))
    theirs = st.SparseEncoder(str(tmp_path / "theirs"), device="cpu")
    ours, texts = sparse_model.load(tmp_path / "theirs"), ["New York", "СНЕГ rain RAIN"]
    expected = theirs.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    expected[:, silent_ids(ours.tokenizer, ours.vocabulary_size)] = 0
    assert lowers(ours.tokenizer) and not ours.inf_free and (expected > 0).any()
    np.testing.assert_allclose(ours.encode_documents(texts).toarray(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="do_lower_case: true is of documents alone, and queries go by a table"):
        sparse_model.load(tmp_path / "theirs", inf_free=True)
    assert lowers(sparse_model.load(tmp_path / "theirs", inf_free=True, lowercase=True).tokenizer)


def test_an_uncased_tokenizer_stays_as_it_is(tiny_model: Path) -> None:
    encoder = sparse_model.load(tiny_model, lowercase=True)
    assert lowers(encoder.tokenizer) and cautions(encoder) == []
    assert type(encoder.tokenizer) is type(sparse_model.load(tiny_model).tokenizer)
    assert json.loads(encoder.tokenizer.backend_tokenizer.to_str())["normalizer"]["type"] == "BertNormalizer"


def test_cased_tokens_are_told(backbone: Path) -> None:
    [told] = cautions(sparse_model.load(backbone))
    assert "tokens are cased: " in told and "lowercase: true" in told and " 0%" not in told
    assert cautions(sparse_model.load(backbone, lowercase=True)) == []


def test_a_byte_level_alphabet_has_no_capitals(tmp_path: Path) -> None:
    """Its bytes are written as letters such as Ġ; this one was made of small letters alone."""
    encoder = sparse_model.load(make_model(tmp_path, "roberta"))
    assert cautions(encoder) == [] and "Ġnew" in encoder.tokenizer.get_vocab() and not lowers(encoder.tokenizer)


def test_special_tokens_that_take_weight_are_told(tiny_model: Path) -> None:
    """One that is marked as special, and that the tokenizer does not name; it has a row of the head like any word."""
    encoder = sparse_model.load(tiny_model)
    encoder.tokenizer.backend_tokenizer.add_special_tokens([AddedToken("weather", special=True)])
    [told] = cautions(encoder)
    assert told.startswith("1 special tokens take weight, such as weather")


@pytest.mark.parametrize("dry", [True, False])
def test_a_training_begins_with_it(
    dry: bool, tiny_model: Path, posnegs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head that is new, too. What was lower-cased in training is so in the checkpoint."""
    folder = shutil.copytree(tiny_model, tmp_path / "body")
    cased(folder)
    mlm = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    mlm.bert.save_pretrained(folder)
    words = words_for(folder, posnegs_file, tmp_path / "run", "max_steps=1", f"dry_run={str(dry).lower()}")
    train(load_settings([*words, *([] if dry else ["lowercase=true"])]))
    said = capsys.readouterr().out if dry else (tmp_path / "run" / "train.log").read_text()
    assert "the masked-LM head is new (" in said
    assert ("tokens are cased" in said) == dry
    assert dry or lowers(sparse_model.load(tmp_path / "run").tokenizer)
