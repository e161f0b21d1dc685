"""A save from Python as a command: MODEL FOLDER LENGTH."""

import sys

import sparse_model
from sparse_model import RunError, UserError


def main() -> int:
    """The exit code."""
    model, folder, length = sys.argv[1:]
    try:
        sparse_model.load(model, max_seq_length=int(length)).save(folder)
    except (UserError, RunError) as error:
        print("error:", error, file=sys.stderr)
        return 1
    return 0
