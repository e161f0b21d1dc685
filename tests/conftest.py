"""Tiny models, tokenizers and data sets made on the spot; no test needs a network."""

import gc
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the processes that tests start: sums in the same order

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

WORDS = (
    "the of a in is on to and new york city weather rain sun snow wind protein cell gene insulin binds grows "
    "falls old river bridge train car road market price rises bank money loan rate music song band plays loud "
    "quiet night day red green blue house tree bird cat dog runs jumps over under between cold hot ##s ##ing ##er"
).split()
PROCESSES = ("process", "distributed")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCES = [
    "the weather in new york city is cold rain and snow",
    "insulin binds to the protein of a cell and the gene grows",
    "the old bridge over the river falls in the wind",
    "the bank rises the rate of a loan and money is cold",
    "a band plays loud music and a song in the quiet night",
    "the red bird and the blue cat jump between green trees",
]

_may_start_python = True


def pytest_collection_finish() -> None:
    """Each training ends with a garbage collection: what was imported need not be looked through every time."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Only a test that says so starts an interpreter: `make test-fast` leaves those out."""
    global _may_start_python
    _may_start_python = any(item.get_closest_marker(name) for name in PROCESSES)


def _refuse_python(event: str, arguments: tuple) -> None:
    if event == "subprocess.Popen" and not _may_start_python and arguments[1][0] == sys.executable:
        raise RuntimeError("a test that starts an interpreter is marked `process`; tests.processes.call does without")


sys.addaudithook(_refuse_python)


def _fast(tokenizer: Tokenizer, names: dict[str, str], max_length: int) -> transformers.PreTrainedTokenizerFast:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        **names,
    )


def wordpiece_tokenizer(max_length: int = 64) -> transformers.PreTrainedTokenizerFast:
    """A BERT-like tokenizer over WORDS."""
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return _fast(tokenizer, names, max_length)


def byte_level_tokenizer(max_length: int = 64) -> transformers.PreTrainedTokenizerFast:
    """A RoBERTa-like tokenizer trained on SENTENCES."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    names |= {"mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}
    return _fast(tokenizer, names, max_length)


def _config(kind: str, vocabulary_size: int, positions: int) -> transformers.PretrainedConfig:
    sizes = {"vocab_size": vocabulary_size, "max_position_embeddings": positions}
    two_more = sizes | {"max_position_embeddings": positions + 2}  # they are numbered from 2 on
    common = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "distilbert":
        return transformers.DistilBertConfig(**sizes, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    if kind == "roberta":
        return transformers.RobertaConfig(**two_more, **common, pad_token_id=1)
    if kind == "mpnet":
        return transformers.MPNetConfig(**two_more, **common, pad_token_id=0)
    if kind == "modernbert":
        if not hasattr(transformers, "ModernBertConfig"):
            pytest.skip(f"transformers {transformers.__version__} has no ModernBERT")
        ids = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
        return transformers.ModernBertConfig(**sizes, **common, **ids, reference_compile=False)
    return transformers.BertConfig(**sizes, **common)


def make_model(folder: Path, kind: str = "bert", seed: int = 0, spread: float = 1.0, positions: int = 64) -> Path:
    """A tiny masked LM with random weights whose outputs are positive about half of the time."""
    make_tokenizer = byte_level_tokenizer if kind in ("roberta", "modernbert") else wordpiece_tokenizer
    tokenizer = make_tokenizer(positions)
    torch.manual_seed(seed)
    model = transformers.AutoModelForMaskedLM.from_config(_config(kind, len(tokenizer), positions))
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        embeddings.copy_(torch.randn_like(embeddings) * spread)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT masked LM with tokenizer, as a folder."""
    return make_model(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session", params=["bert", "roberta", "modernbert"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny masked LM of word pieces, and two of bytes."""
    return make_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def posnegs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """posnegs rows with two negatives each."""
    rows = [
        {"query": " ".join(s.split()[:3]), "pos": s, "negs": [SENTENCES[i - 1], SENTENCES[i - 2]]}
        for i, s in enumerate(SENTENCES)
    ]
    return write_jsonl(tmp_path_factory.mktemp("posnegs") / "train.jsonl", rows * 4)


@pytest.fixture(scope="session")
def kd_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kd rows of four documents, sorted by score."""
    rows = [
        {
            "query": " ".join(s.split()[1:4]),
            "docs": [s, *(SENTENCES[i - j] for j in (1, 2, 3))],
            "scores": [9.0, 4.0, 2.0, 1.0],
        }
        for i, s in enumerate(SENTENCES)
    ]
    return write_jsonl(tmp_path_factory.mktemp("kd") / "train.jsonl", rows * 3)


@pytest.fixture(scope="session")
def beir_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR data set of six documents and three queries."""
    folder = tmp_path_factory.mktemp("beir") / "tiny"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": s} for i, s in enumerate(SENTENCES)])
    queries = ["weather in new york", "insulin binds protein", "loud music"]
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{i}", "text": q} for i, q in enumerate(queries)])
    qrels = "query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq2\td4\t1\n"
    (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
