"""A sweep as a command, in a folder of its own: FOLDER WORD…"""

import os
import sys

from experiment.sweep.sweep import main as sweep
from tests.processes import ROOT


def main() -> int:
    """The exit code. Its report goes below the folder, and the commands that it starts are the checkout's."""
    folder, *words = sys.argv[1:]
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(ROOT)
    return sweep(words)
