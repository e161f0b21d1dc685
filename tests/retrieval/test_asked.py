"""What is asked of vectors' shape, what a checkpoint says, and which of both counts."""

import argparse

import pytest

from retrieval.asked import AskedShape
from retrieval.options import OPTIONS, add_shared, asked_shape
from retrieval.shaped import Shape
from sparse_model import UserError
from sparse_model.lexical import TrainedShare
from sparse_model.pruning import Cut

TOLD, TRAINED = Cut(64, 0.1), TrainedShare(0.5, lexical_idf=True)


def typed(*options: str) -> AskedShape:
    parser = argparse.ArgumentParser()
    add_shared(parser, *(name for name in OPTIONS if name.startswith("--")))
    return asked_shape(parser.parse_args(options))


@pytest.mark.parametrize(
    ("asked", "shape"),
    [
        (AskedShape(), Shape(TOLD, "weight", 0.5, True)),
        (AskedShape(Cut(32), "weight_df"), Shape(Cut(32, 0.1), "weight_df", 0.5, True)),
        (AskedShape(Cut(prune_ratio=0.0)), Shape(Cut(64, 0.0), "weight", 0.5, True)),
        (AskedShape(lexical_share=1.0), Shape(TOLD, "weight", 1.0, True)),
        (AskedShape(lexical_share=0.0), Shape(TOLD, "weight", 0.0, False)),
        (AskedShape(lexical_idf=False), Shape(TOLD, "weight", 0.5, False)),
        (typed(), Shape(TOLD, "weight", 0.5, True)),
        (typed("--lexical-share=1"), Shape(TOLD, "weight", 1.0, True)),
        (
            typed("--max-active-dims=8", "--prune-ratio=0", "--cut-by=weight_df"),
            Shape(Cut(8, 0.0), "weight_df", 0.5, True),
        ),
        (typed("--lexical-share=1", "--no-lexical-idf"), Shape(TOLD, "weight", 1.0, False)),
    ],
)
def test_what_is_not_said_is_the_checkpoints(asked: AskedShape, shape: Shape) -> None:
    assert asked.of(TOLD, TRAINED) == shape


@pytest.mark.parametrize("share", ["-0.1", "inf", "nan", "1e300"])
def test_no_share(share: str) -> None:
    with pytest.raises(UserError, match="--lexical-share: .* is no lexical share; give a number from 0 to 1000"):
        typed(f"--lexical-share={share}")


def test_a_command_has_some_of_them() -> None:
    assert asked_shape(argparse.Namespace()) == AskedShape()
