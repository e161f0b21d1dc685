"""The controller of λ: by hand, within its limits, and on made models that answer to λ as trainings do."""

import math

import pytest

from training import controller
from training.controller import State, advance, begin


def test_a_measurement_by_hand() -> None:
    """λ 0.5 begins at 0.005; the first measurement, twice the target, only says where training starts.

    The second is 1.5 times the target: e goes from ln 2 = 0.6931 by 0.7 · (ln 1.5 − ln 2) = −0.2014 to 0.4918. Wanted
    at half the learning rate: −0.12 · 0.5 · tanh(0.4918 / 0.3) = −0.0556. Looked at one measurement ahead, the speed
    is −0.4028, so that ln λ would change by 12 · (−0.4028 + 0.0556) = −4.166; −ln 30 = −3.401 is allowed.
    """
    state = begin(0.5)
    assert math.exp(state.log_lambda) == pytest.approx(0.005)
    state = advance(state, 96, 48, pace=0.5)
    assert state == State(begin(0.5).log_lambda, math.log(2))
    after = advance(state, 72, 48, pace=0.5)
    assert after == pytest.approx((math.log(0.005) - math.log(30), 0.49177, -0.20138), abs=1e-4)
    slower = advance(state, 94, 48, pace=0.5)  # speed −0.01474, wanted −0.05875
    assert slower.log_lambda - state.log_lambda == pytest.approx(12 * (-2 * 0.01474 + 0.05875), abs=1e-3)


def test_what_does_not_move_for_want_of_a_learning_rate_moves_nothing() -> None:
    state = State(0.0, math.log(2))
    assert advance(state, 96, 48, pace=0.0) == state
    assert advance(state, 96, 48, pace=0.1).log_lambda < advance(state, 96, 48, pace=1.0).log_lambda


def test_limits() -> None:
    """Empty documents are a hundredth of the target, λ stays within its bounds and rises eightfold at most."""
    assert advance(begin(1.0), 0.0, 48, 1.0).error == pytest.approx(math.log(0.01))
    at_target = State(0.0, 0.0)
    assert advance(at_target, 0.0, 48, 1.0).log_lambda == pytest.approx(-math.log(30))
    assert advance(at_target, 1e6, 48, 1.0).log_lambda == pytest.approx(math.log(8))
    near = math.exp(0.1 / controller.SMOOTHING) * 48  # e 0.1: at most 0.4 + 8 · 0.1
    assert advance(at_target, near, 48, 1.0).log_lambda == pytest.approx(1.2)
    low, high = controller.BOUNDS
    assert advance(State(low, 0.0), 0.0, 48, 1.0).log_lambda == low
    assert advance(State(high, 0.0), 1e6, 48, 1.0).log_lambda == high
    assert begin(1e-300).log_lambda == low


def _length(start: float, natural: float, factor: float, fastest: float, measurements: int) -> float:
    """ln(length / target) at the end, of a model whose right λ is 1 and that begins at λ = factor.

    Its speed goes towards −0.6 · fastest · (ln λ − that of the λ that would hold it there), `fastest` at most, half of
    the way a measurement; it grows no longer than `natural`, a third as fast as it shrinks; the learning rate rises for
    a tenth and falls to 0.
    """
    state, length, speed = begin(factor), start, 0.0
    for number in range(measurements):
        done = number / measurements
        pace = min(done / 0.1, (1 - done) / 0.9)
        state = advance(state, 48 * math.exp(length), 48, pace)
        wish = -fastest * math.tanh(0.6 * (state.log_lambda + length / 0.6))
        if wish > 0:
            wish *= 0.3 * max(0.0, min(1.0, (natural - length) / 0.3))
        speed = (speed + pace * wish) / 2
        length += speed
    return length


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("start", "natural"), [(1.0, 2.1), (0.35, 1.4), (-0.3, 0.75)])
@pytest.mark.parametrize(("fastest", "measurements"), [(0.25, 40), (0.25, 200), (0.08, 120)])
def test_the_target_is_reached_from_a_thousand_times_too_little_or_too_much(
    factor: float, start: float, natural: float, fastest: float, measurements: int
) -> None:
    assert abs(_length(start, natural, factor, fastest, measurements)) < 0.05
