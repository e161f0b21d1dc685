"""Side-by-side measurements, each a command: `python -m benchmarks` runs them all."""

import os

import sparse_model  # noqa: F401 - first: it tells OpenMP how to wait before torch is loaded

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
