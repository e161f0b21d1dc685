"""Build the quickstart's data from the documentation strings of the Python that runs it.

    python -m pairs.quickstart --output_dir data/quickstart

Every machine that can run this project has tens of thousands of real query-document pairs on its disk: the
summary sentence of a documentation string is the query, the signature and body without that sentence the
document. Files are parsed, never imported. The folder that is left is a BEIR folder (corpus.jsonl,
queries.jsonl, qrels/{test,dev}.tsv) with train.jsonl (rows {query, pos}) and model/ (a small, randomly
initialised BERT and its WordPiece tokenizer) beside it. Packages are held out whole: no package has pairs
both in train.jsonl and in the corpus. The pairs depend on what is installed, which constraints.txt pins.
"""

from __future__ import annotations

import argparse
import json
import platform
import string
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

from pairs.docstrings import Pair, deduplicate, rank_of, read_packages, split_of
from retrieval.files import read_json
from sparse_model.errors import UserError

MAX_QUERIES = 500  # with judgements, of each held-out split
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_jsonl(file: Path, rows: Iterable[dict[str, str]]) -> None:
    """One JSON object a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_folder(folder: Path, pairs: list[Pair]) -> dict[str, int]:
    """Write the BEIR folder and train.jsonl; returns their counts."""
    by_split: dict[str, list[Pair]] = {"train": [], "dev": [], "test": []}
    for pair in sorted(pairs, key=lambda p: rank_of(p.query)):
        by_split[split_of(pair.package)].append(pair)
    train, corpus = by_split["train"], by_split["dev"] + by_split["test"]
    ids = {pair.query: f"d{i}" for i, pair in enumerate(corpus)}
    documents = ({"_id": ids[pair.query], "title": pair.title, "text": pair.text} for pair in corpus)
    judged = {split: by_split[split][:MAX_QUERIES] for split in ("dev", "test")}
    queries = [pair.query for selected in judged.values() for pair in selected]
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "train.jsonl", ({"query": pair.query, "pos": pair.document} for pair in train))
    write_jsonl(folder / "corpus.jsonl", documents)
    write_jsonl(folder / "queries.jsonl", ({"_id": f"q-{ids[query]}", "text": query} for query in queries))
    for split, selected in judged.items():
        lines = [f"q-{ids[pair.query]}\t{ids[pair.query]}\t1\n" for pair in selected]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return {
        "train_pairs": len(train),
        "train_packages": len({pair.package for pair in train}),
        "corpus_documents": len(corpus),
        "corpus_packages": len({pair.package for pair in corpus}),
        "dev_queries": len(judged["dev"]),
        "test_queries": len(judged["test"]),
    }


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


def write_model(folder: Path, vocabulary: dict[str, int], seed: int) -> None:
    """Save a random BERT (2 layers × 128) and its tokenizer, in files that every transformers reads alike."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=512,
    )
    torch.manual_seed(seed)
    BertForMaskedLM(config).save_pretrained(folder)
    tokenizer = BertWordPieceTokenizer(vocab=vocabulary, lowercase=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.save_model(str(folder))
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    settings |= {"clean_up_tokenization_spaces": False} | dict(zip(names, SPECIAL_TOKENS, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


UNFINISHED = ".unfinished"  # says that the files of a folder are ours, left by a build that was stopped


def build(folder: Path, smoke: bool = False, seed: int = 42) -> dict[str, object]:
    """Make the folder unless it is there already; returns its manifest.

    smoke: the standard library only and a smaller vocabulary, for a quick check that everything runs.
    Raises UserError if the folder was made with other settings.
    """
    settings = {"smoke": smoke, "seed": seed}
    manifest_file = folder / "manifest.json"
    if manifest_file.exists():
        manifest = read_json(manifest_file)
        if manifest.get("settings") != settings:
            made = manifest.get("settings", "something else")
            raise UserError(f"{manifest_file}: made with {made}, not {settings}; remove {folder} to rebuild")
        return manifest
    if folder.is_dir() and any(folder.glob("*.jsonl")) and not (folder / UNFINISHED).is_file():
        raise UserError(f"--output_dir {folder}: holds other data; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / UNFINISHED).touch()
    start = time.perf_counter()
    names = ["stdlib"] if smoke else ["stdlib", "purelib", "platlib"]
    roots = dict.fromkeys(Path(sysconfig.get_paths()[name]) for name in names)
    pairs = deduplicate(read_packages(roots))
    counts = write_folder(folder, pairs)
    texts = [t for p in pairs if split_of(p.package) == "train" for t in (p.query, p.document)]
    vocabulary = train_vocabulary(texts, 2048 if smoke else 8192)
    write_model(folder / "model", vocabulary, seed)
    counts["vocabulary"] = len(vocabulary)
    seconds = round(time.perf_counter() - start, 1)
    manifest = {"settings": settings, "python": platform.python_version(), **counts, "seconds": seconds}
    manifest_file.write_text(json.dumps(manifest, indent=1))  # last: where it is, the rest is whole
    (folder / UNFINISHED).unlink()
    return manifest


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output_dir", default="data/quickstart", help="the folder to make")
    parser.add_argument("--smoke", action="store_true", help="the standard library only: smaller and faster")
    parser.add_argument("--seed", type=int, default=42, help="of the model's random weights")
    arguments = parser.parse_args(argv)
    try:
        manifest = build(Path(arguments.output_dir), arguments.smoke, arguments.seed)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.output_dir}: " + ", ".join(f"{k} {v}" for k, v in manifest.items() if k != "settings"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
