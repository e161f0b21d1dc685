"""A save from Python as a command: MODEL FOLDER LENGTH."""

import sys

import sparse_model
from sparse_model import UserError


def main() -> int:
    """The exit code. What Python says of a disk, with the folder that the caller named, is as clear as a sentence."""
    model, folder, length = sys.argv[1:]
    try:
        sparse_model.load(model, max_seq_length=int(length)).save(folder)
    except (UserError, OSError) as error:
        said = f"{error.strerror}: {error.filename or folder}" if isinstance(error, OSError) else error
        print("error:", said, file=sys.stderr)
        return 1
    return 0
