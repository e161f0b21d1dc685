"""Side-by-side measurements, each a command: `python -m benchmarks` runs them all."""

import os

# Before torch is imported. Threads that wait go to sleep soon: where cores are shared, spinning makes everything
# several times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
