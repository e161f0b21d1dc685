"""Teachers' scores on one scale: min-max or z-scores within a scope, then the weighted mean over teachers.

A scope is one query's candidates, or those of a batch of consecutive queries (the paper's: 50 queries). T teachers,
N candidates in a scope.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

Normalization = Literal["minmax", "zscore", "none"]
Scope = Literal["batch", "query"]


def combine(scores_TN: np.ndarray, weights_T: np.ndarray, method: Normalization) -> tuple[np.ndarray, np.ndarray]:
    """Combined scores float64 [N] of one scope, and which teachers were constant in it, bool [T].

    A teacher that gives every candidate the same score says nothing about them: it is left out of the scope's mean.
    If all of them do, every score is 0. With "none" no scope is looked at: all teachers count.
    """
    scores_TN = np.asarray(scores_TN, dtype=np.float64)
    weights_T = np.asarray(weights_T, dtype=np.float64)
    if method == "none":
        return weights_T @ scores_TN / weights_T.sum(), np.zeros(len(scores_TN), dtype=bool)
    constant_T = np.ptp(scores_TN, axis=1) == 0
    weights_T = weights_T[~constant_T]
    if weights_T.sum() == 0:
        return np.zeros(scores_TN.shape[1]), constant_T
    return weights_T @ _NORMALISED[method](scores_TN[~constant_T]) / weights_T.sum(), constant_T


def min_max(scores_TN: np.ndarray) -> np.ndarray:
    """(s - min) / (max - min) of each row; a row must not be constant."""
    low_T1 = scores_TN.min(axis=1, keepdims=True)
    return (scores_TN - low_T1) / (scores_TN.max(axis=1, keepdims=True) - low_T1)


def z_score(scores_TN: np.ndarray) -> np.ndarray:
    """(s - mean) / standard deviation (of the population) of each row; a row must not be constant."""
    mean_T1 = scores_TN.mean(axis=1, keepdims=True)
    return (scores_TN - mean_T1) / scores_TN.std(axis=1, keepdims=True)


_NORMALISED = {"minmax": min_max, "zscore": z_score}


def scopes(lengths: np.ndarray, scope: Scope, batch_size: int) -> Iterator[slice]:
    """The candidates of each scope that has any, for consecutive queries with `lengths` candidates.

    The first query begins a batch: callers pass whole batches.
    """
    size = batch_size if scope == "batch" else 1
    ends = np.concatenate([[0], np.cumsum(lengths)])
    for first in range(0, len(lengths), size):
        part = slice(int(ends[first]), int(ends[min(first + size, len(lengths))]))
        if part.stop > part.start:
            yield part
