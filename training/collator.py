"""Examples to tensors: queries at their own length, documents flattened query by query."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from sparse_model.prompts import Prompts
from sparse_model.tokens import document_ids, pad, query_ids
from training.data import Example


class Collator:
    """Makes a batch of Q examples with G documents each into the trainer's inputs.

    Returns query_ids, query_mask [Q, Lq], document_ids, document_mask [Q·G, L], document_lengths
    (a list, so that the model need not ask the device for them), document_keys [Q·G] and query_keys
    [Q] (equal texts have equal keys) and scores [Q, G] (kd; else [Q, 0]). With a share also its entries: share_places
    int64 [2, n] (document, token) and share_weights float32 [n].

    Args:
        keep_texts: return the texts too, as queries and documents, for teachers with tokenizers of their own.
        prompts: what stands before queries and documents; keys and texts are without.
        share: of documents' ids, the lexical share [N, V] that they are scored with.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_seq_length: int,
        inf_free: bool,
        keep_texts: bool = False,
        share: Callable[[Sequence[Sequence[int]]], csr_matrix] | None = None,
        prompts: Prompts = Prompts(),  # noqa: B008 - it cannot be changed
    ) -> None:
        self.tokenizer, self.max_seq_length, self.inf_free = tokenizer, max_seq_length, inf_free
        self.keep_texts, self.share, self.prompts = keep_texts, share, prompts

    def __call__(self, examples: list[Example]) -> dict[str, Any]:
        queries = [example.query for example in examples]
        documents = [text for example in examples for text in example.documents]
        asked = self.prompts.before("query", queries)
        query_rows = (
            query_ids(self.tokenizer, asked)
            if self.inf_free
            else document_ids(self.tokenizer, asked, self.max_seq_length)
        )
        pad_id = self.tokenizer.pad_token_id or 0
        q_ids, q_mask = pad(query_rows, pad_id)
        document_rows = document_ids(self.tokenizer, self.prompts.before("document", documents), self.max_seq_length)
        d_ids, d_mask = pad(document_rows, pad_id)
        texts = {"queries": queries, "documents": documents} if self.keep_texts else {}
        return (
            self._share_of(document_rows)
            | texts
            | {
                "query_ids": q_ids,
                "query_mask": q_mask,
                "document_ids": d_ids,
                "document_mask": d_mask,
                "document_lengths": [len(row) for row in document_rows],
                "document_keys": _keys(documents),
                "query_keys": _keys(queries),
                "scores": torch.tensor([example.scores for example in examples], dtype=torch.float32),
            }
        )

    def _share_of(self, rows: list[list[int]]) -> dict[str, Any]:
        if self.share is None:
            return {}
        share_NV = self.share(rows).tocoo()
        places = torch.from_numpy(np.stack([share_NV.row, share_NV.col]).astype(np.int64))
        return {"share_places": places, "share_weights": torch.from_numpy(share_NV.data)}


def _keys(texts: list[str]) -> torch.Tensor:
    return torch.tensor([text_key(text) for text in texts], dtype=torch.long)


def text_key(text: str) -> int:
    """A 64-bit key that is the same on every process (Python's own hash is not)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
