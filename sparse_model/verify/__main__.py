"""python -m sparse_model.verify CHECKPOINT [--texts FILE]: the same texts through every program that loads it.

Prints of each program that is installed how far its weights and scores are from ours, and whether rankings agree;
exit code 1 if one is off by more than rounding. The texts are documents and queries both.
"""

import argparse
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sparse_model.commands import exit_code
from sparse_model.verify.texts import TEXTS, read_texts

if TYPE_CHECKING:
    from sparse_model.verify.compare import Comparison
    from sparse_model.verify.consumers import Checkpoint, Consumer

ROW = "{:<30} {:>9} {:>9}  {:<8}  {}"


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sparse_model.verify", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("checkpoint", help="a folder or hub id that sparse_model.load takes")
    parser.add_argument("--texts", type=Path, help="a file with one text a line, instead of the built-in ones")
    arguments = parser.parse_args(argv)
    return exit_code(lambda: verify(arguments.checkpoint, arguments.texts))


def verify(checkpoint: str, texts_file: Path | None = None) -> int:
    """Print the table; 0 if all that is installed agrees, else 1.

    Raises:
        UserError: if the checkpoint or the texts cannot be used.
    """
    texts = list(TEXTS) if texts_file is None else read_texts(texts_file)
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        opened = _open(checkpoint, texts, Path(scratch))
        from sparse_model.verify.compare import Comparison
        from sparse_model.verify.consumers import CONSUMERS

        encoder, comparison = opened.encoder, Comparison(opened.encoder, texts)
        print(
            f"{encoder.activation_type}, {encoder.query_words}, "
            f"V = {encoder.vocabulary_size}, {encoder.max_seq_length} tokens; {len(texts)} texts, of which "
            f"{int((~comparison.has_text).sum())} without a token are no documents"
        )
        print(ROW.format("largest difference of", "weights", "scores", "rankings", ""), flush=True)
        agree = [_row(name, consumer, opened, comparison) for name, consumer in CONSUMERS.items()]
    return int(not all(agree))


def _open(name: str, texts: list[str], scratch: Path) -> "Checkpoint":
    import sparse_model
    from sparse_model.layout import resolve
    from sparse_model.manifest import read_manifest
    from sparse_model.verify.consumers import Checkpoint

    encoder = sparse_model.load(name)
    folder = resolve(name)
    if not read_manifest(folder).get("files"):
        folder = scratch / "saved"
        encoder.save(folder)
        print(f"{name} is no checkpoint of ours: programs read it as `SparseEncoder.save` writes it.")
    return Checkpoint(folder, encoder, texts, scratch)


def _row(name: str, consumer: "Consumer", checkpoint: "Checkpoint", comparison: "Comparison") -> bool:
    """Print what one program says; whether nothing is wrong with it."""
    from sparse_model.verify.consumers import Unfit

    missing = [package for package in (consumer.package, *consumer.beside) if find_spec(package) is None]
    if missing:
        print(ROW.format(name, "", "", "", f"not installed: pip install {consumer.pip}"), flush=True)
        return True
    version = metadata.version(consumer.package)
    said, strips = f"{name} {version}", _is_before(version, consumer.strips_before)
    try:
        found = comparison.difference(consumer.encode(checkpoint), consumer.score_bound, consumer.cuts_queries, strips)
    except Unfit as reason:
        print(ROW.format(said, "–", "–", "–", reason), flush=True)
        return True
    except Exception as error:  # noqa: BLE001 - whatever another program raises
        print(ROW.format(said, "", "", "", f"FAILED: {type(error).__name__}: {error}"), flush=True)
        return not consumer.counted
    fine = found.within(consumer.bound, consumer.score_bound) or not consumer.counted
    note = "takes spaces off a document's ends" if strips else consumer.note
    note = note if fine else f"OFF by more than {consumer.bound:g}. {note}"
    cells = (f"{found.weights:.1e}", f"{found.scores:.1e}", "agree" if found.rankings else "differ")
    print(ROW.format(said, *cells, note).rstrip(), flush=True)
    return fine


def _is_before(version: str, other: str) -> bool:
    """Whether major and minor number are lower; "" is before none."""
    numbers = [tuple(map(int, text.split(".")[:2])) for text in (version, other or "0.0")]
    return numbers[0] < numbers[1]


if __name__ == "__main__":
    sys.exit(main())
