"""How sharp the targets of distillation are, and a scale of the teacher's scores that fits the student's.

A softmax over two scores between 0 and 1 is near 50:50, whatever the teacher says: the scale decides what is learnt.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from losses.targets import largest_probability
from sparse_model import SparseEncoder, UserError
from training.data import Example, Examples

# Examples that are looked at, spread over a file.
SAMPLE = 256
# Targets are flat where the likelier document gets less than this share of the way from a fair share to all.
FLAT = 0.25


def target_sentences(part: Examples, temperature: float) -> list[str]:
    """How sharp a file's targets are, for people; nothing of rows without scores."""
    if part.data_type != "kd" or part.group < 2:
        return []
    peak, fair = median_peak(_sampled(part), temperature), 1 / part.group
    flat = peak < fair + FLAT * (1 - fair)
    remedy = "; that is nearly uniform and teaches little: score_scale: auto, or a higher one" if flat else ""
    return [f"targets: the likeliest of {part.group} documents has {peak:.2f} (median){remedy}"]


def median_peak(examples: Sequence[Example], temperature: float) -> float:
    """The median over examples of the largest probability in softmax(scores / temperature)."""
    return float(np.median([largest_probability(example.scores, temperature) for example in examples]))


def fitting_scale(encoder: SparseEncoder, parts: Sequence[Examples]) -> float:
    """What brings the teacher's spread to the untrained student's; parts must have a score_scale of 1.

    A spread is the standard deviation of scores around their example's mean, over a sample of examples.

    Raises:
        UserError: if the teacher scores all documents of an example alike, or the student does.
    """
    examples = [example for part in parts for example in _sampled(part)]
    teacher = _spread(example.scores for example in examples)
    student = _spread(_student_scores(encoder, examples))
    if not (teacher and student):
        who = "student" if teacher else "teacher"
        raise UserError(f"score_scale: auto finds no spread: the {who} scores the documents of each example alike.")
    return float(f"{student / teacher:.3g}")


def _student_scores(encoder: SparseEncoder, examples: Sequence[Example]) -> Iterator[Sequence[float]]:
    queries = encoder.encode_queries([example.query for example in examples])
    documents = encoder.encode_documents([text for example in examples for text in example.documents])
    start = 0
    for query, example in zip(queries, examples, strict=True):
        end = start + len(example.documents)
        yield (documents[start:end] @ query.T).toarray().ravel()
        start = end


def _spread(scores: Iterator[Sequence[float]]) -> float:
    variances = [float(np.var(row)) for row in scores]
    return math.sqrt(sum(variances) / max(len(variances), 1))


def _sampled(part: Examples) -> list[Example]:
    return [part[int(i)] for i in np.linspace(0, len(part) - 1, min(SAMPLE, len(part)))]
