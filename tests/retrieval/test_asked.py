"""What is asked of vectors' shape, what a checkpoint says, and which of both counts."""

import pytest

from retrieval.asked import AskedShape, typed_shape
from retrieval.shaped import Shape
from sparse_model import UserError
from sparse_model.lexical import TrainedShare
from sparse_model.pruning import Cut

TOLD, TRAINED = Cut(64, 0.1), TrainedShare(0.5, lexical_idf=True)


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        (AskedShape(), Shape(TOLD, "weight", 0.5, True)),
        (AskedShape(Cut(32), "weight_df"), Shape(Cut(32, 0.1), "weight_df", 0.5, True)),
        (AskedShape(Cut(prune_ratio=0.0)), Shape(Cut(64, 0.0), "weight", 0.5, True)),
        (AskedShape(lexical_share=1.0), Shape(TOLD, "weight", 1.0, True)),
        (AskedShape(lexical_share=0.0), Shape(TOLD, "weight", 0.0, False)),
        (AskedShape(lexical_idf=False), Shape(TOLD, "weight", 0.5, False)),
        (typed_shape(Cut(), None), Shape(TOLD, "weight", 0.5, True)),
        (typed_shape(Cut(), 1.0), Shape(TOLD, "weight", 1.0, False)),
        (typed_shape(Cut(), 1.0, with_idf=True), Shape(TOLD, "weight", 1.0, True)),
    ],
)
def test_what_is_not_said_is_the_checkpoints(asked: AskedShape, shape: Shape) -> None:
    assert asked.of(TOLD, TRAINED) == shape


@pytest.mark.parametrize("share", [-0.1, float("inf"), float("nan")])
def test_no_share(share: float) -> None:
    with pytest.raises(UserError, match="--lexical-share"):
        typed_shape(Cut(), share)
