"""Tiny models under the ids that the paper's configs and the default teachers name, in a hub's cache on this disk.

Each has the files that its repository has: weights as safetensors or pickled, a tokenizer of one kind or another,
sentence-transformers' descriptions, ONNX files beside them. Their weights are random.
"""

import json
import shutil
from pathlib import Path

import sentencepiece
import torch
import transformers

import sparse_model
from sparse_model.layout import write_json
from tests.conftest import SENTENCES, make_model
from tests.hub import add_code, add_repository, make_remote
from tests.mining.models import make_cross_encoder, make_monot5

MINER = "opensearch-project/opensearch-neural-sparse-encoding-doc-v2-distill"
POSITIONS = 512
_BODY = "sentence_transformers.models."


def fill_hub(hub: Path, scratch: Path) -> None:
    """The student, the miner (whose IDF the student takes) and the four teachers, at the pins of `pins.PINS`."""
    makers = {
        "distilbert/distilbert-base-uncased": _student,
        MINER: _miner,
        "opensearch-project/opensearch-neural-sparse-encoding-v1": _sparse,
        "Alibaba-NLP/gte-large-en-v1.5": _dense,
        "cross-encoder/ms-marco-MiniLM-L-12-v2": _cross_encoder,
        "castorini/monot5-3b-msmarco-10k": _monot5,
    }
    for number, (name, make) in enumerate(makers.items()):
        folder = scratch / str(number)
        folder.mkdir(parents=True)
        make(folder)
        add_repository(hub, name, folder)
    add_code(hub)


def _student(folder: Path) -> None:
    """vocab.txt beside tokenizer.json, and the weights once more for other programs."""
    make_model(folder, "distilbert", seed=1, positions=POSITIONS)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.get)))
    (folder / "tf_model.h5").write_bytes(b"\x89HDF")


def _miner(folder: Path) -> None:
    """A sparse encoder of sentence-transformers that needs no model for queries."""
    made = make_model(folder / "made", "distilbert", seed=2, positions=POSITIONS)
    weights = {token: 1 + id % 5 / 4 for token, id in _vocabulary(made).items()}
    write_json(made / "idf.json", weights)
    sparse_model.load(made, idf_path=str(made / "idf.json")).save(folder)
    shutil.rmtree(made)
    (folder / "complete.json").unlink(missing_ok=True)
    (folder / "query_token_weights.txt").write_text("".join(f"{token}\t{w}\n" for token, w in weights.items()))


def _sparse(folder: Path) -> None:
    make_model(folder, seed=3, positions=POSITIONS)
    _pickle(folder)


def _dense(folder: Path) -> None:
    make_remote(folder, positions=POSITIONS)
    modules = [(0, "", "Transformer"), (1, "1_Pooling", "Pooling")]
    write_json(
        folder / "modules.json",
        [{"idx": n, "name": str(n), "path": path, "type": _BODY + name} for n, path, name in modules],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 8192, "do_lower_case": False})
    modes = ("mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True}
    write_json(folder / "1_Pooling" / "config.json", pooling | {f"pooling_mode_{mode}": False for mode in modes})
    _beside(folder)


def _cross_encoder(folder: Path) -> None:
    make_cross_encoder(folder, positions=POSITIONS)
    says = json.loads((folder / "config.json").read_text())
    identity = "torch.nn.modules.linear.Identity"
    write_json(folder / "config.json", says | {"sentence_transformers": {"activation_fn": identity}})
    _beside(folder)


def _monot5(folder: Path) -> None:
    """A tokenizer of SentencePiece's alone, and pickled weights alone."""
    make_monot5(folder)
    (folder / "tokenizer.json").unlink()
    _pickle(folder)
    texts = [*SENTENCES, "Query: a Document: the Relevant: true", "Query: a Document: the Relevant: false"] * 9
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "spiece"),
        vocab_size=70,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        user_defined_symbols=["▁true", "▁false"],
        minloglevel=2,
    )
    (folder / "spiece.vocab").unlink()
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, **special})
    write_json(folder / "special_tokens_map.json", special)


def _pickle(folder: Path) -> None:
    """The weights as most repositories of before 2023 hold them."""
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _beside(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"not for us")


def _vocabulary(folder: Path) -> dict[str, int]:
    return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab()
