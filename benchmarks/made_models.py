"""Models, texts and queries to measure with: real ones where they are at hand, else made on the spot.

No command of its own; the options it adds to the benchmarks:

    --tiny FOLDER --minilm FOLDER   checkpoints of the two sizes (tiny: splade-tiny of $SPARSE_SHARED, if there)
    --sizes tiny minilm             which of them
    --vocabulary 30522              of a stand-in

A stand-in has random weights, an output bias at which a document has about 250 active outputs (as trained models do),
a word-level tokenizer over made-up words, and texts of such words: Zipf distributed, as long as SciFact's. A real
checkpoint reads SciFact where $SPARSE_SHARED has it, else made-up texts too.
"""

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import sparse_model
from retrieval.beir_data import load_beir
from sparse_model import SparseEncoder
from sparse_model.description import describe

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512},
    "minilm": {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
    "distilbert": {"num_hidden_layers": 6, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
}
ON_A_CPU = ("tiny", "minilm")  # what the benchmarks measure unless they are told otherwise
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY, ACTIVE = 30522, 250
LENGTH = 256


class Model(NamedTuple):
    """A checkpoint as every contender reads it, and texts in its language."""

    size: str
    folder: Path
    """Written by `SparseEncoder.save`, so that special tokens weigh nothing for anyone."""
    source: str
    texts: list[str]
    queries: list[str]

    def load(self, **options: Any) -> SparseEncoder:
        """Ours, in evaluation mode."""
        return sparse_model.load(self.folder, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options above."""
    parser.add_argument("--sizes", nargs="+", choices=ON_A_CPU, default=list(ON_A_CPU))
    for size in ON_A_CPU:
        parser.add_argument(f"--{size}", metavar="FOLDER", help="a checkpoint of this size")
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help="of a stand-in")


def chosen(asked: argparse.Namespace) -> dict[str, str | None]:
    """Size -> folder of its checkpoint, or None for a stand-in."""
    default = shared("models/splade-tiny") if asked.vocabulary == VOCABULARY else None
    folders = {"tiny": asked.tiny or default, "minilm": asked.minilm}
    return {size: folders[size] and str(folders[size]) for size in asked.sizes}


def shared(name: str) -> Path | None:
    """A file or folder of $SPARSE_SHARED, if there."""
    path = Path(os.environ.get("SPARSE_SHARED") or "", name)
    return path if os.environ.get("SPARSE_SHARED") and path.exists() else None


def prepare(
    size: str,
    checkpoint: str | None,
    scratch: str | Path,
    vocabulary: int = VOCABULARY,
    n_texts: int = 2048,
    length: int = LENGTH,
) -> Model:
    """A model written into scratch/size, and its texts; the same every time.

    Args:
        n_texts: how many texts are made up; real ones come all.
        length: tokens documents are cut to.
    """
    transformers.utils.logging.disable_progress_bar()
    folder = Path(scratch, size)
    beir = shared("beir/scifact")
    if checkpoint:
        idf = shared("models/idf-msmarco.json") if describe(Path(checkpoint)).query_table is None else None
        encoder = sparse_model.load(checkpoint, max_seq_length=length, idf_path=str(idf) if idf else None)
        encoder.save(folder)
    if checkpoint and beir:
        data = load_beir(str(beir), "")
        return Model(size, folder, Path(checkpoint).name, list(data.texts), data.queries)
    texts, queries = made_up(n_texts, vocabulary)
    if not checkpoint:
        stand_in(size, vocabulary, texts[:8], length).save(folder)
    return Model(size, folder, Path(checkpoint).name if checkpoint else "stand-in", texts, queries)


def full_length(encoder: SparseEncoder, texts: list[str], n: int) -> list[str]:
    """Of the first texts, the n that have most tokens: for a batch without padding."""
    texts = texts[: 16 * n]
    lengths = [len(row) for row in encoder.tokenize_documents(texts)]
    return [texts[i] for i in sorted(range(len(texts)), key=lambda i: -lengths[i])[:n]]


def made_up(n: int, vocabulary: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """n texts whose first 256 tokens are 230 on average, and a query of ten words for each."""
    rng = np.random.default_rng(seed)
    frequency = 1 / (np.arange(vocabulary - len(SPECIAL)) + 2.7)
    words = np.array([f"w{i}" for i in range(len(frequency))])
    lengths = np.clip(rng.normal(290, 90, n), 20, None).astype(int)
    drawn = words[rng.choice(len(words), lengths.sum(), p=frequency / frequency.sum())]
    rows = np.split(drawn, np.cumsum(lengths)[:-1])
    return [" ".join(row) for row in rows], [" ".join(row[rng.integers(0, len(row), 10)]) for row in rows]


def stand_in(size: str, vocabulary: int, texts: list[str], length: int) -> SparseEncoder:
    """A BERT of random weights that has about ACTIVE outputs above zero for such texts."""
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=vocabulary, **SIZES[size])
    mlm = transformers.BertForMaskedLM(config).eval()
    tokenizer = word_tokenizer(vocabulary)
    rows = tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    with torch.no_grad():
        highest = torch.stack([mlm(torch.tensor([row])).logits[0].amax(dim=0) for row in rows]).flatten()
        active = min(ACTIVE, vocabulary // 4)
        mlm.get_output_embeddings().bias -= highest.topk(active * len(texts)).values[-1]
    return SparseEncoder(mlm, tokenizer, max_seq_length=length)


def word_tokenizer(vocabulary: int) -> transformers.PreTrainedTokenizerFast:
    """A token for each of the made-up words, framed as BERT's."""
    ids = {token: i for i, token in enumerate([*SPECIAL, *(f"w{i}" for i in range(vocabulary - len(SPECIAL)))])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, model_input_names=["input_ids", "attention_mask"], **names
    )


def forward_flops(mlm: Any, lengths: list[int]) -> tuple[int, int]:
    """Operations of the products for documents of these many tokens: (body with attention, output layer)."""
    output = mlm.get_output_embeddings()
    tokens, squares = sum(lengths), sum(length * length for length in lengths)
    linear = sum(module.weight.numel() for module in mlm.modules() if isinstance(module, torch.nn.Linear))
    body = 2 * tokens * (linear - output.weight.numel())
    # Queries times keys and weights times values, each 2 · L · L · D a layer.
    body += 4 * squares * mlm.config.hidden_size * mlm.config.num_hidden_layers
    return body, 2 * tokens * output.weight.numel()
