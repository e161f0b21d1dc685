"""A checkpoint for a command without settings: which files it consists of, how it is loaded to encode a corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.fingerprint import fingerprint
from sparse_model.layout import resolve
from sparse_model.manifest import MANIFEST
from sparse_model.pruning import Cut

if TYPE_CHECKING:
    from sparse_model import SparseEncoder

# What lies in a run's folder and says nothing about the model.
NOT_THE_MODEL = ("run.json", MANIFEST, "trainer_state.json", "error.json", "failed.json")
DTYPES = ("float32", "bfloat16", "float16")


def model_files(path: str) -> list[Path]:
    """The files that make up a checkpoint (a folder, a hub id, or id@revision), for a hash of it."""
    folder = resolve(path)
    others = (".", "checkpoint-")
    parts = [p for p in folder.iterdir() if (p / "config.json").is_file() and not p.name.startswith(others)]
    names = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "*.py")
    files = {file for place in (folder, *parts) for name in names for file in place.glob(name)}
    return sorted(file for file in files if file.name not in NOT_THE_MODEL)


def open_model(
    checkpoint: str, use_cpu: bool, dtype: str = "float32", **options: Any
) -> tuple["SparseEncoder", dict[str, Any], Cut]:
    """(the encoder on its device, without a cut; all that decides its vectors beside the texts; the cut it had).

    Args:
        dtype: what documents are encoded in, one of DTYPES.
        options: arguments of `sparse_model.load`.
    """
    import torch
    from transformers.utils import logging

    import sparse_model

    logging.disable_progress_bar()  # of reading weights, which takes no time
    encoder = sparse_model.load(checkpoint, **options)
    encoder.to("cuda" if torch.cuda.is_available() and not use_cpu else "cpu")
    encoder.encoding_dtype = None if dtype == "float32" else getattr(torch, dtype)
    cut, encoder.cut = encoder.cut, Cut()
    facts = {"files": fingerprint(model_files(checkpoint)), "length": encoder.max_seq_length, "dtype": dtype}
    return encoder, facts, cut
