"""Two sentences through a teacher before hours are spent on it: what damaged weights or code of its own would show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from mining.teachers.spec import TeacherSpec
from sparse_model.errors import UserError

QUERIES = ["rain", "what keeps a suspension bridge up"]
DOCUMENTS = [
    "It rained all night.",
    "The cables of a suspension bridge carry its deck, and the towers carry the cables.",
]
# Of the largest value, between a batch of both and each alone: bfloat16 has 8 bits, and layers add up.
TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
LOOKED_AT = 100


def try_teacher(
    teacher: Any, spec: TeacherSpec, dtype: Any, queries: Sequence[str] = QUERIES, documents: Sequence[str] = DOCUMENTS
) -> None:
    """See that its values are finite, not constant, of the right shape, and the same in a batch as alone.

    Args:
        dtype: what it computes in.
        queries, documents: of them two of each are taken, a short one and a long one.

    Raises:
        UserError: naming the teacher and what is wrong.
    """
    name, texts = spec.name, (_short_and_long(queries), _short_and_long(documents))
    try:
        found = _vectors(teacher, *texts) if teacher.encodes else [_scores(teacher, *texts)]
    except Exception as error:  # whatever code of a model's own raises
        raise UserError(f"teacher {name} cannot be run: {type(error).__name__}: {error}") from None
    if len({together.shape[1:] for together, _ in found}) > 1:
        raise UserError(f"teacher {name}: queries and documents have vectors of different lengths.")
    tolerance = TOLERANCE[str(dtype).removeprefix("torch.")]
    problems = [problem for both in found if (problem := _problem(*both, tolerance))]
    # Queries may all be of words that a table does not have; documents are read by the model.
    if not problems and len({*texts[1]}) > 1 and (found[-1][0][0] == found[-1][0][1]).all():
        problems = ["it says the same of both"]
    if problems:
        raise UserError(
            f"teacher {name}: {problems[0]}, on two sentences. Its weights are damaged, or its code does not work with "
            "this version of transformers."
        )


def _short_and_long(texts: Sequence[str]) -> list[str]:
    found = sorted(texts[:LOOKED_AT], key=len)
    return [found[0], found[-1]]


def _vectors(teacher: Any, queries: list[str], documents: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(both texts at once, one by one) of queries and of documents, [2, D] each."""
    found, roles = [], {"query": queries, "document": documents}
    for role, texts in roles.items():
        rows = [teacher.encode(part, role) for part in (texts, texts[:1], texts[1:])]
        whole, *parts = [row.toarray() if isinstance(row, csr_matrix) else row for row in rows]
        found.append((whole, np.concatenate(parts)))
    return found


def _scores(teacher: Any, queries: list[str], documents: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(of two pairs at once, of each alone), [2] each."""
    pairs = list(zip(queries, documents, strict=True))
    return teacher.score(pairs), np.concatenate([teacher.score([pair]) for pair in pairs])


def _problem(together: np.ndarray, alone: np.ndarray, tolerance: float) -> str | None:
    if together.shape != alone.shape or len(together) != 2:
        return f"its values have the shape {together.shape}, and {alone.shape} one by one"
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        return "its values are not finite"
    if np.abs(together - alone).max() > tolerance * np.abs(together).max():
        return "a text has other values in a batch than alone"
    return None
