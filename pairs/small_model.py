"""The model that the quickstart trains: a small BERT, its WordPiece vocabulary and the IDF of its documents.

Everything comes out the same in every run. torch and transformers are imported where they are used, so that a mistake
and --help answer without them.
"""

from __future__ import annotations

import string
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.files import write_json

if TYPE_CHECKING:
    from transformers import BertForMaskedLM

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OUTPUT_BIAS = -0.8  # random logits have a standard deviation of about 0.25; those of a document's own tokens reach 2


def train_vocabulary(texts: Iterable[str], size: int) -> dict[str, int]:
    """WordPiece token -> id, the same in every run.

    The trainer numbers continuing letters in the order of a hash table, and breaks ties by these numbers.
    Given as special tokens they have fixed ones; beyond ASCII there are no words worth having here.
    """
    from tokenizers import BertWordPieceTokenizer

    trainer = BertWordPieceTokenizer(lowercase=True)
    letters = [f"##{letter}" for letter in string.ascii_lowercase + string.digits]
    ascii_texts = (text.encode("ascii", "ignore").decode() for text in texts)
    trainer.train_from_iterator(
        ascii_texts, size, special_tokens=SPECIAL_TOKENS + letters, show_progress=sys.stderr.isatty()
    )
    return trainer.get_vocab()


def write_tokenizer(folder: Path, vocabulary: dict[str, int]) -> None:
    """Save a WordPiece tokenizer, in files that every transformers reads alike."""
    from tokenizers import BertWordPieceTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = BertWordPieceTokenizer(vocab=vocabulary, lowercase=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.save_model(str(folder))
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    settings |= {"clean_up_tokenization_spaces": False} | dict(zip(names, SPECIAL_TOKENS, strict=True))
    write_json(folder / "tokenizer_config.json", settings)


def write_model(folder: Path, vocabulary_size: int, seed: int) -> None:
    """Save a BERT of 2 layers × 128 that is random but for `start_at_own_words`."""
    import torch
    from transformers import BertConfig, BertForMaskedLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # one file of 6 MB
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=512,
    )
    torch.manual_seed(seed)
    model = BertForMaskedLM(config)
    start_at_own_words(model)
    model.save_pretrained(folder)


def start_at_own_words(model: BertForMaskedLM) -> None:
    """Change random weights so that a document first weighs the tokens it holds, and few others.

    The output layer shares the word embeddings, so a token's logit is high where a hidden state still points to its
    embedding: positions add little to it, and the layer before the output passes it on. The negative bias keeps the
    other tokens' random logits below zero. So training starts as matching of words, as a pretrained model does, and
    with sparse documents, which are also faster; from fully random weights it takes a hundred steps to get there.
    """
    import torch

    embeddings, head = model.bert.embeddings, model.cls.predictions
    with torch.no_grad():
        embeddings.position_embeddings.weight.mul_(0.25)
        embeddings.token_type_embeddings.weight.zero_()
        head.transform.dense.weight.copy_(torch.eye(model.config.hidden_size))
        head.bias.fill_(OUTPUT_BIAS)


def write_idf(file: Path, model: Path, documents: Iterable[str]) -> None:
    """The query weights of every training over these documents: token -> IDF."""
    from sparse_model import query_weights
    from sparse_model.layout import load_tokenizer

    tokenizer = load_tokenizer(str(model))
    weights_V = query_weights.corpus_idf(tokenizer, documents, len(tokenizer), show_progress=sys.stderr.isatty())
    query_weights.write_idf(file, weights_V, tokenizer)
