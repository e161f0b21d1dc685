"""python -m experiment.sweep: what run_reproduce.sh starts."""

import sys

from experiment.sweep.sweep import main

if __name__ == "__main__":
    sys.exit(main())
