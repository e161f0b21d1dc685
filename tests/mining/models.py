"""Tiny teachers with random weights."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mining.teachers import TeacherSpec
from tests.conftest import WORDS, make_model, wordpiece_tokenizer

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def make_sparse(folder: Path) -> Path:
    return make_model(folder, seed=3)


def make_dense(folder: Path, kind: str = "BertModel", pooling: str | None = None) -> Path:
    """A tiny BERT, as a sentence-transformers model where a pooling is given."""
    tokenizer = wordpiece_tokenizer()
    torch.manual_seed(1)
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **SIZES)
    _save(getattr(transformers, kind)(config), tokenizer, folder)
    if pooling:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer

        modules = [Transformer(str(folder), max_seq_length=64), Pooling(16, pooling_mode=pooling), Normalize()]
        SentenceTransformer(modules=modules).save(str(folder))
    return folder


def make_cross_encoder(folder: Path, num_labels: int = 1, positions: int = 64) -> Path:
    tokenizer = wordpiece_tokenizer(positions)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=positions, num_labels=num_labels, **SIZES
    )
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():  # so that pairs differ by more than rounding
        for weight in model.parameters():
            weight.mul_(10 if weight.ndim > 1 else 1)
    return _save(model, tokenizer, folder)


def make_monot5(folder: Path) -> Path:
    tokenizer = unigram_tokenizer()
    torch.manual_seed(4)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight.mul_(3)
    return _save(model, tokenizer, folder)


def unigram_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """T5's kind of tokenizer: words begin with ▁, anything else is spelled; </s> at the end."""
    words = ["true", "false", "Query", "Document", "Relevant", *(w for w in WORDS if not w.startswith("##"))]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -2.0) for word in words), ("▁", -4.0)]
    pieces += [(letter, -6.0) for letter in ":abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _save(model: torch.nn.Module, tokenizer: transformers.PreTrainedTokenizerFast, folder: Path) -> Path:
    model.save_pretrained(folder)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)
    return folder


def tiny_spec(kind: str, folder: Path, **more: Any) -> TeacherSpec:
    """A teacher of a tiny model, cut at 24 tokens."""
    return TeacherSpec(kind, str(folder), max_length=24, **more)  # type: ignore[arg-type]
