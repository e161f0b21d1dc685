"""The model: a masked LM that encodes documents sparsely, and queries that need no model.

>>> import sparse_model
>>> encoder = sparse_model.load("output/x")
>>> encoder.encode_documents(["…"])  # scipy.sparse.csr_matrix [N, V]
"""

from sparse_model.activations import LOGARITHMS, activate
from sparse_model.checkpoint import load
from sparse_model.encoder import SparseEncoder
from sparse_model.errors import RunError, UserError
from sparse_model.query_weights import corpus_idf

__all__ = ["LOGARITHMS", "RunError", "SparseEncoder", "UserError", "activate", "corpus_idf", "load"]
