"""The encoder: documents through a masked language model onto {token: weight}; queries without a model.

A document weighs w_j = f(max_i x_ij), x the masked LM's logits and f one of `activations`; a query weighs IDF_j
for each of its tokens. Score = Σ_j w_j(query) · w_j(document). (arXiv 2504.14839, section 3.)
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor, nn
from tqdm.auto import tqdm

from sparse_model import hidden, limits
from sparse_model.activations import activate
from sparse_model.arguments import as_texts
from sparse_model.card import write_card
from sparse_model.device import half_precision
from sparse_model.disk_errors import disk_told, usable_folder
from sparse_model.encoding import encode_block
from sparse_model.errors import UserError
from sparse_model.head import positive_logits
from sparse_model.heads import default_length, longest_input, open_head
from sparse_model.lexical import TrainedShare, token_counts
from sparse_model.manifest import replaced
from sparse_model.prompts import Prompts, Role
from sparse_model.pruning import Cut
from sparse_model.query_function import QueryFunction
from sparse_model.query_weights import sparse_rows, usable_weights
from sparse_model.saving import write_checkpoint
from sparse_model.tokens import (
    BLOCK,
    count_longer,
    document_ids,
    one_ahead,
    pad,
    query_ids,
)
from sparse_model.vocabulary import require_ids_below, silent_ids

Tokenize = Callable[[Sequence[str]], list[list[int]]]
# Saved as the output bias of special tokens, so that every consumer of a checkpoint gives them weight 0.
SILENT_BIAS = -10_000.0


class SparseEncoder(nn.Module):
    """A masked LM with the head of `head.positive_logits`, a saturation and, unless siamese, a query table.

    Several threads may encode with one encoder at once. It can be pickled, and so given to a process that is started by
    `spawn`; one that is forked after torch has run on several threads waits for ever, since it has none of them.

    Args:
        mlm: any AutoModelForMaskedLM whose output layer is linear with a bias; its V counts, not the tokenizer's.
        idf_V: query weights [V] (None: 1 for every token); unused when `inf_free` is false.
        max_seq_length: tokens a document (and a siamese query) is cut to, special tokens included; None: 512,
            or as many as there are positions.
        product_dtype: precision of the head's product in the forward pass; None: float32, but on a GPU the half
            precision that the run computes in (autocast's, or the masked LM's own).
        max_active_dims, prune_ratio: what documents are cut to as they are encoded (see `pruning.Cut`).
        query_prompt, document_prompt: what stands before each text (see `prompts.Prompts`).
        query_model: what reads queries as its documents, where they have a masked LM of their own; of the same V.

    Attributes:
        prompts: what stands before texts as they are encoded; they are handed over without.
        longest_input: tokens the masked LM has positions for; None: any number.
        micro_batch_documents: see `hidden.hidden_states`; of `document_weights` where it has gradients.
        new_head: weights of the masked LM that started at random, by name.
        trained_share: what the weights were learnt under; `retrieval.shaped` adds it, not the encoder.
    """

    def __init__(
        self,
        mlm: nn.Module,
        tokenizer: Any,
        *,
        activation_type: str = "relu",
        idf_V: Tensor | None = None,
        inf_free: bool = True,
        max_seq_length: int | None = None,
        product_dtype: torch.dtype | None = None,
        max_active_dims: int | None = None,
        prune_ratio: float | None = None,
        query_prompt: str = "",
        document_prompt: str = "",
        query_model: "SparseEncoder | None" = None,
    ) -> None:
        super().__init__()
        _leave_uncompiled()
        self.train(mlm.training)
        self.mlm, self.tokenizer = mlm, tokenizer
        self.activation_type, self.inf_free = activation_type, inf_free
        self.product_dtype = product_dtype
        self.cut = Cut(max_active_dims, prune_ratio)
        self.prompts = Prompts(query_prompt, document_prompt)
        self.query_model = query_model
        self.encoding_dtype = None
        self.micro_batch_documents: int | None = None
        self.trained_share = TrainedShare()
        self.new_head: list[str] = []
        frame = sorted({*tokenizer("")["input_ids"], tokenizer.pad_token_id or 0})
        output = open_head(mlm)
        self.longest_input = longest_input(mlm)
        self.max_seq_length = default_length(self.longest_input) if max_seq_length is None else max_seq_length
        self.vocabulary_size = output.weight.shape[0]
        require_ids_below(self.vocabulary_size, tokenizer, frame)
        if query_model is not None and inf_free:
            raise UserError("query_model: queries go by a table (inf_free is true); leave one of them out.")
        if query_model is not None and query_model.vocabulary_size != self.vocabulary_size:
            raise UserError(
                f"query_model: its V is {query_model.vocabulary_size}, the documents' model's {self.vocabulary_size}: "
                "an entry of one stands for another token than the other's."
            )
        with torch.no_grad():
            output.bias[silent_ids(tokenizer, self.vocabulary_size)] = SILENT_BIAS
        self.register_buffer("frame_ids", torch.tensor(frame), persistent=False)
        self.idf_V: nn.Parameter | None = None
        self.query_function: QueryFunction | None = None
        if inf_free:
            self.use_idf(torch.ones(self.vocabulary_size) if idf_V is None else idf_V)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.frame_ids.device  # type: ignore[return-value,union-attr]

    @property
    def query_side(self) -> "SparseEncoder":
        """What reads a query as its document where queries go through a model: the query model, or this encoder."""
        return self.query_model or self

    @property
    def query_words(self) -> str:
        """What weighs queries, for people."""
        if self.inf_free:
            return "query weights"
        return f"queries through {'the model' if self.query_model is None else 'a model of their own'}"

    @property
    def encoding_dtype(self) -> torch.dtype | None:
        """If set, texts are encoded with the masked LM under autocast in this dtype."""
        return self._encoding_dtype

    @encoding_dtype.setter
    def encoding_dtype(self, value: torch.dtype | None) -> None:
        self._encoding_dtype = value
        if self.query_model is not None:
            self.query_model.encoding_dtype = value

    @property
    def max_seq_length(self) -> int:
        """Tokens a document is cut to, special tokens included. UserError where it is set to what cannot be."""
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self._max_seq_length = self.usable_length(value, "max_seq_length")

    def usable_length(self, value: int, name: str) -> int:
        """A length that texts may be cut to here; UserError beginning with `name` if it is none."""
        return limits.length(value, name, self.tokenizer.num_special_tokens_to_add(), self.longest_input)

    @property
    def max_active_dims(self) -> int | None:
        """Tokens of a document that are kept at most; None: all. UserError where it is set to none."""
        return self.cut.max_active_dims

    @max_active_dims.setter
    def max_active_dims(self, value: int | None) -> None:
        self.cut = replace(self.cut, max_active_dims=value)

    @property
    def prune_ratio(self) -> float | None:
        """Weights below this share of the document's largest are dropped. UserError where it is set to no share."""
        return self.cut.prune_ratio

    @prune_ratio.setter
    def prune_ratio(self, value: float | None) -> None:
        self.cut = replace(self.cut, prune_ratio=value)

    def use_idf(self, idf_V: Tensor, requires_grad: bool = False) -> None:
        """Replace the query table; special tokens are set to 0.

        Raises:
            UserError: if the table is not one weight >= 0 for each entry of the model's vocabulary.
        """
        try:
            idf_V = torch.as_tensor(idf_V)
        except (RuntimeError, TypeError, ValueError):
            raise UserError(f"a query table is needed, not {str(idf_V)[:60]!r}: one weight for each token.") from None
        if idf_V.shape != (self.vocabulary_size,):
            raise UserError(
                f"a query table of {tuple(idf_V.shape)}, but the model has V = {self.vocabulary_size} weights."
            )
        table = usable_weights(idf_V, self.tokenizer, "the query table")
        self.idf_V = nn.Parameter(table.to(self.device), requires_grad=requires_grad)
        self.query_function = None

    def learn_query_function(self) -> None:
        """Train query weights as a function of tokens' embeddings (see `QueryFunction`) from the present table on.

        Raises:
            UserError: if there is no table, or no embedding for each entry of it.
        """
        embeddings_VD = self._input_embeddings()
        if self.idf_V is None or len(embeddings_VD) < self.vocabulary_size:
            raise UserError(
                f"idf_form: embedding needs a query table and an embedding for each of its {self.vocabulary_size} "
                f"tokens; the model has {len(embeddings_VD)}."
            )
        self.query_function = QueryFunction(self.idf_V, embeddings_VD.shape[1]).to(self.device)
        self.idf_V.requires_grad_(False)

    def end_query_function(self) -> None:
        """Keep the table that the function came to, which goes on to be trained as such."""
        if self.query_function is not None:
            self.use_idf(self.query_table(), requires_grad=True)  # type: ignore[arg-type]

    def query_table(self) -> Tensor | None:
        """Query weights [V] as they are now, with their graph; None where queries go through the model."""
        if self.idf_V is None:
            return None
        if self.query_function is None:
            return self.idf_V
        return self.query_function(self._input_embeddings()[: self.vocabulary_size])

    def _input_embeddings(self) -> Tensor:
        return self.mlm.get_input_embeddings().weight  # type: ignore[operator,no-any-return]

    def document_weights(
        self, input_ids: Tensor, attention_mask: Tensor, lengths: Sequence[int] | None = None
    ) -> Tensor:
        """Weights [N, V] (float32) of documents given as input_ids and attention_mask [N, L], padded on the right.

        A document of special tokens alone is the empty vector.

        Args:
            lengths: tokens of each document, if they are at hand: else they are asked of the device.
        """
        lengths = attention_mask.sum(dim=1).tolist() if lengths is None else lengths
        size = self.micro_batch_documents if torch.is_grad_enabled() else None
        hidden_TD, order = hidden.hidden_states(self.mlm, input_ids, attention_mask, lengths, size)
        output = self.output_layer()
        with torch.autocast(hidden_TD.device.type, enabled=False):
            logits_NV = self._positive_logits(hidden_TD.float(), [lengths[row] for row in order], *output)
            if order != sorted(order):
                logits_NV = logits_NV[torch.tensor(order).argsort().to(logits_NV.device)]
            return activate(logits_NV, self.activation_type) * self.has_text(input_ids).unsqueeze(1)

    _positive_logits = staticmethod(positive_logits)

    def output_layer(self) -> tuple[Tensor, Tensor, torch.dtype | None]:
        """Weights and bias in float32, and the precision of their product."""
        output = self.mlm.get_output_embeddings()  # type: ignore[operator]
        return output.weight.float(), output.bias.float(), self.product_dtype or half_precision(output.weight)

    def has_text(self, input_ids: Tensor) -> Tensor:
        """Whether each document has more than special tokens, bool [N]."""
        return (~torch.isin(input_ids, self.frame_ids)).any(dim=1)  # type: ignore[arg-type]

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Recompute the masked LM's activations in backward instead of keeping them (the Trainer calls this)."""
        newer = getattr(self.mlm, "activation_checkpointing_enable", None)
        (newer or self.mlm.gradient_checkpointing_enable)(**options)  # type: ignore[operator]

    gradient_checkpointing_enable = activation_checkpointing_enable  # its name before transformers 5.20

    def query_weights(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Weights [Q, V] (float32) of queries [Q, L]: IDF_j for each distinct token j, or the model's if siamese."""
        table_V = self.query_table()
        if table_V is None:
            return self.query_side.document_weights(input_ids, attention_mask)
        if table_V.is_leaf and table_V.requires_grad:
            with torch.no_grad():  # a step may lead below 0, where a weight finds nothing and is none
                table_V.clamp_(min=0)
        present_QV = torch.zeros(len(input_ids), self.vocabulary_size, device=input_ids.device)
        # amax keeps a token present where padding carries the same id.
        present_QV.scatter_reduce_(1, input_ids, attention_mask.to(present_QV.dtype), "amax")
        return present_QV * table_V

    def forward(
        self,
        query_ids: Tensor,
        query_mask: Tensor,
        document_ids: Tensor,
        document_mask: Tensor,
        document_lengths: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(query weights [Q, V], document weights [N, V]) in one call, as data-parallel wrappers need."""
        document_NV = self.document_weights(document_ids, document_mask, document_lengths)
        return self.query_weights(query_ids, query_mask), document_NV

    def tokenize_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text behind the prompt, framed by special tokens and cut at `max_seq_length`."""
        return document_ids(self.tokenizer, self.prompts.before("document", as_texts(texts)), self.max_seq_length)

    def tokenize_queries(self, texts: Sequence[str]) -> list[list[int]]:
        """Distinct ids without special tokens, cut only at the tokenizer's limit; framed like documents if siamese.

        The query prompt's tokens are the query's, as those of its words are.
        """
        texts = self.prompts.before("query", as_texts(texts))
        if self.inf_free:
            return query_ids(self.tokenizer, texts)
        side = self.query_side
        return document_ids(side.tokenizer, texts, side.max_seq_length)

    def count_tokens(self, texts: Sequence[str]) -> csr_matrix:
        """How often each token stands in what is read of each document, int64 [N, V], its prompt left out.

        Special tokens are none.
        """
        return token_counts(self.tokenize_documents(texts), self.tokenizer, self.vocabulary_size, self.prompt_ids)

    @property
    def prompt_ids(self) -> list[int]:
        """Framed ids of the document prompt alone, with which those of documents begin; [] without one."""
        prompt = self.prompts.document
        return document_ids(self.tokenizer, [prompt], sys.maxsize)[0] if prompt else []

    def check_prompts(self) -> None:
        """Raise a UserError where a prompt leaves no room for a text behind it."""
        for role, prompt in asdict(self.prompts).items():
            tokenizer, room = self._reader("query" if role == "query" else "document")
            if count_longer(tokenizer, [prompt], room - 1):
                raise UserError(f"{role}_prompt: {prompt[:60]!r} fills all {room} tokens that are read of a {role}.")

    def _reader(self, role: Role) -> tuple[Any, int]:
        """(the tokenizer, tokens that are read of a text, its prompt included and special tokens left out)."""
        if role == "query" and self.inf_free:
            return self.tokenizer, int(self.tokenizer.model_max_length)
        side = self.query_side if role == "query" else self
        return side.tokenizer, side.max_seq_length - int(side.tokenizer.num_special_tokens_to_add())

    def count_cut_queries(self, texts: Sequence[str]) -> int:
        """How many queries have more tokens than `encode_queries` reads."""
        tokenizer, room = self._reader("query")
        return count_longer(tokenizer, self.prompts.before("query", as_texts(texts)), room)

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows of ids as input_ids and attention_mask [N, L], padded on the right."""
        return pad(rows, self.tokenizer.pad_token_id or 0)

    def encode_documents(
        self,
        texts: Iterable[str],
        batch_size: int = 32,
        show_progress: bool = False,
    ) -> csr_matrix:
        """Weights of documents as float32 [N, V], in the order of `texts`; an empty text is an empty row.

        Args:
            batch_size: documents of max_seq_length a batch may hold; more where they are shorter.
        """
        whole = self._whole_vectors(self.tokenize_documents, as_texts(texts), batch_size, show_progress)
        return self.cut(whole) if self.cut else whole

    def _whole_vectors(
        self, tokenize: Tokenize, texts: Sequence[str], batch_size: int, show_progress: bool = False
    ) -> csr_matrix:
        starts = range(0, len(texts), BLOCK)
        with tqdm(total=len(texts), desc="Encoding", unit=" documents", disable=not show_progress) as bar:
            parts = list(self._whole_blocks(tokenize, (texts[i : i + BLOCK] for i in starts), batch_size, bar.update))
        empty = csr_matrix((0, self.vocabulary_size), dtype=np.float32)
        return vstack([empty, *parts], format="csr", dtype=np.float32)

    def encode_blocks(
        self,
        blocks: Iterable[Sequence[str]],
        batch_size: int = 32,
        progress: Callable[[int], object] = lambda documents: None,
    ) -> Iterator[csr_matrix]:
        """Weights [len(block), V] of each block of documents in turn, in no more memory than two blocks need.

        Batches stay within a block. While one block is encoded, the next is tokenised on another thread.

        Args:
            batch_size: see `encode_documents`; progress: called with the number of documents of each batch done.
        """
        for whole in self._whole_blocks(self.tokenize_documents, blocks, batch_size, progress):
            yield self.cut(whole) if self.cut else whole

    def _whole_blocks(
        self,
        tokenize: Tokenize,
        blocks: Iterable[Sequence[str]],
        batch_size: int,
        progress: Callable[[int], object],
    ) -> Iterator[csr_matrix]:
        limits.whole(batch_size, "batch_size")
        for ids in one_ahead(tokenize, blocks):
            yield encode_block(self, ids, batch_size, progress)

    def encode_queries(self, texts: Iterable[str], batch_size: int = 32) -> csr_matrix:
        """Weights of queries as float32 [Q, V]; no model runs when inference-free."""
        texts = as_texts(texts)
        table_V = self.query_table()
        if table_V is None:
            return self.query_side._whole_vectors(self.tokenize_queries, texts, batch_size)
        table = table_V.detach().cpu().numpy()
        return csr_matrix(sparse_rows(self.tokenize_queries(texts), table), shape=(len(texts), self.vocabulary_size))

    def explain(self, query: str, document: str) -> list[tuple[str, float, float, float]]:
        """(token, query weight, document weight, product) of each token that scores, largest product first."""
        query_row, document_row = self.encode_queries([query]), self.encode_documents([document])
        products = query_row.multiply(document_row).tocoo()
        ids = sorted(products.col[products.data > 0], key=lambda j: (-query_row[0, j] * document_row[0, j], j))
        tokens = self.tokenizer.convert_ids_to_tokens([int(j) for j in ids])
        weights = [(float(query_row[0, j]), float(document_row[0, j])) for j in ids]
        return [(token, q, d, q * d) for token, (q, d) in zip(tokens, weights, strict=True)]

    def save(self, folder: str | Path, **says: Any) -> None:
        """Write a self-contained checkpoint (see `saving.write_checkpoint`), manifest and card, over an older one.

        Args:
            says: what the manifest is to say beside (see `manifest`).

        Raises:
            UserError, RunError: naming the path that cannot be written, why, and what to do.
        """
        path = usable_folder(folder, "save")
        with disk_told(path):
            with replaced(path, **says) as new:
                self.write(new)
            write_card(path)

    def write(self, folder: Path) -> None:
        """The files of a checkpoint; the caller adds its own, and the manifest once all are there."""
        write_checkpoint(folder, self, self.query_table(), self.query_model, self.cut, self.prompts)
        self.trained_share.write(folder)


@functools.cache
def _leave_uncompiled() -> None:
    """Keep torch.compile out of what it would compile anew for every batch's lengths; the masked LM is compiled.

    Not by decorators: those load the compiler, over a second of CPU, into commands that never build a model.
    """
    for owner, name in ((SparseEncoder, "document_weights"), (hidden, "hidden_states"), (hidden, "_of_group")):
        setattr(owner, name, torch.compiler.disable(getattr(owner, name), recursive=False))
    hidden._groups = torch.compiler.disable(hidden._groups)
    SparseEncoder._positive_logits = staticmethod(torch.compiler.disable(positive_logits))  # type: ignore[method-assign,assignment]
