"""The model: a masked LM that encodes documents sparsely, and queries that need no model.

>>> import sparse_model
>>> encoder = sparse_model.load("output/x")
>>> encoder.encode_documents(["…"])  # scipy.sparse.csr_matrix [N, V]

What it exports is imported when it is first asked for: a mistake can be told before torch is loaded.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparse_model.activations import ACTIVATIONS, activate
    from sparse_model.checkpoint import load
    from sparse_model.encoder import SparseEncoder
    from sparse_model.errors import RunError, UserError
    from sparse_model.query_weights import corpus_idf

__all__ = ["ACTIVATIONS", "RunError", "SparseEncoder", "UserError", "activate", "corpus_idf", "load"]

# OpenMP reads this when torch is loaded: import this package before torch. Threads that wait go to sleep soon: where
# cores are shared, spinning (its default, for long) makes encoding and training several times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_MODULES = {
    "ACTIVATIONS": "activations",
    "RunError": "errors",
    "SparseEncoder": "encoder",
    "UserError": "errors",
    "activate": "activations",
    "corpus_idf": "query_weights",
    "load": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
