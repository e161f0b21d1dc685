"""Query weights without a model: a table of one weight per vocabulary entry, IDF as a rule.

IDF_j = ln(1 + (N − df_j + 0.5) / (df_j + 0.5)), df over the distinct token ids of a document (arXiv 2411.04403,
section 3.1). Special tokens weigh 0.
"""

import json
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sparse_model.arguments import as_texts, require_several
from sparse_model.errors import UserError
from sparse_model.limits import MAX_WEIGHT, whole
from sparse_model.manifest import check_manifest
from sparse_model.pins import repository_and_revision
from sparse_model.tokens import distinct_ids
from sparse_model.vocabulary import require_ids_below, tokens_by_id


def idf(document_frequency_V: np.ndarray, n_documents: int) -> np.ndarray:
    """ln(1 + (N − df + 0.5) / (df + 0.5)) for every entry, df = 0 included, as float32 [V]."""
    df = document_frequency_V.astype(np.float64)
    return np.log1p((n_documents - df + 0.5) / (df + 0.5)).astype(np.float32)


def corpus_idf(
    tokenizer: Any, texts: Iterable[str], vocabulary_size: int, show_progress: bool = False, block: int = 4096
) -> Tensor:
    """IDF of whole (not truncated) texts as float32 [V]; special tokens 0.

    Args:
        block: texts that are tokenised together.

    Raises:
        UserError: if V is less than the tokenizer has ids, or the texts are none.
    """
    require_several(texts)
    require_ids_below(whole(vocabulary_size, "vocabulary_size"), tokenizer)
    whole(block, "block")
    df, n_documents = np.zeros(vocabulary_size, dtype=np.int64), 0
    stream = iter(tqdm(texts, desc="IDF", unit=" documents", disable=not show_progress))
    while chunk := as_texts(islice(stream, block)):
        ids = [i for row in distinct_ids(tokenizer, chunk) for i in row]
        df += np.bincount(np.asarray(ids, dtype=np.int64), minlength=vocabulary_size)
        n_documents += len(chunk)
    return without_special_tokens(torch.from_numpy(idf(df, n_documents)), tokenizer)


def without_special_tokens(weights_V: Tensor, tokenizer: Any) -> Tensor:
    """The table with the tokenizer's special tokens at 0, so that a literal "[SEP]" in a query scores nothing."""
    weights_V = weights_V.clone()
    weights_V[[i for i in tokenizer.all_special_ids if i < len(weights_V)]] = 0.0
    return weights_V


def usable_weights(weights_V: Tensor, tokenizer: Any, where: str) -> Tensor:
    """The table as it is used: float32, special tokens at 0.

    Raises:
        UserError: beginning with `where`, if a weight of another token is no number from 0 to `limits.MAX_WEIGHT`.
    """
    weights_V = without_special_tokens(weights_V.detach().float(), tokenizer)
    wrong = (~((weights_V >= 0) & (weights_V <= MAX_WEIGHT))).nonzero().flatten().tolist()
    if wrong:
        token, weight = tokenizer.convert_ids_to_tokens(wrong[0]), float(weights_V[wrong[0]])
        raise UserError(
            f"{where}: {len(wrong)} of {len(weights_V)} are no query weights: token {token!r} has weight {weight}; "
            f"weights are numbers >= 0 and <= {MAX_WEIGHT:g}. What is below 0 finds nothing: set it to 0."
        )
    return weights_V


def read_idf(
    idf_path: str, tokenizer: Any, vocabulary_size: int, *, missing: float = 1.0, key: str = "idf_path"
) -> Tensor:
    """A table of token -> weight (JSON) as float32 [V]: a file, a folder with idf.json, a hub id or id@revision.

    Args:
        missing: what a token weighs that the file does not name: 1.0 in OpenSearch; special tokens 0.
        key: what messages begin with.

    Raises:
        UserError: if there is no such file, or it does not hold one weight by token.
    """
    path = _find_idf(idf_path)
    check_manifest(path.parent, only=lambda name: name == path.name)
    try:
        table = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{key}: {path} is no JSON file of token -> weight: {error}") from None
    if not isinstance(table, dict) or not table:
        raise UserError(f'{key}: {path} must hold a JSON object such as {{"token": 1.5, …}}.')
    weights = torch.full((vocabulary_size,), missing)
    vocabulary = tokenizer.get_vocab()
    known = {vocabulary[token]: weight for token, weight in table.items() if token in vocabulary}
    if len(known) < len(table) / 2:
        raise UserError(
            f"{key}: {len(known)} of {len(table)} tokens in {path} are in the model's vocabulary: wrong tokenizer?"
        )
    for token_id, weight in known.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            token = tokenizer.convert_ids_to_tokens(token_id)
            raise UserError(f"{key}: {path}: token {token!r} has weight {weight!r}; weights are numbers >= 0.")
        weights[token_id] = weight if not weight > MAX_WEIGHT else float("inf")  # JSON's integers have no end
    return usable_weights(weights, tokenizer, f"{key}: {path}")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(token for token, _ in pairs if token in seen or seen.add(token))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice!r} stands there twice")
    return table


def write_idf(path: Path, weights_V: Tensor, tokenizer: Any) -> None:
    """Token -> weight for every id of the tokenizer (zeros too: a missing token would be read as 1.0)."""
    tokens = tokens_by_id(tokenizer, len(weights_V))
    # float32 as the shortest text that reads back as the same float32.
    weights = (float(str(np.float32(weight))) for weight in weights_V.tolist())
    table = {token: weight for token, weight in zip(tokens, weights, strict=True) if token is not None}
    path.write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


def sparse_rows(ids: Sequence[Sequence[int]], weights_V: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(data, indices, indptr) of the CSR matrix whose row q holds weights_V at ids[q], zeros left out."""
    rows = [np.asarray(row, dtype=np.int64) for row in ids]
    rows = [row[weights_V[row] > 0] for row in rows]
    indices = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    return weights_V[indices].astype(np.float32), indices, indptr


def _find_idf(idf_path: str) -> Path:
    path = Path(idf_path)
    if not idf_path:
        raise UserError("idf_path: '' names no file. Give a JSON file, a hub id, or corpus.")
    if os.path.isdir(path):
        path = path / "idf.json"
    if os.path.isfile(path):
        return path
    repository, revision = repository_and_revision(idf_path)
    if path.suffix == ".json" or repository.count("/") != 1 or path.is_absolute():
        raise UserError(f"idf_path: there is no file {path}. Give a JSON file, a hub id, or corpus.")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, "idf.json", revision=revision))
    except (OSError, ValueError) as error:
        raise UserError(
            f"idf_path: {idf_path} is neither a file nor a hub repository with an idf.json that can be reached "
            f"({type(error).__name__}). Give a file, or fetch it once where there is a network."
        ) from None
